"""A neighbour for the timed core: two processes that in turn burn arithmetic, stream memory, or sleep.

python -P -m tempograd.benchmarks.repeatability.load --core 1 --seed 0

Dwell times are log-uniform from 0.05 to 10 s. One process may run anywhere, the other is bound to the timed core half
of the time: what a shared host does to its guests. The same seed gives the same sequence; it ends with its parent.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time

import numpy as np

SHORTEST_S, LONGEST_S = 0.05, 10.0
STATES = ("arithmetic", "memory", "sleep")


def dwell(rng: np.random.Generator) -> tuple[str, float, bool]:
    """Return the next state, how long it lasts in s, and whether it is bound to the timed core."""
    seconds = float(np.exp(rng.uniform(np.log(SHORTEST_S), np.log(LONGEST_S))))
    return STATES[rng.integers(len(STATES))], seconds, bool(rng.random() < 0.5)


def generate(seed: int, core: int, binds: bool, parent: int) -> None:
    """Go from state to state until the parent is gone."""
    rng = np.random.default_rng([seed, binds])
    everywhere = os.sched_getaffinity(0)
    small, large = np.ones((64, 64)), np.zeros(2**23)  # 64 MiB: more than a core's share of the cache
    while os.getppid() == parent:
        state, seconds, bound = dwell(rng)
        os.sched_setaffinity(0, {core} if binds and bound else everywhere)
        end = time.monotonic() + seconds
        if state == "sleep":
            time.sleep(seconds)
        while state != "sleep" and time.monotonic() < end and os.getppid() == parent:
            if state == "arithmetic":
                for _ in range(100):
                    small @ small
            else:
                large += 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, required=True, help="the timed core")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    parent = os.getppid()
    spawn = multiprocessing.get_context("spawn")
    others = [
        spawn.Process(target=generate, args=(arguments.seed, arguments.core, binds, os.getpid()), daemon=True)
        for binds in (False, True)
    ]
    for process in others:
        process.start()
    while os.getppid() == parent:
        time.sleep(0.2)


if __name__ == "__main__":
    main()
