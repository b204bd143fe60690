from __future__ import annotations

import subprocess

import pytest

from tempograd.devices.android import facts
from tempograd.errors import DeviceError, UsageError

PIXEL = """property ro.product.model Pixel 8
property ro.product.manufacturer Google
property ro.soc.model Tensor G3
property ro.build.version.release 16
property ro.product.cpu.abi arm64-v8a
property ro.boot.qemu{space}
kernel x 6.1.99-android14
memory x 7812345
core 0 1704000
core 1 1704000
core 2 2367000
core 3 2367000
core 4 2914000
zone /sys/class/thermal/thermal_zone0 battery
zone /sys/class/thermal/thermal_zone1 BIG
battery /sys/class/power_supply/battery/capacity x
cpuinfo x processor : 0
cpuinfo x CPU part : 0xd46
cpuinfo x processor : 1
cpuinfo x CPU part : 0xd46
cpuinfo x processor : 2
cpuinfo x CPU part : 0xd4d
cpuinfo x processor : 3
cpuinfo x CPU part : 0xd4d
cpuinfo x processor : 4
cpuinfo x CPU part : 0xd4e
""".format(space=" ")


def told(text):
    return facts.facts(lambda _: text.encode())


def test_clusters_are_named_from_the_slowest_to_the_fastest():
    phone = told(PIXEL)
    assert [(c.name, c.cores, c.part, c.max_mhz) for c in phone.clusters] == [
        ("little", (0, 1), "0xd46", 1704.0),
        ("middle", (2, 3), "0xd4d", 2367.0),
        ("big", (4,), "0xd4e", 2914.0),
    ]
    assert phone.cores == [0, 1, 2, 3, 4]
    assert phone.hardware["cpu"] == "Tensor G3"
    assert phone.hardware["memory_gib"] == 7
    assert phone.hardware["system"] == "Linux 6.1.99-android14"
    assert phone.abi == "arm64-v8a"
    assert phone.temperature_file == "/sys/class/thermal/thermal_zone1/temp"
    assert phone.battery_file == "/sys/class/power_supply/battery/capacity"
    assert not phone.emulated
    assert "emulated" not in phone.hardware


def test_an_emulator_says_so():
    phone = told(PIXEL.replace("ro.boot.qemu ", "ro.boot.qemu 1"))
    assert phone.emulated
    assert phone.hardware["emulated"] is True


@pytest.mark.parametrize(
    ("asked", "name", "cores"),
    [(None, "big", [4]), ("middle", "middle", [2, 3]), ("0-1", "little", [0, 1]), ("3", "middle", [3])],
)
def test_cores_are_of_one_named_cluster(asked, name, cores):
    assert told(PIXEL).choose(asked) == (name, cores)


@pytest.mark.parametrize("asked", ["huge", "1-2", "7", "0+4", ""])
def test_other_cores_are_refused_with_what_there_is(asked):
    with pytest.raises(UsageError, match=r"little \(0-1\), middle \(2-3\), big \(4-4\)"):
        told(PIXEL).choose(asked)


def test_four_clusters_and_one():
    four = PIXEL + "core 5 3000000\ncpuinfo x processor : 5\ncpuinfo x CPU part : 0xd82\n"
    assert [c.name for c in told(four).clusters] == ["little", "middle1", "middle2", "big"]
    assert [c.name for c in told("core 0 \ncore 1 \n").clusters] == ["all"]


def test_a_phone_without_cores_is_an_error_that_shows_what_it_said():
    with pytest.raises(DeviceError, match="names no cores; it said 'sh: not found'"):
        told("sh: not found\n")


@pytest.mark.real
def test_the_scripts_are_shell_and_this_machine_answers_them():
    def say(words):
        return subprocess.run(words, capture_output=True, check=False).stdout

    here = facts.facts(say)
    assert here.cores
    assert here.hardware["memory_gib"] is not None
    assert set(facts.state(say)) >= {"boot_id", "battery_percent", "charger", "thermal_status", "screen_on"}
    assert facts.state(say)["battery_percent"] is None  # not said: not guessed
