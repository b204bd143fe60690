"""torch.utils.benchmark's Timer on one thread: the whole budget in blocks, and its own stop rule within the budget.

``adaptive_autorange`` stops when the interquartile range falls below a tenth of the median, mostly long before the
budget is spent; ``blocked_autorange`` spends it. Both report the median of blocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from ..harness import Label, Network, interval, run_tool


def measure(networks: list[Network], budget_s: float, rng: np.random.Generator) -> Iterator[Label]:
    from torch.utils.benchmark import Timer

    for network in networks:
        timer = Timer("run()", globals={"run": network.run}, num_threads=1)
        for variant, take in (
            ("torch_blocked", lambda timer=timer: timer.blocked_autorange(min_run_time=budget_s)),
            ("torch_adaptive", lambda timer=timer: timer.adaptive_autorange(max_run_time=budget_s)),
        ):
            begin = time.perf_counter()
            found = take()
            spent_s = time.perf_counter() - begin
            times_ms = [1e3 * seconds for seconds in found.times]
            yield Label(network.key, variant, 1e3 * found.median, spent_s, **interval(times_ms))


if __name__ == "__main__":
    run_tool(measure)
