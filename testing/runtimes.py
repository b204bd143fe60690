# pyright: basic, reportArgumentType=false
"""What every runtime owes, asked through the worker as a campaign does: torch's outputs, and a clock that sees them."""

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from ..devices.device import Model
from ..devices.runtime.packages import NotInstalledError, Package
from ..errors import DeviceError, UnknownNameError, UsageError
from ..profiler.timer import clock_of
from ..registry import create, load, names
from ..spaces.export import WeightPool
from ..spaces.graph import INPUT, ports
from .networks import Zoo, model_bytes
from .small import several, small_specs

NETWORKS = 2  # of each space
ALLOWED = {"fp16": 1e-2, "fp32": 1e-4}  # distance of outputs from torch's, relative to their length


@cache
def why_not(way: str) -> str:
    """Return why a runtime cannot be used here, or nothing."""
    try:
        create("device", f"local:runtime={way}").open().close()
    except DeviceError as error:
        return str(error)
    return ""


def ways_of(name: str) -> list[str]:
    """Return every way that a runtime states, but those of another mode, which may take a minute to open."""
    return [f"{name},{way}".strip(",") for way in load("runtime", name).ways or ("",) if "mode" not in way]


def _networks(folder, specs):
    """Return key -> (model, inputs, what torch computes for them), networks of each space, one without any path."""
    found = {}
    for number, spec in enumerate(specs):
        space = create("space", spec)
        weights = WeightPool.of(space.graph, 0)
        few = several(space, NETWORKS, seed=1)
        few += [one for one in several(space, 40, seed=2) if not space.is_connected(one)][:1]
        for n, chosen in enumerate(few):
            key = f"{spec.partition(':')[0]}/{number}/{n}" + ("" if space.is_connected(chosen) else "/constant")
            network = space.to_torch(chosen).eval()
            network.load_arrays(weights.weights(network.graph))
            rngs = [np.random.default_rng([number, n, i]) for i in range(2)]
            shape, _ = ports(network.graph)[INPUT]
            inputs = [rng.standard_normal((1, *shape), np.float32) for rng in rngs]
            with torch.no_grad():
                expected = [network(torch.from_numpy(x)).numpy() for x in inputs]
            found[key] = Model(key, *space.write_onnx(chosen, folder, batch=1)), inputs, expected
    return found


