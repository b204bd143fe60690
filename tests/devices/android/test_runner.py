"""The runner itself, really executed: what it computes, what it refuses, and how it takes time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from hashlib import sha256

import numpy as np
import onnxruntime
import psutil
import pytest

from tempograd.devices import sentinels
from tempograd.devices.android.build import SOURCE
from tempograd.devices.device import Model
from tempograd.errors import DeviceError
from tempograd.registry import create

pytestmark = pytest.mark.real


@pytest.fixture
def session(hung):
    with create("device", hung.spec).open() as opened:
        yield opened


def loop_of(hung):
    (loop,) = hung.phone.loops()
    (worker,) = psutil.Process(loop).children()
    return worker


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["nasbench201:cells=1,width=4,size=8", "darts:layers=3,width=4,size=8"])
def test_it_computes_what_onnx_runtime_in_python_computes(session, tmp_path, spec):
    space = create("space", spec)
    rng = np.random.default_rng(1)
    models = [Model(str(i), *space.write_onnx(a, tmp_path, batch=1)) for i, a in enumerate(space.sample(3, rng))]
    loaded = session.load(models)
    for model, one in zip(models, loaded, strict=True):
        assert one.failure is None
        python = onnxruntime.InferenceSession(model.path)
        (meta,) = python.get_inputs()
        inputs = [rng.normal(size=meta.shape).astype(np.float32) for _ in range(2)]
        for values, found in zip(inputs, session.outputs(model.key, inputs), strict=True):
            (wanted, *_) = python.run(None, {meta.name: values})
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_every_node_ran_where_it_was_meant_to(session, zoo):
    (loaded,) = session.load([zoo.conv("a")])
    assert set(loaded.providers) == {"CPUExecutionProvider"}
    assert loaded.first_run_ms > 0
    assert loaded.memory_bytes is not None
    assert 6 <= loaded.warm_up_runs <= 51


@pytest.mark.slow
def test_another_digest_is_refused_on_the_phone(hung, session, zoo):
    model = zoo.conv("a")
    session.load([zoo.conv("b")])
    (folder,) = hung.phone.tmp.glob("sessions/*")
    (folder / "models" / "evil.onnx").write_bytes(model.path.read_bytes() + b"\0")
    loop = session._loop
    number = str(loop._number + 1)
    answer = loop.phone.run([
        loop._program.runner, "ask", loop.folder, number, str(loop._offset), "5000",
        "load", "7", model.digest, f"{loop.folder}/models/evil.onnx",
    ])  # fmt: skip
    (loaded,) = (json.loads(line)["loaded"] for line in answer.splitlines() if b"loaded" in line)
    assert loaded["failure"]["cause"] == "refused"
    assert f"not {model.digest[:12]}... as announced" in loaded["failure"]["detail"]


@pytest.mark.slow
def test_outputs_that_are_no_numbers_are_refused(session, zoo):
    (found,) = session.load([zoo.conv("a", scale=1e38)])
    assert found.failure.cause == "invalid_output"
    assert "not finite" in found.failure.detail


@pytest.mark.slow
def test_inputs_that_do_not_fit_are_refused(session, zoo):
    session.load([zoo.conv("a")])
    with pytest.raises(DeviceError, match="192 numbers"):
        session.outputs("a", [np.ones((1, 3, 4, 4), np.float32)])
    assert session.outputs("a", [np.ones((1, 3, 8, 8), np.float32)])[0].shape == (1, 8, 8, 8)


@pytest.mark.slow
def test_a_held_input_gives_the_same_times_as_several(session, zoo):
    session.load([zoo.conv("a")])
    session.hold_inputs(True)
    assert len(session.run_pass(["a"], burst_ms=1.0).rounds) == 1


@pytest.mark.slow
def test_samples_are_long_enough_for_the_clock_and_fill_the_burst(session, zoo):
    session.load([zoo.conv("small"), zoo.conv("large", channels=64, size=96)])
    session.start_timing()
    small, large = session.run_pass(["small", "large"], burst_ms=8.0).rounds
    assert small.block > 1
    assert large.block == 1
    for one in (small, large):
        # meant are 0.2 ms a sample and 8 ms in all, by the fastest run of a warm-up: a burst may be faster than it was
        assert one.block * max(one.wall_ms) > 0.05
        assert one.block * sum(one.wall_ms) > 0.2 * 8.0
        assert min(one.cpu_ms) < 1.2 * min(one.wall_ms)
    assert large.value_ms("cpu") > 20 * small.value_ms("cpu")


@pytest.mark.slow
def test_the_other_sentinels_are_read_in_every_fourth_round(session, zoo):
    session.load([zoo.conv("a")])
    session.start_timing()
    rounds = session.run_pass(["a"] * 6, burst_ms=1.0).rounds
    read = [set(r.other_sentinels_ms) for r in rounds]
    others = set(sentinels.KINDS) - {"convolution"}
    assert read == [others, set(), set(), set(), others, set()]


@pytest.mark.slow
def test_cpu_time_is_not_waiting_time(hung, session, zoo):
    session.load([zoo.conv("a", channels=64, size=48)])
    session.start_timing()
    load = [psutil.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2)]
    try:
        for one in load:
            one.cpu_affinity([1])
        rounds = session.run_pass(["a"] * 4, burst_ms=60.0).rounds
    finally:
        for one in load:
            one.kill()
            one.wait()
    assert sum(sum(r.wall_ms) for r in rounds) > 1.3 * sum(sum(r.cpu_ms) for r in rounds)
    assert sum(r.run_queue_wait_ms for r in rounds) > 20


@pytest.mark.slow
@pytest.mark.skipif((psutil.cpu_count() or 1) < 2, reason="needs two cores")
def test_it_keeps_to_the_cluster_that_is_timed(hung, session, zoo):
    session.load([zoo.conv("a")])
    assert loop_of(hung).cpu_affinity() == [0]
    session.start_timing()
    session.run_pass(["a"], burst_ms=1.0)
    worker = loop_of(hung)
    assert {tuple(psutil.Process(t.id).cpu_affinity()) for t in worker.threads()} == {(1,)}
    assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_digests_and_versions(phone_tools, tmp_path):
    runner = phone_tools / "tempograd-runner"
    sizes = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]
    for size in sizes:
        (tmp_path / str(size)).write_bytes(bytes(range(256)) * 4 if size == 1000 else b"a" * size)
    told = subprocess.run([runner, "digest", *(tmp_path / str(n) for n in sizes), tmp_path / "no"],
                          capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    assert told == [*(sha256((tmp_path / str(n)).read_bytes()).hexdigest() for n in sizes), "-"]
    version = [runner, "version", phone_tools / "libonnxruntime.so"]
    assert subprocess.run(version, capture_output=True, text=True, check=True).stdout[:2] == "1."
    wrong = subprocess.run([runner, "version", runner], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "cannot open the library" in wrong.stderr or "no ONNX Runtime" in wrong.stderr


def test_verbs_that_there_are_not_are_refused(phone_tools):
    done = subprocess.run([phone_tools / "tempograd-runner", "fly"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "serve|ask" in done.stderr


@pytest.mark.slow
def test_the_sentinels_are_the_same_files_as_elsewhere(hung, session):
    (folder,) = hung.phone.tmp.glob("sessions/*/models")
    assert {f.name: f.read_bytes() for f in folder.glob("*.onnx")} == {
        f"{kind}.onnx": sentinels.read(kind) for kind in sentinels.KINDS
    }


def test_a_header_with_another_order_does_not_compile(phone_tools, tmp_path):
    places = [(int(n), name) for n, name in re.findall(r"X\((\d+), (\w+),", (SOURCE.parent / "ort_api.h").read_text())]
    assert len(places) > 30
    names = dict(places) | {n: f"unused{n}" for n in range(500) if n not in dict(places)}

    def checked():
        members = "".join(f"void* {names[n]};\n" for n in range(500))
        (tmp_path / "onnxruntime_c_api.h").write_text(f"struct OrtApi {{\n{members}}};\n")
        command = [str(shutil.which("g++") or "clang++"), "-fsyntax-only", "-std=c++17", "-x", "c++", f"-I{tmp_path}"]
        return subprocess.run([*command, str(SOURCE.parent / "ort_api.h")], capture_output=True, text=True, check=False)

    assert checked().returncode == 0
    names[130], names[131] = names[131], names[130]
    assert "AddSessionConfigEntry has another place" in checked().stderr
