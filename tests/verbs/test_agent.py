import json
import os
import subprocess
import sys

import pytest

from tempograd.__main__ import agent

HEAVY = ("torch", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib", "pydantic", "typer", "rich", "jinja2")


def test_an_agent_imports_nothing_that_a_board_need_not_have():
    """All of it: its command, a device that is made and described, the service, the queue on a server."""
    code = f"""
import sys
from tempograd.__main__ import agent
from tempograd.verbs import agent as verb
from tempograd import registry
from tempograd.devices.farm import jetstream
from tempograd.devices.agent.supervisor import _environment
from tempograd.profiler.service import Service
device = registry.create("device", "local")
_environment("a1", device)
agent(["--class", "x", "--queue", "embedded:queue.db", "--device", "local", "--idle-exit", "0"])
print(sorted({{*{HEAVY}}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_command_says_what_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert agent(["--class", "Wrong Name", "--device", "simulated"]) == 2
    assert "a-z" in capsys.readouterr().err
    assert agent([]) == 2
    assert "--class KIND" in capsys.readouterr().err
    assert agent(["--class", "x", "--queue", "nats://elsewhere.lan:4222", "--device", "simulated"]) == 2
    assert "plain text" in capsys.readouterr().err
    assert agent(["--config", "none.toml"]) == 5
    assert agent(["--class", "x", "--device", "none"]) == 2
    with pytest.raises(SystemExit) as ended:
        agent(["--no-such-flag"])
    assert ended.value.code == 2


def test_help_lists_it_and_it_has_examples():
    def said(*arguments):
        command = [sys.executable, "-m", "tempograd", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    assert "agent" in said("--help")
    assert "exit codes" in said("agent", "--help")


def test_collect_and_search_over_a_farm(tmp_path):
    """The two verbs that time networks, with ``farm:KIND`` in the place of a device."""
    space, device = "nasbench201:cells=1,width=4,size=8,channels=1", "farm:sim"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def tempograd(*arguments):
        command = [sys.executable, "-m", "tempograd", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, env=environment)

    lent = subprocess.Popen(
        [sys.executable, "-m", "tempograd", "agent", "--class", "sim", "--device", "simulated:seed=1,slow=1.0"],
        cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        common = ("--space", space, "--device", device, "--plan", "quick", "--json")
        collected = tempograd("collect", *common, "--count", 40, "--store", "run.db")
        assert collected.returncode == 0, collected.stderr
        assert json.loads(collected.stdout)["verdicts"] == {"ok": 46}
        fitted = tempograd("fit", "--store", "run.db", "--out", "predictor", "--model", "ridge", "--json")
        assert fitted.returncode == 0, fitted.stderr
        sought = tempograd(
            "search", *common, "--predictor", "predictor", "--store", "run.db", "--task", "synthetic", "--out", "result",
            "--method", "random_search:networks=2", "--target-ms", 100, "--train-epochs", 1, "--random", 0,
        )  # fmt: skip
        assert sought.returncode == 0, sought.stderr + sought.stdout
        assert json.loads(sought.stdout)["found"]["measured"]["verdict"] == "ok"
        audited = tempograd("audit", "--store", "run.db", "--device", device)
        assert audited.returncode == 2
        assert "audit it there" in audited.stderr
    finally:
        lent.terminate()
        assert lent.wait(30) == 0