class RuntimeContract:
    """A runtime computes what torch computes, in the thread that is timed, and refuses what it cannot run.

    A runtime that is not here is skipped.

    Attributes:
        names: the runtimes' names in the registry; each is tested in every way that it states.
        ways: more of them, as they follow ``local:runtime=``.
        always: those that are never skipped.
        spaces: specs of those whose networks it runs; by default the small instances of all registered ones that run
            everywhere.
    """

    names: ClassVar[Sequence[str]]
    ways: ClassVar[Sequence[str]] = ()
    always: ClassVar[Sequence[str]] = ()
    spaces: ClassVar[Sequence[str]] = ()

    def pytest_generate_tests(self, metafunc):
        """Run every test on every runtime, those of networks in every way."""
        if "opened" in metafunc.fixturenames:
            every = [*(way for name in self.names for way in ways_of(name)), *self.ways]
            metafunc.parametrize("opened", every, indirect=True, scope="class")
        elif "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names)

    @pytest.fixture(scope="class")
    @classmethod
    def networks(cls, tmp_path_factory):
        everywhere = [name for name in names("space") if load("space", name).everywhere]
        specs = cls.spaces or [spec for name in everywhere for spec in small_specs(name)]
        return _networks(tmp_path_factory.mktemp("networks"), specs)

    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, request, networks):
        """A device, its session with the networks in it, and what loading them told."""
        reason = why_not(request.param)
        if reason and request.param not in cls.always:
            pytest.skip(reason)
        device = create("device", f"local:runtime={request.param}")
        with device.open() as session:
            loaded = {one.key: one for one in session.load([model for model, *_ in networks.values()])}
            session.start_timing()
            yield device, session, loaded

    def test_every_network_loads_and_states_where_and_how_it_runs(self, opened):
        device, _, loaded = opened
        for one in loaded.values():
            assert one.failure is None
            assert one.load_ms > 0
            if not one.key.endswith("constant"):  # an engine may fold it into nothing
                assert one.providers.keys() == {device.fingerprint.options["provider"]}
                assert one.kernels or device.fingerprint.runtime["name"] == "onnxruntime"

    def test_outputs_are_torchs(self, opened, networks):
        device, session, _ = opened
        allowed = ALLOWED[device.fingerprint.options["precision"]]
        for key, (_, inputs, expected) in networks.items():
            for mine, torchs in zip(session.outputs(key, inputs), expected, strict=True):
                assert np.linalg.norm(mine - torchs) <= allowed * np.linalg.norm(torchs), key

    def test_the_clock_of_the_label_sees_the_work(self, opened, networks):
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
                # others that want the core lengthen wall time: the fastest sample, or what was not waited, says it all
                ran = sum(round_.wall_ms) - round_.run_queue_wait_ms
                assert round_.value_ms("cpu") > 0.5 * min(round_.wall_ms) or sum(round_.cpu_ms) > 0.5 * ran
                assert round_.gpu_ms == ()

    def test_an_input_of_another_shape_is_refused(self, opened, networks):
        _, session, _ = opened
        key, (_, inputs, _) = next(iter(networks.items()))
        with pytest.raises(DeviceError, match=r"\(1, 3, 5, 5\); allowed"):
            session.outputs(key, [np.zeros((1, 3, 5, 5), np.float32)])
        assert session.outputs(key, inputs[:1])

    def test_what_it_cannot_run_and_what_is_no_number_are_failures_of_that_network_alone(
        self, opened, networks, tmp_path
    ):
        _, session, _ = opened
        zoo, shape = Zoo(tmp_path), [1, 4, 8, 8]
        huge = numpy_helper.from_array(np.full((1, 4, 8, 8), 3e38, np.float32), "huge")
        nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Add", ["s", "huge"], ["t"])]
        nodes.append(helper.make_node("Add", ["t", "huge"], ["y"]))
        unknown = model_bytes([helper.make_node("NoSuchOperator", ["x"], ["y"])], shape, shape)
        infinite = model_bytes(nodes, shape, shape, [huge])
        given = [zoo.file("unknown", unknown), zoo.file("infinite", infinite)]
        loaded = {one.key: one for one in session.load(given)}
        assert loaded["unknown"].failure.cause == "refused"
        assert loaded["infinite"].failure.cause == "invalid_output"
        assert len(session.run_pass([next(iter(networks))], burst_ms=1.0).rounds) == 1

    def test_its_options_tell_threads_precision_and_provider(self, name):
        runtime = load("runtime", name)()
        assert {"threads", "precision", "provider"} <= runtime.options.keys()
        with pytest.raises(UsageError, match="threads=0"):
            load("runtime", name)(threads=0)
        with pytest.raises(UsageError, match="precision"):
            load("runtime", name)(precision="fp1")
        with pytest.raises(UnknownNameError, match=r"nonsense.*allowed: .*batch.*threads"):
            create("device", f"local:runtime={name},nonsense=1")

    def test_where_it_is_missing_it_says_how_to_install_it(self, name, monkeypatch):
        package, version = load("runtime", name)().package, Package.version

        def missing(self):
            if self == package:
                raise NotInstalledError(self.title, self.install)
            return version(self)

        monkeypatch.setattr(Package, "version", missing)
        device = create("device", f"local:runtime={name}")
        for reach in (device.open, lambda: device.fingerprint):
            with pytest.raises(DeviceError, match=re.escape(f"is not installed; {package.install}")):
                reach()

    def test_creating_one_imports_no_engine(self, name):
        code = f"""
import sys
from importlib.metadata import packages_distributions
import numpy, onnx
from tempograd.registry import create
before = set(sys.modules)
runtime = create("runtime", "{name}")
runtime.options
package = runtime.package
engines = {{module for module, brought in packages_distributions().items() if {{*brought}} & {{*package.names}}}}
print(sorted((engines | {{package.module or package.names[0]}}) & (sys.modules.keys() - before)))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "[]"
