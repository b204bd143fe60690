"""``kill -9`` a running collect at random moments: the same command must finish, with nothing lost or doubled.

    python benchmarks/kill_resume.py [--kills 20] [--device local] [--count 150]

A child collects and reports every row that the store acknowledged. It is killed after a random time, and the store is
compared with what was acknowledged; then the same command runs again, and so on; the last run is left to finish.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

CHILD = """
import sys
from pathlib import Path
from tempograd.verbs.collect import collect
space, device, count, store = sys.argv[1:]
def told(what, done, total):
    print(done, flush=True)
print("end", collect(space, Path(store), device=device, count=int(count), plan="quick", progress=told).exit_code)
"""


def rows(store: Path) -> dict[tuple[str, int, str], str]:
    """Return every stored job with a digest of its row; doubled jobs end the benchmark.

    A job is of one space, device, plan, seed and purpose: a search times a network again that was collected.
    """
    if not store.exists():
        return {}
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        try:
            found = connection.execute(
                "SELECT key, replicate, of || fingerprint || plan || seed || purpose, payload FROM measurements JOIN "
                "(SELECT id, space AS of, fingerprint_id AS fingerprint, plan, seed, purpose FROM campaigns) "
                "ON id = campaign"
            ).fetchall()
        except sqlite3.OperationalError:
            return {}  # killed before the tables were made
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    table = {(key, replicate, what): sha256(payload).hexdigest() for key, replicate, what, payload in found}
    assert len(table) == len(found), "a job is stored twice"
    return table


def run_once(command: list[str], store: Path, wait_s: float | None) -> tuple[int, bool]:
    """Run the child, kill it after ``wait_s`` from its first row; return rows acknowledged, and whether it ended."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    acknowledged, began = 0, time.monotonic()
    for line in child.stdout:
        if line.startswith("end"):
            child.wait()
            return acknowledged, True
        acknowledged = int(line)
        if wait_s is not None and time.monotonic() - began > wait_s:
            break
    child.send_signal(signal.SIGKILL)
    for line in child.stdout:  # what was acknowledged before the signal arrived
        if line.strip().isdecimal():
            acknowledged = int(line)
    child.wait()
    return acknowledged, False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--device", default="local")
    parser.add_argument("--space", default="nasbench201:cells=1")
    parser.add_argument("--longest-s", type=float, default=9.0, help="a kill comes at most so long after the first row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run.db"
        command = [sys.executable, "-c", CHILD, arguments.space, arguments.device, str(arguments.count), str(store)]
        before: dict[tuple[str, int, str], str] = {}
        kills, finished = 0, False
        while not finished:
            wait_s = rng.uniform(0.0, arguments.longest_s) if kills < arguments.kills else None
            acknowledged, finished = run_once(command, store, wait_s)
            after = rows(store)
            lost = [job for job, digest in before.items() if after.get(job) != digest]
            assert not lost, f"lost or changed: {lost}"
            assert len(after) >= acknowledged, f"{acknowledged} acknowledged, {len(after)} stored"
            kills += not finished
            before = after
            print(json.dumps({"kill": kills, "acknowledged": acknowledged, "stored": len(after), "ended": finished}))
        print(
            json.dumps(
                {"kills": kills, "networks": len({k for k, _ in before}), "rows": len(before), "lost": 0, "doubled": 0}
            )
        )


if __name__ == "__main__":
    main()
