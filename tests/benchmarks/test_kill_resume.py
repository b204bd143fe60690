"""What a benchmark of kills takes for a job that is stored twice."""

from __future__ import annotations

import importlib.util
import sqlite3
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"


def rows(store):
    spec = importlib.util.spec_from_file_location("kill_resume", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rows(store)


@pytest.mark.parametrize(("purpose", "doubled"), [("verify", False), ("collect", True)])
def test_a_network_is_timed_again_for_another_purpose_and_twice_for_one_is_an_error(purpose, doubled, tmp_path):
    with sqlite3.connect(tmp_path / "run.db") as store:
        store.execute("CREATE TABLE campaigns (id, space, fingerprint_id, plan, seed, purpose)")
        store.execute("CREATE TABLE measurements (campaign, key, replicate, payload)")
        for number, why in enumerate(("collect", purpose)):
            store.execute("INSERT INTO campaigns VALUES (?, 'space', 'device', 'quick', 0, ?)", (number, why))
            store.execute("INSERT INTO measurements VALUES (?, 'network', 0, ?)", (number, bytes([number])))
    if doubled:
        with pytest.raises(AssertionError, match="a job is stored twice"):
            rows(tmp_path / "run.db")
        return
    assert len(rows(tmp_path / "run.db")) == 2
