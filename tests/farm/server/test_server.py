"""The server's program: where it is, how old, and whether it runs."""

import os
import socket
import sys
from pathlib import Path

import pytest

from tempograd.errors import DeviceError
from tempograd.farm.server import server


@pytest.mark.parametrize(
    ("version", "good"),
    [((2, 9, 10), False), ((2, 12, 11), False), ((2, 12, 12), True), ((2, 13, 9), False), ((2, 14, 2), False),
     ((2, 14, 3), True), ((2, 15, 1), True), ((3, 0, 0), True)],
)  # fmt: skip
def test_servers_without_the_known_fixes_are_told_apart(version, good):
    assert server.has_known_fixes(version) is good


@pytest.mark.parametrize(("text", "version"), [("nats-server: v2.10.20", (2, 10, 20)), ("2.14.3-RC.1", (2, 14, 3))])
def test_a_version_is_the_first_in_what_it_says(text, version):
    assert server.parse_version(text) == version
    assert server.shown(version) in text
    with pytest.raises(ValueError, match="no version in 'nats'"):
        server.parse_version("nats")


def test_an_address_without_a_port_is_at_the_usual_one():
    assert server.address_of("tls://farm.lan:4333") == ("farm.lan", 4333)
    assert server.address_of("nats://127.0.0.1") == ("127.0.0.1", 4222)


def test_what_an_old_server_cannot_be_told_is_known():
    assert not server.knows_sync_interval((2, 9, 25))
    assert server.knows_sync_interval((2, 10, 0))
    assert not server.knows_min_version((2, 11, 9))
    assert server.knows_min_version((2, 12, 0))


def program(folder, script):
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_newer_of_those_that_are_there_is_taken(tmp_path, monkeypatch):
    here, there = tmp_path / "bin", tmp_path / "python"
    here.mkdir()
    there.mkdir()
    program(here, "echo nats-server: v2.9.1")
    newer = program(there, "echo nats-server: v2.14.3")
    monkeypatch.setenv("PATH", str(here), prepend=":")
    monkeypatch.setattr(sys, "executable", str(there / "python3"))
    assert server.find_server() == (newer, (2, 14, 3))


def test_a_program_that_says_no_version_or_refuses_is_told(tmp_path):
    with pytest.raises(DeviceError, match="does not say its version"):
        server.server_version(program(tmp_path, "echo hello"))
    with pytest.raises(DeviceError, match="does not say its version"):
        server.server_version(tmp_path / "none")
    with pytest.raises(DeviceError, match=r"refuses .*farm\.conf: line 3: no such thing"):
        server.check_configuration(
            program(tmp_path, "echo 'line 3: no such   thing' >&2; exit 1"), tmp_path / "farm.conf"
        )
    server.check_configuration(program(tmp_path, "exit 0"), tmp_path / "farm.conf")


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path, free_port):
    dead = program(tmp_path, 'echo first >> "$4"; echo "no room" >> "$4"; exit 1')
    with pytest.raises(DeviceError, match=r"did not start; no room \(log: "):
        server.start(dead, tmp_path / "farm.conf", ("127.0.0.1", free_port), log=tmp_path / "log")


def test_an_address_that_is_taken_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DeviceError, match=r"answers at .* already"):
        server.start(tmp_path / "none", tmp_path / "farm.conf", taken.getsockname()[:2], log=tmp_path / "log")


def test_a_number_in_a_file_is_a_server_only_where_such_a_program_runs(tmp_path):
    file = tmp_path / "pid"
    assert server.running(file) is None
    file.write_text("no number")
    assert server.running(file) is None
    file.write_text(str(os.getpid()))
    assert server.running(file) is None
    command = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().split(b"\0")[0].decode()
    assert server.running(file, command) == os.getpid()
