"""pyperf's Runner as a worker inside the fresh process: one warm-up and three values a network, its mean.

As it is meant to be used, pyperf starts twenty processes a network, each of which would load the network anew: that
costs seconds (``throughput.py`` has the figure). Here its worker runs in the process that holds all networks; the
loops of one value are chosen so that warm-up and values spend the budget.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np

from ..harness import Label, Network, run_tool

VALUES = 3


def measure(networks: list[Network], budget_s: float, rng: np.random.Generator) -> Iterator[Label]:
    import pyperf

    sys.argv[1:] = ["--worker", "--loops=1", "--warmups=1", f"--values={VALUES}", "--quiet"]
    runner = pyperf.Runner()
    arguments = runner.parse_args(sys.argv[1:])
    for network in networks:
        arguments.loops = max(1, round(1e3 * budget_s / (VALUES + 1) / network.fastest_ms))
        begin = time.perf_counter()
        found = runner.bench_func(network.key, network.run)
        spent_s = time.perf_counter() - begin
        mean_ms, sd_ms = 1e3 * found.mean(), 1e3 * found.stdev()
        half_ms = 1.96 * sd_ms / VALUES**0.5
        yield Label(network.key, "pyperf", mean_ms, spent_s, mean_ms - half_ms, mean_ms + half_ms)


if __name__ == "__main__":
    run_tool(measure)
