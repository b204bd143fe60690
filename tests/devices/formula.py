"""A simulated device whose latencies are a formula, and the rounds that it gives: shared by its tests."""

from pathlib import Path

import numpy as np

from tempograd.devices.device import Model

TABLE = {f"n{i}": 0.1 * 1.3**i for i in range(12)}
CALM = {"slow": 1.0, "noise": 0.0, "sentinel_noise": 0.0, "process_noise": 0.0, "preemptions": 0.0}


def model(key: str) -> Model:
    return Model(key, Path("/nowhere"), "")


def rounds_of(device, keys=tuple(TABLE), passes: int = 15, burst_ms: float = 10.0):
    with device.open() as session:
        assert all(one.failure is None for one in session.load([model(key) for key in keys]))
        session.start_timing()
        rng = np.random.default_rng(0)
        found = {key: [] for key in keys}
        for _ in range(passes):
            result = session.run_pass(list(rng.permutation(keys)), burst_ms=burst_ms)
            for round_ in result.rounds:
                found[round_.key].append(round_)
        return found
