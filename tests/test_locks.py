import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tempograd.errors import StoreError, UsageError
from tempograd.locks import Lock

HOLD = """
import sys, time
from pathlib import Path
from tempograd.locks import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.take(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock ``device``."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "device")], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"True\n"
        yield process
        process.kill()


@pytest.mark.real
@pytest.mark.fault(26)
def test_who_holds_it_is_told_and_a_dead_holder_holds_nothing(other, tmp_path):
    lock = Lock(tmp_path / "device")
    assert not lock.take()
    assert lock.holder().startswith(f"process {other.pid} on {os.uname().nodename} since 20")
    assert lock.holder().endswith(f"(-c {tmp_path / 'device'})")
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert lock.take()
    assert lock.holder().startswith(f"process {os.getpid()} ")
    lock.release()
    assert not lock.holder_path.exists()


def test_a_holder_file_that_a_kill_cut_short_is_no_obstacle(tmp_path):
    (tmp_path / "a.holder").write_text('{"pid": 12, "ho')
    lock = Lock(tmp_path / "a")
    assert lock.holder() == "another process"
    assert lock.take()
    assert json.loads(lock.holder_path.read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("suffix", ["lock", "holder"])
def test_what_is_no_lock_is_kept(suffix, tmp_path):
    (tmp_path / f"a.{suffix}").write_text("my notes")
    with pytest.raises(UsageError, match="it is kept"):
        Lock(tmp_path / "a").take()
    assert (tmp_path / f"a.{suffix}").read_text() == "my notes"
    (tmp_path / f"a.{suffix}").unlink()
    lock = Lock(tmp_path / "a")
    assert lock.take()  # the refusal held nothing
    lock.release()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Lock(tmp_path / "file" / "a").take()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which no file can be made")
def test_a_place_without_files_is_held_by_nobody():
    with pytest.raises(StoreError, match=r"cannot lock /proc/x.db: .*choose another place"):
        Lock(Path("/proc/x.db")).take()


def test_a_lock_that_came_to_nothing_leaves_nothing(tmp_path):
    lock = Lock(tmp_path / "a")
    assert lock.take()
    lock.release(forget=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.lock").write_text("")  # of an earlier writer, whom others may be waiting for
    assert lock.take()
    lock.release(forget=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]
