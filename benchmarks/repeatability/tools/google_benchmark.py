"""google-benchmark with random interleaving: nine repetitions a network, the median of wall and of CPU time.

A repetition gets a tenth of the budget; finding out how many iterations that is takes about another tenth.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..harness import Label, Network, interval, run_tool

REPETITIONS = 9


def measure(networks: list[Network], budget_s: float, rng: np.random.Generator) -> Iterator[Label]:
    import google_benchmark

    for network in networks:
        google_benchmark.register(_timed(network.run), name=network.key)
    begin = time.perf_counter()
    with TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        google_benchmark.initialize([
            "repeatability",
            "--benchmark_enable_random_interleaving=true",
            f"--benchmark_repetitions={REPETITIONS}",
            f"--benchmark_min_time={budget_s / (REPETITIONS + 1):.6f}s",
            f"--benchmark_out={out}",
            "--benchmark_out_format=json",
        ])  # fmt: skip
        google_benchmark.run_benchmarks()
        rows = json.loads(out.read_text())["benchmarks"]
    spent_s = (time.perf_counter() - begin) / len(networks)
    for network in networks:
        mine = [row for row in rows if row["run_name"].split("/")[0] == network.key]
        for variant, clock in (("google_benchmark", "real_time"), ("google_benchmark_cpu", "cpu_time")):
            times_ms = [_ms(row, clock) for row in mine if row["run_type"] == "iteration"]
            level_ms = next(_ms(row, clock) for row in mine if row.get("aggregate_name") == "median")
            yield Label(network.key, variant, level_ms, spent_s, **interval(times_ms))


def _timed(run: Callable[[], None]) -> Callable[..., None]:
    def benchmark(state: object) -> None:
        while state:
            run()

    return benchmark


def _ms(row: dict[str, float], clock: str) -> float:
    return row[clock] * {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}[str(row["time_unit"])]


if __name__ == "__main__":
    run_tool(measure)
