"""The fake server speaks the real protocol: the adb client of the system works with it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tempograd.devices.android.adb import Phone, Server

ADB = shutil.which("adb")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(ADB is None, reason="adb is not installed; apt-get install adb"),
]


@pytest.fixture
def adb(hung, tmp_path):
    host, port = hung.server.address.split(":")

    def ask(*words, code=0):
        done = subprocess.run(
            [str(ADB), "-H", host, "-P", port, *words], capture_output=True, timeout=20, check=False,
            env=os.environ | {"HOME": str(tmp_path), "ADB_VENDOR_KEYS": ""},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout

    return ask


def test_it_lists_the_phone_and_its_state(adb, hung):
    assert b"0123FAKE\tdevice" in adb("devices")
    assert b"model:Fake_1" in adb("devices", "-l")
    assert adb("get-state") == b"device\n"
    hung.phone.state = "unauthorized"
    assert b"0123FAKE\tunauthorized" in adb("devices")


def test_it_runs_commands_and_passes_their_status_on(adb):
    assert adb("shell", "echo out; echo errors >&2; exit 7", code=7) == b"out\n"
    assert adb("exec-out", "printf '\\000\\001'") == b"\0\1"
    assert adb("shell", "getprop ro.product.model") == b"Fake 1\n"


def test_what_one_client_writes_the_other_reads(adb, hung, tmp_path):
    content = os.urandom(200_000)
    phone = Phone(Server(hung.server.address), "0123FAKE")
    phone.push([(content, "/data/local/tmp/tempograd/from-us", 0o600)])
    adb("pull", "/data/local/tmp/tempograd/from-us", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content
    (tmp_path / "there").write_bytes(content[::-1])
    adb("push", str(tmp_path / "there"), "/data/local/tmp/tempograd/from-adb")
    assert phone.pull("/data/local/tmp/tempograd/from-adb") == content[::-1]


def test_both_clients_get_the_same_answers(adb, hung):
    phone = Phone(Server(hung.server.address), "0123FAKE")
    for words in (["cat", "/proc/cpuinfo"], ["dumpsys", "battery"], ["uname", "-s"]):
        assert phone.run(words) == adb("shell", " ".join(words))


def test_both_are_refused_alike(adb, hung):
    hung.phone.state = "unauthorized"
    adb("shell", "true", code=1)
    hung.phone.state = "device"
    hung.phone.full = True
    adb("push", __file__, "/data/local/tmp/tempograd/x", code=1)
    assert not any("kill" in request for request in hung.server.asked)
