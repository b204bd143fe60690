"""What may travel to a phone is told by a child process; one that it ends is found out alone."""

import subprocess

import pytest

from tempograd.devices.android import admit as module
from tempograd.devices.android.admit import admit
from tempograd.testing.networks import Zoo


@pytest.mark.real
def test_a_child_tells_what_may_travel(tmp_path):
    zoo = Zoo(tmp_path)
    told = admit([zoo.conv("a"), zoo.file("b", b"no network")], 1)
    assert told["a"] == []
    assert (told["b"].cause, told["b"].phase) == ("refused", "load")


def test_nothing_to_admit_starts_no_process(monkeypatch):
    monkeypatch.setattr(module.subprocess, "run", None)
    assert admit([], 1) == {}


def test_a_network_that_ends_the_reader_is_told_from_those_beside_it(tmp_path, monkeypatch):
    zoo, asked = Zoo(tmp_path), []

    def run(command, **more):
        asked.append(more["input"])
        if b'"bad"' in more["input"]:
            raise subprocess.CalledProcessError(-11, command)
        return subprocess.CompletedProcess(command, 0, b'{"c": []}')

    monkeypatch.setattr(module.subprocess, "run", run)
    told = admit([zoo.conv("bad"), zoo.conv("c")], 1)
    assert (told["bad"].cause, told["c"]) == ("crashed", [])
    assert "SIGSEGV" in told["bad"].detail
    assert len(asked) == 3
