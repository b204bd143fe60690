"""One worker as its parent sees it: watched, and ended with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from tempograd.devices.places.local import LocalDevice
from tempograd.devices.worker.process import WorkerProcess, environment
from tempograd.errors import DeviceError

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


@pytest.mark.slow
@pytest.mark.fault(6)
def test_a_stopped_process_is_a_time_out(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        os.kill(session.pid, signal.SIGSTOP)
        pid = session.pid
        with pytest.raises(DeviceError, match="no network ran"):
            session.run_pass(["a"], burst_ms=1.0)
        assert gone(pid)


@pytest.mark.slow
def test_a_worker_outlives_the_thread_that_opened_it(zoo):
    sessions = []
    thread = threading.Thread(target=lambda: sessions.append(LocalDevice().open()))
    thread.start()
    thread.join()
    with sessions[0] as session:
        time.sleep(0.1)
        assert session.load([zoo.conv("a")])[0].failure is None


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


@pytest.mark.slow
def test_a_forgotten_session_is_ended_at_exit():
    script = textwrap.dedent("""
        from tempograd.devices.places.local import LocalDevice
        session = LocalDevice().open()
        print(session.pid, flush=True)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert gone(int(done.stdout))
    assert done.stderr == ""


@pytest.mark.slow
def test_a_worker_that_writes_what_is_no_message_is_ended(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a", graph="lie")])
        pid = session.pid
        failure = session.run_pass(["a"], burst_ms=20.0).failures["a"]
        assert failure.cause == "crashed"
        assert "not an object" in failure.detail
        assert gone(pid)


def test_a_worker_sees_few_variables_and_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", f"lib{os.pathsep}")
    seen = environment(tmp_path, 3)
    assert "SECRET_TOKEN" not in seen
    assert seen["PYTHONPATH"] == str(Path("lib").absolute())
    assert (seen["OMP_NUM_THREADS"], seen["TMPDIR"], seen["PYTHONHASHSEED"]) == ("3", str(tmp_path), "0")


CORES = sorted(os.sched_getaffinity(0))


def test_a_runtime_that_is_not_there_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = {
        "memory_bytes": 2**33, "file_bytes": 2**30, "idle_cores": CORES, "timed_cores": CORES, "threads": 1,
        "cpu_seconds": 60, "runtime": "none", "options": {}, "batch": 1, "sentinel": "mixed",
    }  # fmt: skip
    with pytest.raises(DeviceError, match="unknown runtime 'none'"):
        WorkerProcess(settings, start_s=60.0)
    assert not list(tmp_path.iterdir())
