"""What every runtime owes, measured through the worker as a campaign does; a runtime that is not here skips."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from hashlib import sha256

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tempograd.devices.device import Model
from tempograd.devices.runtime.packages import Package
from tempograd.errors import DeviceError, UnknownNameError, UsageError
from tempograd.profiler.timer import clock_of
from tempograd.registry import create, load, names
from tempograd.spaces.export import WeightPool

pytestmark = pytest.mark.real

SPACES = (
    "nasbench201:cells=1,width=4,size=8",  # and one without any path, which engines fold
    "darts:layers=3,width=4,size=8",
    "mbconv:family=fbnet,size=8,classes=5,width=0.25,stages=3,layers=2",
    "mbconv:family=proxyless,size=8,classes=5,width=0.25,stages=3,layers=2,resolution_options=3",
    "mbconv:family=fbnetv2,size=8,classes=5,width=0.5,stages=3,layers=2,width_options=3,resolution_options=3",
    "routed:base=resnet,blocks=2/3-4/5-6,reach=3,layers=2,head=8,size=8,classes=5",
)
NETWORKS = 2
CONSTANT = "0.0.3.0.4.4"  # of NAS-Bench-201: no path leads from its input to its output


# Every way that a runtime knows of, and those that need a GPU. Inductor is tested apart: it takes a minute to open.
WAYS = [
    *(
        f"{name},{way}".strip(",")
        for name in names("runtime")
        for way in load("runtime", name).ways
        if "mode" not in way
    ),
    "onnxruntime,provider=cuda,cuda_graph=true",
    "onnxruntime,provider=cuda,precision=fp16",
    "torch,provider=cuda,cuda_graph=true",
    "torch,provider=cuda,mode=inductor",
    "tensorrt,cuda_graph=true",
    "tensorrt_rtx,cuda_graph=true",
]
ALWAYS = {"onnxruntime", "torch"}  # they are dependencies: never skipped
ALLOWED = {"fp16": 1e-2, "fp32": 1e-4}  # distance of outputs from torch's, relative to their length


@cache
def where(way: str) -> str:
    """Return why a runtime cannot be used here, or nothing."""
    try:
        create("device", f"local:runtime={way}").open().close()
    except DeviceError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Key -> (model, inputs, what torch computes for them), networks of every space."""
    import torch

    folder, found = tmp_path_factory.mktemp("networks"), {}
    for number, spec in enumerate(SPACES):
        space = create("space", spec)
        weights = WeightPool.of(space.graph, 0)
        chosen_few = space.sample(NETWORKS, np.random.default_rng(1))
        if space.name == "nasbench201":
            chosen_few.append(space.from_key(CONSTANT))
        for n, chosen in enumerate(chosen_few):
            key = f"{spec.partition(',')[0]}/{n}"
            network = space.to_torch(chosen).eval()
            network.load_arrays(weights.weights(network.graph))
            rngs = [np.random.default_rng([number, n, i]) for i in range(2)]
            inputs = [rng.standard_normal((1, *space.graph.input_shape), np.float32) for rng in rngs]
            with torch.no_grad():
                expected = [network(torch.from_numpy(x)).numpy() for x in inputs]
            found[key] = Model(key, *space.write_onnx(chosen, folder, batch=1)), inputs, expected
    return found


@pytest.fixture(scope="module", params=WAYS)
def opened(request, networks):
    """A device, its session with the networks in it, and what loading them told."""
    reason = where(request.param)
    if reason and request.param not in ALWAYS:
        pytest.skip(reason)
    device = create("device", f"local:runtime={request.param}")
    with device.open() as session:
        loaded = {one.key: one for one in session.load([model for model, *_ in networks.values()])}
        session.start_timing()
        yield device, session, loaded


def test_every_network_loads_and_states_where_and_how_it_runs(opened):
    device, _, loaded = opened
    for one in loaded.values():
        assert one.failure is None
        assert one.load_ms > 0
        if one.key != "nasbench201:cells=1/2":  # the constant one, which an engine may fold into nothing
            assert one.providers.keys() == {device.fingerprint.options["provider"]}
            assert one.kernels or device.fingerprint.runtime["name"] == "onnxruntime"


