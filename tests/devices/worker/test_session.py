"""Faults of the measuring process, real ones: signals, hangs, memory, lies."""

from __future__ import annotations

import os
import signal
import threading
import time

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_hang_while_loading_says_nothing_about_latency(zoo, faulty):
    with LocalDevice(faulty, load_timeout_s=1.0).open() as session:
        failure = session.load([zoo.conv("a", graph="hang_load")])[0].failure
    assert (failure.cause, failure.phase, failure.elapsed_ms) == ("timeout", "load", None)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.fault(18)
def test_a_node_on_another_provider_is_a_failure(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        assert session.load([zoo.conv("a", graph="fallback")])[0].failure.cause == "fallback"


@pytest.mark.slow
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


def test_a_death_while_outputs_are_computed_is_a_device_error(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        os.kill(session.pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="run again"):
            session.outputs("a", [np.zeros((1, 3, 8, 8), np.float32)])
        assert session.pid is None
