"""Faults of the measuring process, real ones: signals, hangs, memory, lies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from tempograd.devices.places.local import LocalDevice
from tempograd.devices.worker import session as worker_session
from tempograd.errors import DeviceError, UsageError
from tempograd.testing.networks import model_bytes

pytestmark = pytest.mark.real


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def later(delay_s: float, action) -> threading.Thread:
    thread = threading.Timer(delay_s, action)
    thread.start()
    return thread


@pytest.mark.fault(6)
def test_a_hang_while_warming_up_is_a_time_out_and_the_rest_is_loaded(zoo):
    device = LocalDevice(load_timeout_s=1.5)
    with device.open() as session:
        loaded = {one.key: one for one in session.load([zoo.conv("a"), zoo.endless("endless"), zoo.conv("b")])}
        failure = loaded["endless"].failure
        assert (failure.cause, failure.phase, failure.signal) == ("timeout", "warm_up", signal.SIGKILL)
        assert failure.elapsed_ms > 500
        assert loaded["a"].failure is None
        assert loaded["b"].failure is None
        session.start_timing()
        assert len(session.run_pass(["b", "a"], burst_ms=1.0).rounds) == 2


def test_a_hang_while_loading_says_nothing_about_latency(zoo, faulty):
    with LocalDevice(faulty, load_timeout_s=1.0).open() as session:
        failure = session.load([zoo.conv("a", graph="hang_load")])[0].failure
    assert (failure.cause, failure.phase, failure.elapsed_ms) == ("timeout", "load", None)


@pytest.mark.fault(6)
def test_a_hang_in_a_pass_takes_its_whole_group_down(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a"), zoo.conv("hangs", graph="hang")])
        session.start_timing()
        worker = psutil.Process(session.pid)
        children: list[int] = []
        watch = later(1.0, lambda: children.extend(child.pid for child in worker.children(recursive=True)))
        start = time.monotonic()
        result = session.run_pass(["a", "hangs"], burst_ms=20.0)
        watch.join()
        failure = result.failures["hangs"]
        assert result.rounds == ()
        assert (failure.cause, failure.phase) == ("timeout", "run")
        assert 1000 < failure.elapsed_ms < (time.monotonic() - start) * 1000
        assert len(children) == 1
        assert all(gone(pid) for pid in (worker.pid, *children))
        with pytest.raises(DeviceError, match="closed"):
            session.run_pass(["a"], burst_ms=1.0)


@pytest.mark.fault(2)
def test_a_crash_while_loading_is_reported_with_the_last_words(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        models = [zoo.conv("a"), zoo.conv("b", graph="abort_load"), zoo.conv("c")]
        first = session.pid
        loaded = session.load(models)
        assert [one.failure is None for one in loaded] == [True, False, True]
        failure = loaded[1].failure
        assert (failure.cause, failure.phase, failure.signal) == ("crashed", "load", signal.SIGABRT)
        assert "last words" in failure.detail
        assert session.pid != first
        assert gone(first)
        assert len(session.run_pass(["a", "c"], burst_ms=1.0).rounds) == 2


@pytest.mark.fault(2)
def test_a_segmentation_fault_in_a_pass_is_that_networks_failure(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a"), zoo.conv("bad", graph="segfault"), zoo.conv("c")])
        session.start_timing()
        result = session.run_pass(["a", "bad", "c"], burst_ms=20.0)
        assert result.rounds == ()
        assert list(result.failures) == ["bad"]
        failure = result.failures["bad"]
        assert (failure.cause, failure.phase, failure.signal) == ("crashed", "run", signal.SIGSEGV)
        assert session.pid is None


def test_a_kill_from_outside_in_mid_pass_is_noticed_at_once(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        pid = session.pid
        killer = later(0.5, lambda: os.kill(pid, signal.SIGKILL))
        result = session.run_pass(["a"], burst_ms=20_000.0)
        killer.join()
        assert (result.failures["a"].cause, result.failures["a"].signal) == ("crashed", signal.SIGKILL)


@pytest.mark.parametrize(("kills", "starts"), [(1, True), (2, False)])
def test_a_kill_while_it_starts_is_forgiven_once(zoo, monkeypatch, kills, starts):
    left = [kills]

    class Mortal(worker_session.WorkerProcess):
        def ask(self, *arguments, **more):
            if left[0]:
                left[0] -= 1
                os.kill(self.pid, signal.SIGKILL)
            return super().ask(*arguments, **more)

    monkeypatch.setattr(worker_session, "WorkerProcess", Mortal)
    if not starts:
        with pytest.raises(DeviceError, match="did not start: Killed"):
            LocalDevice().open()
        return
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        assert len(session.run_pass(["a"], burst_ms=1.0).rounds) == 1


@pytest.mark.fault(8)
def test_an_error_of_the_gpu_that_sticks_ends_its_process_and_is_that_networks_failure(zoo, faulty):
    device = LocalDevice(faulty)
    with device.open() as session:
        session.load([zoo.conv("a"), zoo.conv("bad", graph="gpu_lost"), zoo.conv("c")])
        session.start_timing()
        result = session.run_pass(["a", "bad", "c"], burst_ms=20.0)
        assert (result.rounds, list(result.failures)) == ((), ["bad"])
        assert result.failures["bad"].cause == "crashed"
        assert "cudaErrorIllegalAddress" in result.failures["bad"].detail
        assert session.pid is None
    with device.open() as fresh:  # a new process reads its sentinels before anything else
        fresh.load([zoo.conv("c")])
        assert len(fresh.run_pass(["c"], burst_ms=1.0).rounds) == 1


@pytest.mark.fault(15)
def test_a_pause_in_mid_burst_makes_no_network_slower(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        session.start_timing()
        (calm,) = session.run_pass(["a"], burst_ms=300.0).rounds
        threads = [later(0.25, lambda: os.kill(session.pid, signal.SIGSTOP)),
                   later(0.85, lambda: os.kill(session.pid, signal.SIGCONT))]  # fmt: skip
        (paused,) = session.run_pass(["a"], burst_ms=1500.0).rounds
        for thread in threads:
            thread.join()
    assert max(paused.wall_ms) * paused.block > 400  # it is seen in the sample that it hit
    assert paused.value_ms("cpu") < 3 * calm.value_ms("cpu")


@pytest.mark.fault(6)
def test_a_stopped_process_is_a_time_out(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        os.kill(session.pid, signal.SIGSTOP)
        pid = session.pid
        with pytest.raises(DeviceError, match="no network ran"):
            session.run_pass(["a"], burst_ms=1.0)
        assert gone(pid)


@pytest.mark.fault(7)
def test_out_of_memory_while_loading(zoo):
    shape = numpy_helper.from_array(np.array([1, 200_000_000], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=1),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    weights = [shape]
    content = helper.make_model(
        helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    ).SerializeToString()
    with LocalDevice(memory_gib=0.7).open() as session:
        loaded = {one.key: one for one in session.load([zoo.file("big", content), zoo.conv("a")])}
        assert loaded["big"].failure.cause == "oom"
        assert loaded["a"].failure is None


@pytest.mark.fault(7)
def test_out_of_memory_in_a_pass(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a", graph="oom")])
        failure = session.run_pass(["a"], burst_ms=20.0).failures["a"]
        assert (failure.cause, failure.phase) == ("oom", "run")
        assert session.pid is None


@pytest.mark.fault(23)
def test_outputs_that_are_not_finite_are_no_measurement(zoo):
    with LocalDevice().open() as session:
        failure = session.load([zoo.conv("a", scale=1e38)])[0].failure
    assert (failure.cause, failure.phase) == ("invalid_output", "warm_up")
    assert "not finite" in failure.detail


@pytest.mark.fault(18)
def test_a_provider_that_is_absent_is_an_error():
    with pytest.raises(DeviceError, match=r"no XnnpackExecutionProvider; it has .*CPUExecutionProvider"):
        LocalDevice(provider="xnnpack").open()


@pytest.mark.fault(18)
def test_a_node_on_another_provider_is_a_failure(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        assert session.load([zoo.conv("a", graph="fallback")])[0].failure.cause == "fallback"


@pytest.mark.promise(4)
@pytest.mark.fault(21)
def test_hostile_files_are_refused_and_the_worker_lives(zoo):
    good = zoo.conv("good")
    content = good.path.read_bytes()
    huge = zoo.file("huge", b"")
    with huge.path.open("r+b") as file:
        file.truncate(300 * 2**20)
    os.mkfifo(zoo.folder / "fifo.onnx")
    fifo = type(good)("fifo", zoo.folder / "fifo.onnx", good.digest)
    models = [
        zoo.file("empty", b""),
        zoo.file("truncated", content[: len(content) // 2]),
        zoo.file("noise", np.random.default_rng(0).bytes(2000)),
        zoo.conv("batch", batch=2),
        huge,
        fifo,
        type(good)("digest", good.path, "0" * 64),
        type(good)("missing", zoo.folder / "missing.onnx", good.digest),
    ]
    with LocalDevice().open() as session:
        pid = session.pid
        start = time.monotonic()
        loaded = session.load([*models, good])
        assert time.monotonic() - start < 10
        assert [one.failure and one.failure.cause for one in loaded] == ["refused"] * 8 + [None]
        assert session.pid == pid


@pytest.mark.fault(21)
def test_mutated_files_never_reach_the_parent(zoo):
    content = bytearray(zoo.conv("good").path.read_bytes())
    rng = np.random.default_rng(1)
    models = []
    for index in range(60):
        mutant = bytearray(content)
        for place in rng.integers(0, len(mutant), 4):
            mutant[place] = rng.integers(0, 256)
        models.append(zoo.file(f"m{index}", bytes(mutant)))
    with LocalDevice().open() as session:
        loaded = session.load(models)
        alive = [one.key for one in loaded if one.failure is None]
        assert 0 < len(alive) < 60
        assert len(session.run_pass(alive, burst_ms=0.1).rounds) == len(alive)


def test_what_an_engine_prints_does_not_reach_the_pipe(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        assert session.load([zoo.conv("a", graph="talk")])[0].failure is None
        assert len(session.run_pass(["a"], burst_ms=1.0).rounds) == 1


@pytest.mark.fault(21)
def test_the_worker_is_confined(zoo, monkeypatch):
    monkeypatch.setenv("TEMPOGRAD_SECRET", "hunter2")
    device = LocalDevice(memory_gib=5)
    assert device.environment()["isolation"] is None
    with device.open() as session:
        process = Path(f"/proc/{session.pid}")
        limits = {line[:25].strip(): line[25:].split()[0] for line in (process / "limits").read_text().splitlines()}
        assert limits["Max address space"] == str(5 * 2**30)
        assert limits["Max core file size"] == "0"
        assert limits["Max open files"] == "256"
        assert int(limits["Max cpu time"]) < 200
        assert "NoNewPrivs:\t1" in (process / "status").read_text()
        assert b"hunter2" not in (process / "environ").read_bytes()
        assert os.getpgid(session.pid) == os.getsid(session.pid) == session.pid
        assert (process / "cwd").readlink().name.startswith("tempograd-")
        assert device.environment()["isolation"]["dies_with_parent"] is True
        folder = (process / "cwd").readlink()
    assert not folder.exists()


def test_the_worker_never_maps_torch(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        maps = Path(f"/proc/{session.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "torch" not in maps


def test_every_thread_moves_to_the_timed_cores(zoo):
    device = LocalDevice()
    with device.open() as session:
        tasks = Path(f"/proc/{session.pid}/task")
        session.load([zoo.conv("a")])
        assert {tuple(sorted(os.sched_getaffinity(int(t.name)))) for t in tasks.iterdir()} == {device.idle_cores}
        session.start_timing()
        assert {tuple(sorted(os.sched_getaffinity(int(t.name)))) for t in tasks.iterdir()} == {device.timed_cores}


def test_a_worker_outlives_the_thread_that_opened_it(zoo):
    sessions = []
    thread = threading.Thread(target=lambda: sessions.append(LocalDevice().open()))
    thread.start()
    thread.join()
    with sessions[0] as session:
        time.sleep(0.1)
        assert session.load([zoo.conv("a")])[0].failure is None


def test_a_session_loads_while_another_is_timed(zoo, faulty):
    device = LocalDevice(faulty)
    ready = []

    def prepare() -> None:
        session = device.open()
        session.load([zoo.conv("next")])
        ready.append(session)

    with device.open() as session:
        session.load([zoo.conv("a", graph="doze")])
        session.start_timing()
        background = threading.Thread(target=prepare)
        background.start()
        result = session.run_pass(["a"], burst_ms=1000.0)
        background.join()
        assert len(result.rounds[0].wall_ms) > 10
    with ready[0] as session:
        assert len(session.run_pass(["next"], burst_ms=1.0).rounds) == 1


@pytest.mark.fault(27)
def test_a_worker_dies_with_its_parent(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed parent cannot remove its worker's directory
    script = textwrap.dedent("""
        import time
        from tempograd.devices.places.local import LocalDevice
        if __name__ == "__main__":
            session = LocalDevice().open()
            print(session.pid, flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    assert gone(pid)


def test_a_forgotten_session_is_ended_at_exit():
    script = textwrap.dedent("""
        from tempograd.devices.places.local import LocalDevice
        session = LocalDevice().open()
        print(session.pid, flush=True)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert gone(int(done.stdout))
    assert done.stderr == ""


def test_a_worker_that_writes_what_is_no_message_is_ended(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a", graph="lie")])
        pid = session.pid
        failure = session.run_pass(["a"], burst_ms=20.0).failures["a"]
        assert failure.cause == "crashed"
        assert "not an object" in failure.detail
        assert gone(pid)


@pytest.mark.fault(22)
def test_a_time_of_zero_is_no_measurement(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a"), zoo.conv("bad", graph="frozen")])
        result = session.run_pass(["a", "bad"], burst_ms=20.0)
        assert result.rounds == ()
        assert result.failures["bad"].cause == "invalid_output"
        assert "> 0.0" in result.failures["bad"].detail


def test_outputs_are_those_of_the_inputs_given(zoo):
    weights = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    content = model_bytes(nodes, [2, 5], [2, 3], [numpy_helper.from_array(weights, "w")])
    inputs = [np.random.default_rng(n).normal(size=(2, 5)).astype(np.float32) for n in range(3)]
    with LocalDevice(batch=2).open() as session:
        session.load([zoo.file("a", content)])
        for x, y in zip(inputs, session.outputs("a", inputs), strict=True):
            np.testing.assert_allclose(y, x @ weights, rtol=1e-5)
        with pytest.raises(UsageError, match="'b'"):
            session.outputs("b", inputs)
        with pytest.raises(DeviceError, match=r"shape \(1, 5\); allowed: \(2, 5\)"):
            session.outputs("a", [inputs[0][:1]])
        assert len(session.run_pass(["a"], burst_ms=1.0).rounds) == 1


def test_inputs_are_held_and_let_go(zoo, faulty):
    model = zoo.conv("a", channels=64, graph="remember")
    with LocalDevice(faulty).open() as session:
        session.load([model])
        times_ms = []
        for held in (False, True, False):
            session.hold_inputs(held)
            times_ms.append(min(session.run_pass(["a"], burst_ms=1.0).rounds[0].cpu_ms))
    assert times_ms[1] < 0.5 * min(times_ms[0], times_ms[2])


def test_a_death_while_outputs_are_computed_is_a_device_error(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        os.kill(session.pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="run again"):
            session.outputs("a", [np.zeros((1, 3, 8, 8), np.float32)])
        assert session.pid is None
