"""A farm under test: what it costs beside the local device, and whether it survives being killed.

    python benchmarks/farm.py overhead --networks 150 --turns 3
    python benchmarks/farm.py soak --jobs 20000 --agents 8 --minutes 10

``overhead`` times the same networks on the same core, locally and through a real server and one agent, in turn.
``soak`` runs a campaign over simulated agents, real processes and a real server, while both are killed with SIGKILL at
random; then it counts what was lost, doubled or mixed up. Both print one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tempograd import registry
from tempograd.data.store import Store
from tempograd.farm.connection import open_queue
from tempograd.farm.device import FarmDevice
from tempograd.farm.queue import QueueAwayError
from tempograd.farm.server import server
from tempograd.measurement.measurement import Measurement
from tempograd.profiler.campaign import run
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import QUICK, STANDARD, Items, duplicates
from tempograd.profiler.verify import measure


class Server:
    """A NATS server on loopback that can be killed and started again on the same disk."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"nats://127.0.0.1:{port}"
        self._program, version = server.find_server()
        self._address, self.version = ("127.0.0.1", port), server.shown(version)
        self._configuration, self._log = folder / "nats.conf", folder / "nats.log"
        sync = "sync_interval: always" if server.knows_sync_interval(version) else ""
        self._configuration.write_text(
            f'listen: "127.0.0.1:{port}"\nmax_payload: 1114112\n'
            f'jetstream {{ store_dir: "{folder / "js"}", max_memory_store: 64MB, max_file_store: 60GB, {sync} }}\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = server.start(self._program, self._configuration, self._address, log=self._log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def start_agent(folder: Path, name: str, url: str, kind: str, device: str) -> subprocess.Popen[bytes]:
    log = (folder / f"{name}.log").open("ab")
    command = [
        sys.executable, "-m", "tempograd", "agent", "--name", name, "--class", kind, "--queue", url,
        "--device", device, "--spool", str(folder / f"{name}-spool"),
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=folder, stderr=log, stdout=log)


@contextmanager
def a_server(folder: Path, port: int) -> Iterator[Server]:
    running = Server(folder, port)
    running.start()
    try:
        yield running
    finally:
        running.kill()


# -- soak ------------------------------------------------------------------------------------------------------------


class Chaos(threading.Thread):
    """Kills agents every few seconds and the server every minute or so, and starts them again."""

    def __init__(self, folder: Path, running: Server, agents: int, device: str, seconds: float, seed: int) -> None:
        super().__init__(name="chaos", daemon=True)
        self._folder, self._server, self._device, self._rng = folder, running, device, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self._until_s = time.monotonic() + seconds
        self.over = threading.Event()
        self.names = [f"sim-{n}" for n in range(agents)]
        self.agents = {name: self._start(name) for name in self.names}

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        return start_agent(self._folder, name, self._server.url, "sim", self._device)

    def run(self) -> None:
        next_server_s = time.monotonic() + self._rng.uniform(30, 60)
        while time.monotonic() < self._until_s and not self.over.is_set():
            self.over.wait(self._rng.uniform(4, 12))
            if time.monotonic() > next_server_s:
                self._server.kill()
                self.over.wait(self._rng.uniform(0.5, 6))
                self._server.start()
                self.kills["server"] += 1
                next_server_s = time.monotonic() + self._rng.uniform(40, 90)
            else:
                name = self._rng.choice(self.names)
                self.agents[name].kill()
                self.agents[name].wait()
                self.over.wait(self._rng.uniform(0, 3))
                self.agents[name] = self._start(name)
                self.kills["agents"] += 1

    def end(self) -> None:
        self.over.set()
        self.join()
        for process in self.agents.values():
            process.send_signal(signal.SIGTERM)
        for process in self.agents.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def write(key: str, folder: Path) -> tuple[Path, str]:
    """Write what the simulated device with a table needs: nothing but different bytes."""
    path = folder / f"{key}.onnx"
    path.write_text(key)
    return path, sha256(key.encode()).hexdigest()


def soak(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    networks = arguments.jobs
    while networks + len(duplicates(networks)) > arguments.jobs:
        networks -= 1
    keys = [f"net-{n}" for n in range(networks + 1)]
    levels = np.exp(np.random.default_rng(arguments.seed).uniform(np.log(0.2), np.log(50), len(keys)))
    truth = dict(zip(keys, map(float, levels), strict=True))
    (folder / "truth.json").write_text(json.dumps(truth))
    device = f"simulated:table={folder / 'truth.json'},slow=1.0"
    items = Items("soak", tuple(keys), write)
    expected = len(keys) + len(duplicates(len(keys)))
    with a_server(folder, arguments.port) as running, Store(folder / "soak.db", write=True) as store:
        with open_queue(running.url) as queue:
            queue.declare("class-sim", ["sim"])
        chaos = Chaos(folder, running, arguments.agents, device, 60 * arguments.minutes, arguments.seed)
        place = FarmDevice("sim", queue=running.url)
        place.fingerprint  # noqa: B018  before anybody is killed
        chaos.start()
        began_s = time.monotonic()
        said = [0.0]

        def told(p: Any) -> None:
            if time.monotonic() - said[0] > 15:
                said[0] = time.monotonic()
                sys.stderr.write(f"{p.elapsed_s:6.0f} s {p.done}/{p.total} {dict(chaos.kills)}\n")

        try:
            summary = run(place, items, QUICK, store, progress=told)
            seconds = time.monotonic() - began_s
        finally:
            chaos.end()
        found: Counter[tuple[str, int]] = Counter()
        wrong = 0
        for m in store.measurements(campaign=summary.campaign):
            found[m.key, m.replicate] += 1
            wrong += m.failure is not None or abs(float(np.log(m.latency_ms / truth[m.key]))) > 0.15
        receipts = store.receipts(summary.campaign)
        with open_queue(running.url) as queue:
            left = queue.results(summary.campaign, 256, 2000.0)
            jobs_left = _jobs_left(queue)
    fates = Counter(receipt.fate for receipt in receipts)
    return {
        "server": running.version, "agents": arguments.agents, "minutes": arguments.minutes, "seconds": seconds,
        "jobs": expected, "stored": found.total(), "lost": expected - len(found),
        "doubled": found.total() - len(found), "wrong_label_or_failed": wrong, "killed": dict(chaos.kills),
        "results_received": dict(fates), "results_after_the_end": len(left), "jobs_left_in_queue": jobs_left,
        "jobs_per_s": expected / seconds, "alarms": [d for d in summary.doubts if "agent" in d],
    }  # fmt: skip


def _jobs_left(queue: Any) -> int:
    try:
        return len(queue.take("sim", 256, 1000.0))
    except QueueAwayError:
        return -1


# -- overhead --------------------------------------------------------------------------------------------------------


def overhead(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    space = registry.create("space", arguments.space)
    networks = choose(space, arguments.networks, seed=arguments.seed)
    plan = STANDARD if arguments.plan == "standard" else QUICK
    spec = f"local:{arguments.device}" if arguments.device else "local"
    turns: list[dict[str, Any]] = []
    with a_server(folder, arguments.port) as running:
        with open_queue(running.url) as queue:
            queue.declare("class-here", ["here"])
        for turn in range(arguments.turns):
            places = ["local", "farm"] if turn % 2 == 0 else ["farm", "local"]
            rows: dict[str, list[Measurement]] = {}
            walls: dict[str, float] = {}
            for place in places:
                agent = None
                if place == "farm":
                    agent = start_agent(folder, f"here-{turn}", running.url, "here", spec)
                    device: Any = FarmDevice("here", queue=running.url)
                    device.fingerprint  # noqa: B018  the agent's start is no part of it: it runs for weeks
                else:
                    device = registry.create("device", spec)
                items = Items.of(space, networks, batch=device.batch)
                with Store(folder / f"{place}-{turn}.db", write=True) as store:
                    begun_s = time.monotonic()
                    rows[place] = measure(device, items, plan, store, seed=turn)
                    walls[place] = time.monotonic() - begun_s
                if agent is not None:
                    agent.send_signal(signal.SIGTERM)
                    agent.wait(60)
            turns.append(_compared(rows, walls))
            sys.stderr.write(json.dumps(turns[-1]) + "\n")
    return {
        "server": running.version, "space": space.spec, "networks": len(networks), "plan": plan.name, "turns": turns,
        "median_wall_ratio": median(turn["wall_ratio"] for turn in turns),
        "overlapping": sum(turn["overlapping"] for turn in turns) / sum(turn["both"] for turn in turns),
    }  # fmt: skip


def _compared(rows: dict[str, list[Measurement]], walls: dict[str, float]) -> dict[str, Any]:
    pairs = [(a, b) for a, b in zip(rows["local"], rows["farm"], strict=True) if a.estimate and b.estimate]
    overlapping = sum(
        a.estimate.low_ms <= b.estimate.high_ms and b.estimate.low_ms <= a.estimate.high_ms
        for a, b in pairs if a.estimate and b.estimate
    )  # fmt: skip
    ratios = [b.latency_ms / a.latency_ms for a, b in pairs]
    rounds = {place: sum(len(m.rounds) for m in each) for place, each in rows.items()}
    return {
        "wall_s": walls,
        "wall_ratio": walls["farm"] / walls["local"],
        "rounds": rounds,
        "wall_ratio_per_round": walls["farm"] / rounds["farm"] / (walls["local"] / rounds["local"]),
        "both": len(pairs),
        "overlapping": overlapping,
        "median_label_ratio": median(ratios),
        "label_ratio_sd": float(np.std(np.log(ratios))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "soak"])
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--plan", choices=["quick", "standard"], default="quick")
    parser.add_argument("--device", default="", help="arguments of the local device, such as cores=1")
    parser.add_argument("--port", type=int, default=4333)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for store, spools and logs; by default removed")
    arguments = parser.parse_args()
    work = {"overhead": overhead, "soak": soak}[arguments.what]
    with TemporaryDirectory(prefix="tempograd-farm-") as temporary:
        folder = arguments.keep or Path(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(json.dumps(work(arguments, folder), indent=1))


if __name__ == "__main__":
    main()
