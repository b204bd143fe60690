import pytest

from tempograd.devices import doctor
from tempograd.devices.doctor import examine
from tempograd.devices.runtime.packages import Package


@pytest.fixture
def tree(tmp_path):
    """A machine with every fault that can be told from its system tree."""
    files = {
        "sys/devices/system/cpu/online": "0-3",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "sys/devices/system/cpu/intel_pstate/no_turbo": "0",
        "sys/devices/system/cpu/smt/active": "1",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0,2",
        "sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "1,3",
        "sys/devices/system/cpu/isolated": "",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4",
        "sys/devices/system/cpu/cpu0/cpufreq/base_frequency": "2100000",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
        "sys/fs/cgroup/cgroup.procs": "1",
        "sys/fs/cgroup/work/job/cpu.max": "max 100000",
        "sys/fs/cgroup/work/cpu.max": "150000 100000",
        "proc/self/cgroup": "0::/work/job",
        "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0\n",
        "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 1048576 kB\n",
        "proc/swaps": "Filename Type Size Used Priority\n/swapfile file 2097148 20480 -2\n",
        "proc/loadavg": "3.20 1.00 0.50 1/200 999",
        "proc/stat": "cpu 100 0 100 700 0 0 0 100 0 0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def by_topic(root):
    return {finding.topic: finding for finding in examine(root) if finding.topic != "runtime"}


def test_every_fault_has_its_command(tree):
    found = by_topic(tree)
    assert found["cores"].found.startswith("4 cores")
    assert "cpupower" in found["governor"].remedy
    assert "echo 1" in found["turbo"].remedy
    assert "smt/control" in found["hyper-threading"].remedy
    assert found["load"].level == "advice"
    assert found["stolen time"].found.startswith("10.00%")
    assert "taskset" in found["timed core"].remedy
    assert "isolcpus=3" in found["isolated cores"].remedy
    assert found["CPU quota"].level == "problem"
    assert found["CPU quota"].found.startswith("1.5 CPUs")
    assert found["heat"].found == "throttled 7 times since boot"
    assert "--max 2100000kHz" in found["heat"].remedy
    assert found["clock"].remedy.startswith("echo tsc")
    assert found["memory"].found.startswith("1.0 GiB")
    assert found["swap"].found.startswith("20 MiB")
    assert {f.topic for f in found.values() if f.level == "good"} <= {"cores", "disk"}
    assert all(f.remedy for f in found.values() if f.level in ("advice", "problem"))


def test_a_tuned_machine_is_good(tree):
    (tree / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").write_text("performance")
    (tree / "sys/devices/system/cpu/intel_pstate/no_turbo").write_text("1")
    (tree / "sys/devices/system/cpu/smt/active").write_text("0")
    (tree / "sys/devices/system/cpu/isolated").write_text("3")
    for core in (0, 1):
        (tree / f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count").write_text("0")
    (tree / "sys/devices/system/clocksource/clocksource0/current_clocksource").write_text("tsc")
    (tree / "sys/fs/cgroup/work/cpu.max").write_text("max 100000")
    (tree / "proc/self/status").write_text("Cpus_allowed_list:\t0-3\n")
    (tree / "proc/meminfo").write_text("MemAvailable: 8388608 kB\n")
    (tree / "proc/swaps").write_text("Filename Type Size Used Priority\n/swapfile file 2097148 0 -2\n")
    (tree / "proc/loadavg").write_text("0.01 0 0 1/2 3")
    (tree / "proc/stat").write_text("cpu 100 0 100 700 0 0 0 0 0 0\n")
    assert {f.level for f in by_topic(tree).values() if f.topic != "disk"} == {"good"}


def test_what_cannot_be_read_is_unknown_and_never_guessed(tmp_path):
    unreadable = {topic: f.level for topic, f in by_topic(tmp_path).items() if topic != "disk"}
    assert set(unreadable.values()) == {"unknown"}


def test_one_core_is_a_problem(tree):
    (tree / "sys/devices/system/cpu/online").write_text("0")
    assert by_topic(tree)["cores"].level == "problem"


def test_runtimes_of_this_machine_are_listed():
    assert any(f.topic == "runtime" and f.found.startswith("onnxruntime ") for f in examine())


def test_whatever_brings_a_runtime_is_asked_of_the_runtime(monkeypatch):
    """A plug-in's distributions are listed, and two that bring one module are a problem; nobody keeps their names."""

    class Double:
        package = Package("Double", ("numpy", "torch", "no-such-distribution"), "pip install double", module="double")

    monkeypatch.setattr(doctor, "names", lambda kind: ["double"])
    monkeypatch.setattr(doctor, "load", lambda kind, name: Double)
    *here, problem = [f for f in examine() if f.topic == "runtime"]
    assert [f.found.split()[0] for f in here] == ["numpy", "torch"]
    assert (problem.level, problem.found) == ("problem", "numpy and torch overwrite each other")
    assert problem.remedy == "pip uninstall numpy torch, then install one"


@pytest.mark.parametrize(("quota", "level"), [("-1", "good"), ("50000", "problem")])
def test_a_quota_of_the_older_control_groups(tree, quota, level):
    group = tree / "sys/fs/cgroup/cpu/box"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(quota)
    (group / "cpu.cfs_period_us").write_text("100000")
    (tree / "proc/self/cgroup").write_text("12:pids:/box\n4:cpu,cpuacct:/box")
    found = by_topic(tree)["CPU quota"]
    assert found.level == level
    assert level == "good" or found.found.startswith("0.5 CPUs")


@pytest.mark.parametrize(
    ("groups", "limit", "used", "level", "said"),
    [
        ("0::/box", "memory.max", "memory.current", "problem", "1.5 GiB available, of the 3.0 GiB"),
        ("4:memory:/box", "memory.limit_in_bytes", "memory.usage_in_bytes", "problem", "1.5 GiB available, of the 3"),
        ("0::/box/inner", "memory.max", "memory.current", "problem", "1.5 GiB available, of the 3.0 GiB"),
    ],
)
def test_a_limit_of_memory_is_the_number_in_force(tree, groups, limit, used, level, said):
    group = tree / "sys/fs/cgroup" / ("memory/box" if "4:" in groups else "box")
    (group / "inner").mkdir(parents=True)
    (group / limit).write_text(str(3 * 2**30))
    (group / used).write_text(str(2**30 * 3 // 2))
    (group / "inner" / limit).write_text("max")
    (tree / "proc/meminfo").write_text("MemAvailable: 8388608 kB\n")
    (tree / "proc/self/cgroup").write_text(groups)
    found = by_topic(tree)["memory"]
    assert (found.level, found.found[: len(said)]) == (level, said)
    assert "docker update --memory" in found.remedy
    (group / limit).write_text(str(2**63 - 4096) if "4:" in groups else "max")
    assert (by_topic(tree)["memory"].level, by_topic(tree)["memory"].found) == ("good", "8.0 GiB available")


@pytest.mark.parametrize(
    ("allowed", "level", "said"),
    [
        ("0-3", "good", "4 cores: one is timed"),
        ("1,3", "good", "4 cores, of which this process may use 2 (1,3): one is timed"),
        ("3", "problem", "4 cores, of which this process may use 1 (3): building and timing share it"),
    ],
)
def test_the_cores_that_this_process_may_use_are_told(tree, allowed, level, said):
    (tree / "proc/self/status").write_text(f"Cpus_allowed_list:\t{allowed}\n")
    found = by_topic(tree)["cores"]
    assert (found.level, found.found[: len(said)]) == (level, said)


def test_a_machine_without_control_groups_of_its_own_has_no_quota(tree):
    (tree / "proc/self/cgroup").write_text("0::/")
    assert by_topic(tree)["CPU quota"].level == "good"


def test_a_clock_that_cannot_be_changed_while_running_needs_a_boot_argument(tree):
    (tree / "sys/devices/system/clocksource/clocksource0/available_clocksource").write_text("hpet acpi_pm")
    assert "tsc=reliable" in by_topic(tree)["clock"].remedy


@pytest.mark.parametrize(
    ("allowed", "level", "found"),
    [
        ("0-3", "good", "CPU 1 of 0-3"),
        ("3", "good", "CPU 3 of 3"),
        ("0,2", "advice", "only CPU 0's core is allowed, and it serves interrupts"),
    ],
)
def test_the_core_that_would_be_timed(tree, allowed, level, found):
    (tree / "proc/self/status").write_text(f"Cpus_allowed_list:\t{allowed}\n")
    seen = by_topic(tree)["timed core"]
    assert (seen.level, seen.found) == (level, found)
