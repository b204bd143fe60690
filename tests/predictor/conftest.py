from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Table:
    """One-hot encodings ``(n, 30)`` of six sites with five options, their true latencies and noisy labels."""

    X: np.ndarray
    true_ms: np.ndarray
    y_ms: np.ndarray
    choices: np.ndarray


COST_MS = np.array([0.0, 0.1, 0.7, 2.0, 0.4])


def make_table(n: int, *, seed: int, parallel: bool, noise: float = 0.0) -> Table:
    """Draw networks whose cost is a sum, or partly the longer of two branches that run side by side."""
    rng = np.random.default_rng(seed)
    choices = rng.integers(0, 5, (n, 6))
    cost = COST_MS[choices] * np.linspace(0.6, 1.4, 6)
    true_ms = 1.0 + cost.sum(axis=1)
    if parallel:
        true_ms = 1.0 + cost[:, 4:].sum(axis=1) + np.maximum(cost[:, :2].sum(axis=1), cost[:, 2:4].sum(axis=1))
    return Table(np.eye(5)[choices].reshape(n, 30), true_ms, true_ms * np.exp(noise * rng.standard_normal(n)), choices)


@pytest.fixture(scope="session")
def additive() -> Table:
    return make_table(500, seed=1, parallel=False)


@pytest.fixture(scope="session")
def parallel() -> Table:
    return make_table(800, seed=2, parallel=True, noise=0.005)
