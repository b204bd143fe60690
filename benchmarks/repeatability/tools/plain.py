"""A loop of one's own: 10 warm-ups, then 100 runs; and the same until the budget is spent, by three statistics.

``plain_100`` is the loop that most papers have. The others use the budget: the median of wall time (``plain``), of
the thread's CPU time (``plain_cpu``), and the fastest run (``plain_min``), all from the same samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import numpy as np

from ..harness import Label, Network, interval, run_tool

WARM_UP, RUNS = 10, 100


def measure(networks: list[Network], budget_s: float, rng: np.random.Generator) -> Iterator[Label]:
    for network in networks:
        begin = time.perf_counter()
        for _ in range(WARM_UP):
            network.run()
        wall_ms: list[float] = []
        cpu_ms: list[float] = []
        spent_s = after_runs_s = time.perf_counter() - begin
        within = 0
        while spent_s < budget_s or len(wall_ms) < RUNS:
            cpu = time.thread_time_ns()
            start = time.perf_counter_ns()
            network.run()
            wall_ms.append((time.perf_counter_ns() - start) / 1e6)
            cpu_ms.append((time.thread_time_ns() - cpu) / 1e6)
            spent_s = time.perf_counter() - begin
            within = len(wall_ms) if spent_s < budget_s or not within else within
            after_runs_s = spent_s if len(wall_ms) == RUNS else after_runs_s
        wall, cpu_time = wall_ms[:within], cpu_ms[:within]
        first, own_s = wall_ms[:RUNS], min(spent_s, budget_s)
        yield Label(network.key, "plain", median(wall), own_s, **interval(wall))
        yield Label(network.key, "plain_100", median(first), after_runs_s, **interval(first))
        yield Label(network.key, "plain_cpu", median(cpu_time), own_s, **interval(cpu_time))
        yield Label(network.key, "plain_min", min(wall), own_s)


if __name__ == "__main__":
    run_tool(measure)