def test_outputs_are_torchs(opened, networks):
    device, session, _ = opened
    allowed = ALLOWED[device.fingerprint.options["precision"]]
    for key, (_, inputs, expected) in networks.items():
        for mine, torchs in zip(session.outputs(key, inputs), expected, strict=True):
            assert np.linalg.norm(mine - torchs) <= allowed * np.linalg.norm(torchs), key


def test_the_clock_of_the_label_sees_the_work(opened, networks):
    """One thread's label is the CPU time of the thread that asks: an engine that computes elsewhere would be free.

    On a GPU it is the GPU's own, which can be no more than the host waited.
    """
    device, session, _ = opened
    result = session.run_pass(list(networks), burst_ms=5.0)
    assert not result.failures
    for round_ in result.rounds:
        if clock_of(device.fingerprint) == "gpu":
            assert 0 < round_.value_ms("gpu") <= 1.1 * float(np.median(round_.wall_ms))
            assert round_.state["enqueue_ms"] > 0
        else:
            # others that want the core lengthen most samples' wall time; the fastest says what it takes
            assert round_.value_ms("cpu") > 0.5 * min(round_.wall_ms)
            assert round_.gpu_ms == ()


def test_an_input_of_another_shape_is_refused(opened, networks):
    _, session, _ = opened
    key, (_, inputs, _) = next(iter(networks.items()))
    with pytest.raises(DeviceError, match=r"\(1, 3, 5, 5\); allowed"):
        session.outputs(key, [np.zeros((1, 3, 5, 5), np.float32)])
    assert session.outputs(key, inputs[:1])


def written(folder, name, nodes, weights=()):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        weights,
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    path = folder / f"{name}.onnx"
    path.write_bytes(content)
    return Model(name, path, sha256(content).hexdigest())


def test_what_it_cannot_run_and_what_is_no_number_are_failures_of_that_network_alone(opened, networks, tmp_path):
    _, session, _ = opened
    huge = numpy_helper.from_array(np.full((1, 4, 8, 8), 3e38, np.float32), "huge")
    unknown = written(tmp_path, "unknown", [helper.make_node("NoSuchOperator", ["x"], ["y"])])
    infinite = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Add", ["s", "huge"], ["t"])]
    infinite.append(helper.make_node("Add", ["t", "huge"], ["y"]))
    loaded = {one.key: one for one in session.load([unknown, written(tmp_path, "infinite", infinite, [huge])])}
    assert loaded["unknown"].failure.cause == "refused"
    assert loaded["infinite"].failure.cause == "invalid_output"
    assert len(session.run_pass([next(iter(networks))], burst_ms=1.0).rounds) == 1


@pytest.mark.parametrize("name", names("runtime"))
def test_its_options_tell_threads_precision_and_provider(name):
    runtime = load("runtime", name)()
    assert {"threads", "precision", "provider"} <= runtime.options.keys()
    with pytest.raises(UsageError, match="threads=0"):
        load("runtime", name)(threads=0)
    with pytest.raises(UsageError, match="precision"):
        load("runtime", name)(precision="fp1")
    with pytest.raises(UnknownNameError, match=r"nonsense.*allowed: .*batch.*threads"):
        create("device", f"local:runtime={name},nonsense=1")


@pytest.mark.parametrize("name", names("runtime"))
def test_a_runtime_that_is_missing_says_how_to_install_it(name, monkeypatch):
    package = load("runtime", name)().package
    absent = Package(package.title, ("no-such-distribution",), package.install)
    monkeypatch.setattr(sys.modules[load("runtime", name).__module__], "PACKAGE", absent)
    device = create("device", f"local:runtime={name}")
    for reach in (device.open, lambda: device.fingerprint):
        with pytest.raises(DeviceError, match=re.escape(f"is not installed; {package.install}")):
            reach()


@pytest.mark.parametrize("name", names("runtime"))
def test_creating_one_imports_no_engine(name):
    code = f"""
import sys
from tempograd.registry import create
create("runtime", "{name}").options
engines = {{"torch", "onnxruntime", "openvino", "MNN", "tensorrt", "tensorrt_rtx_bindings", "cuda"}}
print(sorted(engines & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_no_two_runtimes_share_a_fingerprint():
    ids = [create("device", f"local:runtime={name}").fingerprint.id for name in names("runtime") if not where(name)]
    assert len(set(ids)) == len(ids) >= 2
