"""What a queue carries: whole lives of jobs, from the offer to the confirmed result, with nothing measured in between.

A campaign (one process, one connection that offers and one that collects) and some agents (a process each) share a
queue. Every job is offered, taken, its result of 10 rounds of 20 samples delivered, its lease finished, the result
read, checked and confirmed; nothing is skipped that a real campaign does to the queue. Models are counted apart. CPU
time for each job is told beside the rate: on a machine that does other things too it is the number that keeps.

    python benchmarks/farm_queue.py [--jobs 20000] [--agents 2] [--server PATH ...]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil

from tempograd.farm.connection import open_queue
from tempograd.farm.messages import Blob, Job, Limits, Result
from tempograd.farm.queue import Queue
from tempograd.farm.wire import encode
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Failure, Round
from tempograd.profiler.plan import QUICK

CLASS, CAMPAIGN = "bench", "c1"
MODEL_BYTES = 15_000

RECORD = {
    "name": "quick",
    "burst_ms": 10.0,
    "checks": [6],
    "target": 0.05,
    "coverage": 0.95,
    "requeue": True,
    "seed": 0,
}


def jobs_of(count: int) -> list[Job]:
    limits = Limits(2**33, 1e5, 1e6)
    blob = Blob("model.onnx", "a" * 64, MODEL_BYTES)
    names = [sha256(str(n).encode()).hexdigest() for n in range(count)]
    return [
        Job(name, 1, CAMPAIGN, CLASS, "0123456789ab", f"3.1.4.{n}", "nasbench201", 0, blob, (), QUICK, 0, limits)
        for n, name in enumerate(names)
    ]


def measurement(rounds_: int) -> Measurement:
    rng = random.Random(0)

    def times(n: int) -> tuple[float, ...]:
        return tuple(round(2 * (1 + 0.01 * rng.random()), 6) for _ in range(n))

    rounds = tuple(Round("k", 1.7e9 + n, times(2), times(2), times(20), times(20)) for n in range(rounds_))
    facts = {"governor": "performance", "load_ms": 12.5, "kernels": {f"kernel-{n}": n for n in range(20)}}
    return Measurement(
        "k", "nasbench201", "0123456789ab", RECORD, "a" * 64, "cpu", rounds, Reference(2.0, 2.2), facts,
        None if rounds else Failure("crashed", "run", 11),
    )  # fmt: skip


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def agent(url: str, name: str, batch: int, rounds: int, spent: Any, go: Any) -> None:
    template = measurement(rounds)
    with open_queue(url) as queue:
        while queue.away_since_s is not None:
            time.sleep(0.02)
        spent.put((name, 0.0))  # ready
        go.wait()
        before = cpu_s()
        while leases := queue.take(CLASS, batch, 3000):
            results = [
                Result(
                    lease.job.job_id, 1, lease.delivery, lease.attempt, CAMPAIGN, name, CLASS, "a" * 64, "e" * 64,
                    ("rlimits",), 0, replace(template, key=lease.job.key, rounds=tuple(
                        replace(r, key=lease.job.key) for r in template.rounds
                    )),
                )
                for lease in leases
            ]  # fmt: skip
            queue.deliver(results)
            queue.finish(leases)
            spent.put((name, cpu_s() - before))


@dataclass
class Found:
    jobs: int
    seconds: float
    campaign_cpu_us: float  # for each job, as the next two
    agents_cpu_us: float
    server_cpu_us: float
    models_per_s: float

    def rounded(self) -> dict[str, int]:
        return {"jobs_per_s": round(self.jobs / self.seconds)} | {
            name: round(value) for name, value in asdict(self).items() if name not in ("jobs", "seconds")
        }


def models(queue: Queue, count: int = 500) -> float:
    """Return models put and read back a second, 15 KB each."""
    contents = [random.Random(n).randbytes(MODEL_BYTES) for n in range(count)]
    began = time.perf_counter()
    names = queue.put_models(contents)
    found = queue.get_models([Blob("model.onnx", name, MODEL_BYTES) for name in names])
    assert len(found) == count
    return count / (time.perf_counter() - began)


def live(url: str, count: int, agents: int, batch: int, rounds: int, server: psutil.Process | None) -> Found:
    jobs = jobs_of(count)
    context = mp.get_context("spawn")
    spent, go = context.Queue(), context.Event()
    with open_queue(url) as near, open_queue(url) as offers:
        near.declare(CAMPAIGN, [CLASS])
        rate = models(near)
        workers = [context.Process(target=agent, args=(url, f"a{n}", batch, rounds, spent, go)) for n in range(agents)]
        for worker in workers:
            worker.start()
        for _ in workers:
            spent.get(timeout=60)
        server_before = sum(server.cpu_times()[:2]) if server else 0.0
        before, began = cpu_s(), time.perf_counter()
        go.set()
        offering = threading.Thread(target=lambda: [offers.offer(jobs[n : n + 512]) for n in range(0, count, 512)])
        offering.start()
        seen: set[str] = set()
        while len(seen) < count:
            if any(worker.exitcode for worker in workers):
                raise SystemExit("an agent died")
            deliveries = near.results(CAMPAIGN, 512, 1000)
            seen |= {d.result.job_id for d in deliveries if d.result}
            near.confirm(deliveries)
        seconds = time.perf_counter() - began
        used, server_used = cpu_s() - before, (sum(server.cpu_times()[:2]) - server_before) if server else 0.0
        offering.join()
        for worker in workers:
            worker.join(30)
        of_agents: dict[str, float] = {}
        while not spent.empty():
            name, cpu = spent.get()
            of_agents[name] = cpu
        assert near.standing(jobs[:: max(1, count // 100)]) == ["absent"] * len(jobs[:: max(1, count // 100)])
    each = 1e6 / count
    return Found(count, seconds, used * each, sum(of_agents.values()) * each, server_used * each, rate)


def on_server(executable: str, count: int, agents: int, batch: int, rounds: int, sync: str) -> Found:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        config = Path(folder) / "server.conf"
        always = "sync_interval: always" if sync == "always" else ""
        config.write_text(
            f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/disk", max_file_store: 100GB, {always} }}\n'
        )
        with subprocess.Popen([executable, "-c", str(config)], stderr=subprocess.DEVNULL) as server:
            try:
                time.sleep(1)
                return live(f"nats://127.0.0.1:{port}", count, agents, batch, rounds, psutil.Process(server.pid))
            finally:
                server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--rounds", type=int, default=10, help="of a result; 0 makes it a failure, the smallest there is"
    )
    parser.add_argument("--server", nargs="*", help="nats-server executables; by default those that are installed")
    chosen = parser.parse_args()
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    servers = chosen.server if chosen.server is not None else [s for s in (beside, "/usr/sbin/nats-server") if s]
    found = {"job_bytes": len(encode(jobs_of(1)[0])), "result_bytes": len(encode(_sample(chosen.rounds)))}
    asked = (chosen.jobs, chosen.agents, chosen.batch, chosen.rounds)
    queues: dict[str, Found] = {}
    for executable in filter(Path.is_file, map(Path, servers)):
        version = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True).stdout.split()[
            -1
        ]
        queues[version] = on_server(str(executable), *asked, "")
        if not version.startswith("v2.9"):  # which does not know it
            queues[f"{version}, every write synced"] = on_server(str(executable), *asked, "always")
    with tempfile.TemporaryDirectory() as folder:
        queues["embedded"] = live(f"embedded:{folder}/queue.sqlite", *asked, None)
    print(json.dumps(vars(chosen) | found | {name: q.rounded() for name, q in queues.items()}, indent=2))


def _sample(rounds: int) -> Result:
    return Result(
        "a" * 64, 1, 1, "f" * 16, CAMPAIGN, "a1", CLASS, "a" * 64, "e" * 64, ("rlimits",), 0, measurement(rounds)
    )


if __name__ == "__main__":
    main()
