import pytest

from tempograd.devices.doctor import examine


@pytest.fixture
def tree(tmp_path):
    """A machine with every fault that can be told from its system tree."""
    files = {
        "sys/devices/system/cpu/online": "0-3",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "sys/devices/system/cpu/intel_pstate/no_turbo": "0",
        "sys/devices/system/cpu/smt/active": "1",
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


def test_a_tuned_machine_is_good(tree):
    (tree / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").write_text("performance")
    (tree / "sys/devices/system/cpu/intel_pstate/no_turbo").write_text("1")
    (tree / "sys/devices/system/cpu/smt/active").write_text("0")
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
