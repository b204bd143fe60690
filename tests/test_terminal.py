"""What all commands share: progress on a terminal and off it, and signals."""

import io
import os
import signal
import subprocess
import sys

import pytest
import rich.progress
from rich.console import Console

from tempograd.terminal import Bars, Lines, progress_of
from tempograd.verbs.outcome import OPEN, REMARK


@pytest.mark.fault(27)
def test_the_second_interrupt_stops_at_once():
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
    try:
        with progress_of() as (_, stop):
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(1)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, found)


def test_a_hang_up_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with progress_of() as (_, stop):
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_off_a_terminal_a_stage_is_told_when_it_begins_every_half_minute_and_when_it_is_over():
    now_s, said = [0.0], []
    lines = Lines(said.append, lambda: now_s[0])
    lines.update("a remark that is no stage", 0, REMARK)
    lines.update("search", 0, 4)
    lines.update("search", 1, 4)
    assert said == ["a remark that is no stage", "search ..."]
    now_s[0] = 60.0
    lines.beat()
    lines.beat()
    assert said[2:] == ["search: 1 of 4, 1.0 min, some 3.0 left"]
    lines.update("repair", 3, OPEN)
    assert said[3:] == ["search: over after 1.0 min", "repair ..."]
    now_s[0] = 91.0
    lines.update("repair", 4, OPEN)
    lines.close()
    lines.close()
    assert said[5:] == ["repair: 4 so far, 0.5 min", "repair: over after 0.5 min"]


def test_bars_are_one_a_stage_and_those_that_are_over_stand_still():
    console = Console(file=io.StringIO(), force_terminal=True)
    with rich.progress.Progress(console=console, auto_refresh=False) as bars:
        told = Bars(bars)
        told.update("a remark that is no stage", 0, REMARK)
        for stage, done, total in (("search", 1, 2), ("search", 2, 2), ("repair", 9, OPEN), ("fit", 0, 1)):
            told.update(stage, done, total)
        told.close()
        assert [(t.description, t.completed, t.total) for t in bars.tasks] == [
            ("search", 2, 2), ("repair", 9, 9), ("fit", 0, 1),
        ]  # fmt: skip
        assert all(task.stop_time is not None for task in bars.tasks)
    assert "a remark that is no stage" in console.file.getvalue()


def test_no_word_waits_for_slow_imports():
    script = (
        "import sys, tempograd.cli; from tempograd.terminal import progress_of\n"
        "with progress_of('search'): print(sorted({'torch', 'sklearn', 'numpy', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]"
    assert done.stderr.startswith("stages: search")


def test_what_cannot_be_written_is_no_internal_error(tmp_path):
    """A disk that is full, a folder that cannot be: one message, and the code of what cannot be used."""
    line = f"{sys.executable} -m tempograd methods --json > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert "No space left on device" in done.stderr
    assert "internal error" not in done.stderr
    assert done.returncode == 7
