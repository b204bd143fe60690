"""``kill -9`` at random moments, of everything that runs: the same command must finish, nothing lost or doubled.

    python benchmarks/kills.py [--kills 20] [--only search fit] [--seed 0]

Each part of the product is killed so often, then left to finish, then its invariants are checked: rows that were there
stay as they were, no job is there twice, a predictor's folder can always be read, a result is whole. Children are
forked from this process, which has imported everything, so that a kill lands in work and not in imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from kill_resume import rows

from tempograd.data.store import Store
from tempograd.farm.agent import command as agents
from tempograd.farm.connection import open_queue
from tempograd.farm.queue import Terms
from tempograd.farm.server import server as nats
from tempograd.predictor import saved
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.search import search

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
SIMULATED = "simulated:seed=1,slow=1.0"


class Child:
    """A forked process that does one thing; its own output goes to a log."""

    def __init__(self, work: Callable[[], object], log: Path) -> None:
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                os.setsid()
                out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(out, 1)
                os.dup2(out, 2)
                work()
                code = 0
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", flush=True)
            finally:
                os._exit(code)
        self.code: int | None = None

    def running(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    def wait(self, limit_s: float = 300.0) -> int:
        until = time.monotonic() + limit_s
        while self.running():
            assert time.monotonic() < until, "it never ends"
            time.sleep(0.02)
        return self.code or 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.running():
            os.kill(self.pid, number)
            self.wait()


def killed(work: Callable[[], object], log: Path, chance: random.Random, longest_s: float) -> bool:
    """Run it, kill it after a random time, and return whether it was still at work."""
    child = Child(work, log)
    until = time.monotonic() + chance.uniform(0.02, longest_s)
    while time.monotonic() < until and child.running():
        time.sleep(0.005)
    at_work = child.running()
    child.kill()
    return at_work


def unchanged(before: dict[Any, str], after: dict[Any, str]) -> dict[Any, str]:
    lost = [job for job, digest in before.items() if after.get(job) != digest]
    assert not lost, f"lost or changed: {lost}"
    return after


def collector(folder: Path, chance: random.Random, kills: int) -> dict[str, Any]:
    store, count, hit, kept = folder / "run.db", 200, 0, dict[Any, str]()

    def work(count: int) -> object:
        return collect(SPACE, store, device=SIMULATED, count=count)

    while hit < kills:
        at_work = killed(partial(work, count), folder / "log", chance, 0.8)
        hit, kept = hit + at_work, unchanged(kept, rows(store))
        count += 0 if at_work else 200
    assert Child(partial(work, count), folder / "log").wait() == 0
    kept = unchanged(kept, rows(store))
    assert len({key for key, *_ in kept}) == count
    return {"kills": hit, "networks": count, "rows": len(kept)}


def worker(folder: Path, chance: random.Random, kills: int) -> dict[str, Any]:
    """Measuring processes of a campaign on this machine are killed; the campaign goes on, or says that it is ended."""
    store, count, hit, runs = folder / "run.db", 40, 0, 0

    def work() -> object:
        return collect(SPACE, store, device="local", count=count)

    child = Child(work, folder / "log")
    while hit < kills:
        time.sleep(chance.uniform(0.1, 1.5))
        if not child.running():
            runs, count = runs + 1, count + 40
            child = Child(work, folder / "log")
            continue
        found = [p for p in psutil.Process(child.pid).children() if "worker" in " ".join(p.cmdline())]
        if found:
            chance.choice(found).kill()
            hit += 1
    while child.wait(1800.0) != 0:  # noisy networks are measured again: minutes on a loaded machine
        runs, child = runs + 1, Child(work, folder / "log")
    kept = rows(store)
    with Store(store) as opened:
        counts = opened.counts()
    assert len({key for key, *_ in kept}) == count
    return {"kills": hit, "runs": runs + 1, "networks": count, "verdicts": counts}


def learnt(folder: Path) -> Path:
    """Return a predictor, with its store beside it."""
    if not (folder / "p").exists():
        collect(SPACE, folder / "run.db", device=SIMULATED, count=60)
        assert Child(lambda: fit(folder / "run.db", folder / "p", model="transfer"), folder / "log").wait() == 0
    return folder / "p"


def fitting(folder: Path, chance: random.Random, kills: int) -> dict[str, Any]:
    predictor, hit, seed = learnt(folder), 0, 0
    while hit < kills:
        seed += 1
        work = partial(fit, folder / "run.db", predictor, model="transfer", seed=seed)
        hit += killed(work, folder / "log", chance, 6.0)
        assert saved.load(predictor).card["networks"] == 60  # the older or the newer one, whole
    assert Child(lambda: fit(folder / "run.db", predictor, model="transfer", seed=999), folder / "log").wait() == 0
    assert saved.load(predictor).card["seed"] == 999
    return {"kills": hit, "left": sorted(path.name for path in predictor.iterdir())}


def searching(folder: Path, chance: random.Random, kills: int) -> dict[str, Any]:
    predictor, hit, store, number = learnt(folder), 0, folder / "run.db", 0
    kept = rows(store)

    def work(number: int) -> object:
        return search(
            SPACE, predictor, folder / f"result{number}", device=SIMULATED, store=store, task="synthetic", epochs=4,
            target_ms=0.13, train_epochs=2, random=0, seed=number,
        )  # fmt: skip

    while hit < kills:
        at_work = killed(partial(work, number), folder / "log", chance, 9.0)
        hit, kept = hit + at_work, unchanged(kept, rows(store))
        number += not at_work
    assert Child(lambda: work(number), folder / "log").wait() == 0, (folder / "log").read_text()[-600:]
    kept = unchanged(kept, rows(store))
    told = json.loads((folder / f"result{number}" / "result.json").read_text())
    assert told["found"]["measured"]["verdict"] == "ok"
    return {"kills": hit, "searches": number + 1, "rows": len(kept), "verdict": told["verdict"]}


def lend(folder: Path, url: str) -> None:
    settings = agents.settings_of(
        config=None, device_class="sim", device=SIMULATED, queue=url, name="a1", spool=folder / "spool"
    )
    agents.agent(settings, terms=Terms(ack_wait_s=5.0))  # a lease that its agent died with is given out again soon


def over_a_farm(
    folder: Path, url: str, chance: random.Random, kills: int, kill: Callable[[Child], Child]
) -> dict[str, Any]:
    """Time networks over a queue while ``kill`` harms it; it is given the agent, and returns the one that goes on."""
    store, count, hit, kept = folder / "run.db", 300, 0, dict[Any, str]()
    agent = Child(lambda: lend(folder, url), folder / "agent.log")
    try:
        while True:
            work = partial(collect, SPACE, store, device=f"farm:sim,queue={url}", count=count)
            campaign = Child(work, folder / "log")
            while campaign.running():
                time.sleep(chance.uniform(0.05, 1.0))
                if hit < kills and campaign.running():
                    agent, hit = kill(agent), hit + 1
            assert campaign.code in (0, None), (folder / "log").read_text()[-600:]
            kept = unchanged(kept, rows(store))
            if hit >= kills:
                break
            count += 300
    finally:
        agent.kill(signal.SIGTERM)
    assert len({key for key, *_ in kept}) == count
    return {"kills": hit, "networks": count, "rows": len(kept)}


def agent(folder: Path, chance: random.Random, kills: int) -> dict[str, Any]:
    url = f"embedded:{folder / 'queue.db'}"

    def kill(running: Child) -> Child:
        running.kill()
        return Child(lambda: lend(folder, url), folder / "agent.log")

    return over_a_farm(folder, url, chance, kills, kill)


def queue_server(folder: Path, chance: random.Random, kills: int) -> dict[str, Any]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url, configuration = f"nats://127.0.0.1:{port}", folder / "nats.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:{port}"\n'
        f'jetstream {{ store_dir: "{folder / "js"}", max_file_store: 60GB, max_memory_store: 16MB }}\n'
    )

    def start() -> Any:
        return nats.start(nats.find_server()[0], configuration, ("127.0.0.1", port), log=folder / "nats.log")

    servers = [start()]

    def kill(running: Child) -> Child:
        servers[-1].kill()
        servers[-1].wait()
        time.sleep(chance.uniform(0.0, 0.5))
        servers.append(start())
        return running

    try:
        with open_queue(url) as queue:
            queue.declare("class-sim", ["sim"])
        return over_a_farm(folder, url, chance, kills, kill)
    finally:
        servers[-1].kill()
        servers[-1].wait()


PARTS = {"collector": collector, "worker": worker, "search": searching, "fit": fitting, "agent": agent,
         "queue server": queue_server}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    told: dict[str, Any] = {}
    for name in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            start_s = time.monotonic()
            told[name] = PARTS[name](Path(folder), random.Random(f"{asked.seed} {name}"), asked.kills)
            told[name] |= {"lost": 0, "doubled": 0, "seconds": round(time.monotonic() - start_s, 1)}
            print(json.dumps({name: told[name]}), file=sys.stderr, flush=True)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
