import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tempograd.errors import UsageError
from tempograd.farm.agent import command as verb
from tempograd.farm.agent.command import run as agent
from tempograd.verbs.audit import audit
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.search import search

HEAVY = ("torch", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib", "pydantic", "typer", "rich", "jinja2")


@pytest.mark.slow
def test_an_agent_imports_nothing_that_a_board_need_not_have():
    """All of it: its command, a device that is made and described, the service, the queue on a server."""
    code = f"""
import sys
from tempograd.farm.agent.command import run as agent
from tempograd.farm.agent import command as verb
from tempograd import registry
from tempograd.farm.queues import jetstream
from tempograd.farm.agent.outcome import environment
from tempograd.farm.agent.service import Service
device = registry.create("device", "local")
environment("a1", device)
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
    assert agent(["--class", "x", "--device", "farm:other"]) == 2
    assert "opens no measuring process" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        agent(["--no-such-flag"])
    assert ended.value.code == 2


@pytest.mark.slow
def test_help_lists_it_and_it_has_examples():
    def said(*arguments):
        command = [sys.executable, "-m", "tempograd", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    assert "agent" in said("--help")
    assert "exit codes" in said("agent", "--help")


@pytest.mark.real
def test_collect_and_search_over_a_farm(tmp_path):
    """The verbs that time networks, with ``farm:KIND`` in the place of a device."""
    space, store = "nasbench201:cells=1,width=4,size=8,channels=1", Path("run.db")
    stop = threading.Event()
    settings = verb.settings_of(config=None, device_class="sim", device="simulated:seed=1,slow=1.0")
    lent = threading.Thread(target=verb.agent, args=[settings], kwargs={"stop": stop})
    lent.start()
    try:
        collected = collect(space, store, device="farm:sim", count=40, plan="quick")
        assert (collected.exit_code, collected.document["verdicts"]) == (0, {"ok": 46})
        fit(store, Path("predictor"), model="ridge")
        sought = search(
            space, Path("predictor"), Path("result"), device="farm:sim", store=store, plan="quick", task="synthetic",
            method="random_search:networks=2", target_ms=100, train_epochs=1, random=0,
        )  # fmt: skip
        assert sought.document["found"]["measured"]["verdict"] == "ok"
        assert sought.exit_code == 0
        with pytest.raises(UsageError, match="audit it there"):
            audit(store, device="farm:sim")
    finally:
        stop.set()
        lent.join(30)
    assert not lent.is_alive()
