import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tempograd import scratch
from tempograd.scratch import Scratch

OWNER = (
    "import sys; from pathlib import Path; from tempograd.scratch import Scratch\n"
    "folder = Scratch(); Path(folder.name, 'deep').mkdir(); Path(folder.name, 'deep', 'network.onnx').touch()\n"
    "print(folder.name, flush=True); sys.stdin.read()"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder that scratch folders are made in, of which nothing is known yet."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    scratch._clear.cache_clear()
    return place


def owner(place):
    """Start a process with a scratch folder; return both."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(place)},
    )  # fmt: skip
    return process, Path(process.stdout.readline().strip())


def test_a_folder_goes_with_the_work(place):
    with Scratch() as name:
        assert Path(name).parent == place
        Path(name, "network.onnx").touch()
        with Scratch():
            assert len(list(place.iterdir())) == 2
    other = Scratch()
    other.cleanup()
    other.cleanup()
    assert not list(place.iterdir())


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.fault(1)
def test_what_a_killed_process_left_is_removed_by_the_next_one_and_what_a_living_one_has_is_not(place):
    living, kept = owner(place)
    killed, left = owner(place)
    with living, killed:
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        assert left.is_dir()
        with Scratch() as name:
            assert sorted(place.iterdir()) == sorted([kept, Path(name)])
        assert (kept / "deep" / "network.onnx").exists()
        living.communicate()
    assert not list(place.iterdir())


def test_only_folders_of_ours_and_of_this_machine_are_removed(place, tmp_path, monkeypatch):
    boot = scratch._boot()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    kept = [place / name for name in (
        "other", "tempograd-abcdefgh", f"tempograd-{boot}-short", f"tempograd-{boot}-abcdefgh.txt",
        "tempograd-00000000-abcdefgh",
    )]  # fmt: skip
    for path in kept:
        path.mkdir()
    link, file = place / f"tempograd-{boot}-linked__", place / f"tempograd-{boot}-file____"
    link.symlink_to(elsewhere)
    file.touch()
    (place / f"tempograd-{boot}-left____").mkdir()
    with Scratch() as name:
        assert sorted(place.iterdir()) == sorted([*kept, link, file, Path(name)])
    assert (elsewhere / "kept").exists()

    (place / f"tempograd-{boot}-others__").mkdir()
    scratch._clear.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with Scratch():
        assert (place / f"tempograd-{boot}-others__").is_dir()


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(place, monkeypatch):
    """Another process may look just then."""
    lock, taken = scratch.fcntl.flock, []

    def late(descriptor, operation):
        if not taken:
            taken.extend(place.iterdir())
            taken[0].rmdir()
        lock(descriptor, operation)

    monkeypatch.setattr(scratch.fcntl, "flock", late)
    with Scratch() as name:
        assert list(place.iterdir()) == [Path(name)] != taken
    assert not list(place.iterdir())


def test_a_place_without_locks_serves_and_nothing_in_it_is_removed(place, monkeypatch):
    def refused(*_):
        raise OSError("no locks here")

    left = place / f"tempograd-{scratch._boot()}-abcdefgh"
    left.mkdir()
    monkeypatch.setattr(scratch.fcntl, "flock", refused)
    with Scratch() as name:
        assert sorted(place.iterdir()) == sorted([left, Path(name)])
    assert list(place.iterdir()) == [left]


def test_where_the_boot_is_not_known_nothing_is_taken_for_left_behind(monkeypatch):
    def refused(self):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refused)
    assert scratch._boot.__wrapped__() != scratch._boot.__wrapped__()
