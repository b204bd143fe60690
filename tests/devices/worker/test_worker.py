"""The limited process in which foreign networks run: what it maps, prints and refuses."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tempograd.devices.places.local import LocalDevice
from tempograd.devices.sentinels import KINDS
from tempograd.devices.worker import timing
from tempograd.devices.worker.worker import Worker

pytestmark = pytest.mark.real


class Counted:
    """A program, and the runtime that loads it: counts its runs."""

    gpu_time = None

    def __init__(self):
        self.runs = 0

    def load(self, content, folder):
        return Counted()

    def run(self):
        self.runs += 1


def test_the_sentinel_is_run_no_more_often_than_its_caches_need():
    """Eight rounds: two readings of two runs each, and a discarded run wherever another network ran last."""
    board = SimpleNamespace(note=lambda *args: None, count=lambda: None)
    worker = Worker(board, Counted(), threads=1, batch=1, sentinel=KINDS[0], precision="fp32")
    worker._networks = {n: (Counted(), timing.warm_up(lambda: None, lambda: None)) for n in range(8)}
    before = worker._sentinel.runs
    rounds = worker.run_pass(list(range(8)), 0.01, reads_others=True)["rounds"]
    assert [bool(each["other_sentinels_ms"]) for each in rounds] == [True, False, False, False] * 2
    at_first, after_networks, after_other_sentinels = 1, 8, 2  # those are read after the first and the fifth round
    assert worker._sentinel.runs - before == 8 * 2 * 2 + at_first + after_networks + after_other_sentinels
    before = worker._sentinel.runs
    rounds = worker.run_pass(list(range(8)), 0.01, reads_others=False)["rounds"]
    assert not any(each["other_sentinels_ms"] for each in rounds)
    assert worker._sentinel.runs - before == 8 * 2 * 2 + at_first + after_networks


def test_the_fastest_copy_of_the_sentinel_is_read():
    """One that lies badly in memory is slow throughout its process, and would make every network look fast."""

    class Placed(Counted):
        took_s = iter((0.003, 0.0005, 0.002, *[0.001] * 10))

        def load(self, content, folder):
            copy = Placed()
            copy.own_s = next(self.took_s)
            return copy

        def run(self):
            time.sleep(self.own_s)

    board = SimpleNamespace(note=lambda *args: None, count=lambda: None)
    worker = Worker(board, Placed(), threads=1, batch=1, sentinel=KINDS[0], precision="fp32")
    assert worker._sentinel.own_s == 0.0005
    assert next(Placed.took_s) == 0.001  # there were three


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_worker_never_maps_torch(zoo):
    with LocalDevice().open() as session:
        session.load([zoo.conv("a")])
        maps = Path(f"/proc/{session.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "torch" not in maps


@pytest.mark.slow
def test_every_thread_moves_to_the_timed_cores(zoo):
    device = LocalDevice()
    with device.open() as session:
        tasks = Path(f"/proc/{session.pid}/task")
        session.load([zoo.conv("a")])
        assert {tuple(sorted(os.sched_getaffinity(int(t.name)))) for t in tasks.iterdir()} == {device.idle_cores}
        session.start_timing()
        assert {tuple(sorted(os.sched_getaffinity(int(t.name)))) for t in tasks.iterdir()} == {device.timed_cores}


@pytest.mark.slow
@pytest.mark.fault(22)
def test_a_time_of_zero_is_no_measurement(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a"), zoo.conv("bad", graph="frozen")])
        result = session.run_pass(["a", "bad"], burst_ms=20.0)
        assert result.rounds == ()
        assert result.failures["bad"].cause == "invalid_output"
        assert "> 0.0" in result.failures["bad"].detail


@pytest.mark.slow
def test_inputs_are_held_and_let_go(zoo, faulty):
    model = zoo.conv("a", channels=64, graph="remember")
    with LocalDevice(faulty).open() as session:
        session.load([model])
        times_ms = []
        for held in (False, True, False):
            session.hold_inputs(held)
            times_ms.append(min(session.run_pass(["a"], burst_ms=1.0).rounds[0].cpu_ms))
    assert times_ms[1] < 0.5 * min(times_ms[0], times_ms[2])
