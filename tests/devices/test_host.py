from __future__ import annotations

import pytest

from tempograd.devices import host
from tempograd.errors import UsageError

PAIRS = [(0, 4), (1, 5), (2, 6), (3, 7)]
SINGLES = [(0,), (1,)]


@pytest.fixture
def machine(tmp_path):
    """Four logical CPUs on two cores."""
    cpu = tmp_path / "sys/devices/system/cpu"
    for index in range(4):
        write(cpu / f"cpu{index}/topology/thread_siblings_list", f"{index % 2},{index % 2 + 2}\n")
        write(cpu / f"cpu{index}/cpufreq/scaling_governor", "performance\n")
        write(cpu / f"cpu{index}/cpufreq/scaling_cur_freq", f"{2_000_000 + index}\n")
    for index, (level, kind, size) in enumerate([("1", "Data", "32K"), ("2", "Unified", "1M")]):
        for name, text in (("level", level), ("type", kind), ("size", size)):
            write(cpu / f"cpu0/cache/index{index}/{name}", text)
    write(cpu / "intel_pstate/no_turbo", "1\n")
    write(cpu / "isolated", "3\n")
    write(tmp_path / "proc/cpuinfo", "model name : Fast CPU\nflags : sse avx\n\nmodel name : Other\n")
    write(tmp_path / "proc/meminfo", "MemTotal: 16252928 kB\nMemAvailable: 8388608 kB\n")
    write(tmp_path / "proc/loadavg", "0.52 0.1 0.1 1/100 3\n")
    write(tmp_path / "proc/stat", "cpu 1 2 3 4 5 6 7 88 9 10\ncpu0 1 2\n")
    write(tmp_path / "proc/sys/kernel/random/boot_id", "abc\n")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_qemu_runs_says_so(machine):
    assert not host.emulated(machine)
    assert "emulated" not in host.hardware(machine)
    write(machine / "proc/self/comm", "qemu-aarch64-st\n")
    assert host.hardware(machine)["emulated"] is True


def test_hardware_is_read_from_the_kernel(machine):
    found = host.hardware(machine)
    assert found["cpu"] == "Fast CPU"
    assert (found["physical_cores"], found["logical_cores"]) == (2, 4)
    assert found["caches"] == ["L1d 32K", "L2 1M"]
    assert found["memory_gib"] == 16
    write(machine / "proc/cpuinfo", "model name : Fast CPU\nflags : avx sse\n")
    assert host.hardware(machine)["isa"] == found["isa"]
    write(machine / "proc/cpuinfo", "model name : Fast CPU\nflags : avx sse avx512f\n")
    assert host.hardware(machine)["isa"] != found["isa"]


def test_conditions_are_those_of_the_timed_cores(machine):
    found = host.conditions([1, 2], machine)
    assert found["governor"] == "performance"
    assert found["frequency_khz"] == [2_000_001, 2_000_002]
    assert found["turbo"] is False
    assert found["load_average_1min"] == 0.52
    assert found["steal_ticks"] == 88
    assert found["boot_id"] == "abc"
    assert found["isolated_cores"] == "3"
    assert found["memory_available_gib"] == 8.0


def test_what_the_kernel_does_not_say_is_none(tmp_path):
    conditions = host.conditions([0], tmp_path)
    assert set(conditions.values()) == {None}
    hardware = host.hardware(tmp_path)
    for name in ("physical_cores", "logical_cores", "caches", "isa", "memory_gib"):
        assert hardware[name] is None


def test_gpus_and_their_driver_are_read_from_the_kernel(tmp_path):
    assert host.gpus(tmp_path) == host.driver(tmp_path) == []
    folder = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 18\n")
    (tmp_path / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version:  gcc 12.2.0\n"
    )
    assert host.gpus(tmp_path) == ["NVIDIA H100 80GB HBM3"]
    assert host.driver(tmp_path) == ["580.65.06"]


def test_siblings_form_a_core(machine):
    assert host.core_groups(machine) == [(0, 2), (1, 3)]


@pytest.mark.parametrize(("text", "cores"), [("3", [3]), ("0-2,5", [0, 1, 2, 5]), ("4+2", [2, 4]), ("1,1", [1])])
def test_lists_of_cores(text, cores):
    assert host.parse_cores(text) == cores


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2"])
def test_what_is_no_list_of_cores(text):
    if text == "1-":
        assert host.parse_cores(text) == [1]
        return
    with pytest.raises(ValueError, match="invalid literal"):
        host.parse_cores(text)


@pytest.mark.parametrize(
    ("threads", "groups", "allowed", "timed"),
    [
        (1, PAIRS, range(8), [3]),
        (2, PAIRS, range(8), [2, 3]),
        (4, PAIRS, range(8), [0, 1, 2, 3]),
        (1, SINGLES, range(2), [1]),
        (1, [(0,)], [0], [0]),
        (1, PAIRS, [0, 4, 5], [5]),
        (2, [(1,), (0,), (2,)], range(3), [1, 2]),
    ],
)
def test_the_last_physical_cores_are_timed_and_cpu_0_last_of_all(threads, groups, allowed, timed):
    assert host.choose_cores(threads, groups, list(allowed)) == timed


def test_threads_never_share_a_physical_core():
    with pytest.raises(UsageError, match="threads=5, but this process may use 4 physical cores"):
        host.choose_cores(5, PAIRS, list(range(8)))


@pytest.mark.parametrize(
    ("timed", "groups", "allowed", "idle"),
    [
        ([3], PAIRS, range(8), [0, 1, 2, 4, 5, 6]),
        ([1], SINGLES, range(2), [0]),
        ([0], [(0, 1)], range(2), [1]),
        ([0], [(0,)], [0], [0]),
    ],
)
def test_what_is_not_timed_keeps_off_the_siblings_too(timed, groups, allowed, idle):
    assert host.idle_cores(timed, groups, list(allowed)) == idle
