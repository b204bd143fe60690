"""The queue in a file: other files, other processes, other boots."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tempograd.errors import InputRefusedError, StoreError, UsageError
from tempograd.farm.connection import open_queue
from tempograd.farm.messages import AgentState, Blob, Environment
from tempograd.farm.queue import QueueAwayError, Terms
from tempograd.farm.wire import digest

Make = Callable[..., Any]


@pytest.mark.real
def test_what_was_offered_and_delivered_outlives_a_kill(tmp_path: Path, job: Make, result: Make) -> None:
    url = f"embedded:{tmp_path / 'deep' / 'queue.sqlite'}"
    code = (
        "import os, signal, sys; from tempograd.farm.connection import open_queue\n"
        f"q = open_queue({url!r}); leases = q.take('pi5', 2, 0); print(len(leases), flush=True)\n"
        "q.finish(leases[:1]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with open_queue(url) as queue:
        queue.offer([job("n1"), job("n2"), job("n3")])
        died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (died.stdout, died.returncode) == ("2\n", -9)
        assert queue.standing([job("n1"), job("n2"), job("n3")]) == ["absent", "leased", "queued"]


@pytest.mark.fault(14)
def test_leases_end_with_a_boot(tmp_path: Path, job: Make) -> None:
    url = f"embedded:{tmp_path / 'queue.sqlite'}"
    with open_queue(url) as queue:
        queue.offer([job("n1")])
        queue.announce(AgentState("a1", "0.1", (), (), 1, 1, "ready", "", 0, 0, 0, 0, 1))
        assert len(queue.take("pi5", 1, 0)) == 1
        assert queue.take("pi5", 1, 0) == []
    with sqlite3.connect(tmp_path / "queue.sqlite") as file:
        file.execute("UPDATE boot SET id = 'another'")
    file.close()
    with open_queue(url) as queue:
        (lease,) = queue.take("pi5", 1, 0)
        assert lease.delivery == 2
        assert queue.agents() == []


def test_a_stale_finish_changes_nothing(tmp_path: Path, job: Make) -> None:
    with open_queue(f"embedded:{tmp_path / 'queue.sqlite'}", terms=Terms(ack_wait_s=0.1)) as queue:
        queue.offer([job("n1")])
        (old,) = queue.take("pi5", 1, 0)
        (new,) = queue.take("pi5", 1, 2000)
        believing = replace(old, deadline_s=old.deadline_s + 3600)
        queue.finish([believing])
        queue.give_back([believing])
        assert queue.renew([believing]) == []
        assert queue.standing([job("n1")]) == ["leased"]
        assert new.delivery == 2


def test_states_environments_models_and_commands(tmp_path: Path) -> None:
    with open_queue(f"embedded:{tmp_path / 'queue.sqlite'}") as queue:
        state = AgentState("a1", "0.1", ("tempograd.job/1",), (), 1, 1, "ready", "", 0, 0, 0, 0, 1)
        for sent in (replace(state, agent="a2"), state, replace(state, state="cooling")):
            queue.announce(sent)
        assert [(s.state.agent, s.state.state) for s in queue.agents()] == [("a1", "cooling"), ("a2", "ready")]
        environment = Environment("a1", {"place": "local"}, {"kernel": "6.1"})
        assert queue.environment("a1", queue.put_environment(environment)) == environment
        assert queue.environment("a2", environment.sha256) is None
        (name,) = queue.put_models([b"x" * 10])
        assert name == digest(b"x" * 10)
        assert queue.get_models([Blob("model.onnx", name, 10)]) == {name: b"x" * 10}
        assert queue.get_models([Blob("model.onnx", name, 9)]) == {}
        queue.drop_models([name])
        assert queue.get_models([Blob("model.onnx", name, 10)]) == {}
        queue.command("a1", "drain")  # said before anybody listened
        assert queue.commands("a1") == []
        for who, word in (("a1", "pause"), ("a2", "drain"), ("all", "resume")):
            queue.command(who, word)
        assert queue.commands("a1") == ["pause", "resume"]
        assert queue.commands("a1") == []


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, whatever its name says; long enough to be looked at " * 20)
    with pytest.raises(InputRefusedError, match="no readable queue"):
        open_queue(f"embedded:{text}")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE mine (x)")
    file.close()
    with pytest.raises(InputRefusedError, match="name another file"):
        open_queue(f"embedded:{other}")
    with pytest.raises(StoreError, match="check path"):
        open_queue(f"embedded:{tmp_path}")
    with pytest.raises(UsageError, match="allowed: embedded:PATH"):
        open_queue("embedded:")


def test_a_closed_queue_says_so(tmp_path: Path, job: Make) -> None:
    queue = open_queue(f"embedded:{tmp_path / 'queue.sqlite'}")
    queue.close()
    queue.close()
    with pytest.raises(QueueAwayError, match="closed"):
        queue.offer([job("n1")])
