from dataclasses import replace

import numpy as np
import pytest

from tempograd.measurement.label import Estimate, Reference, estimate
from tempograd.profiler.plan import PRECISE, QUICK, STANDARD
from tempograd.profiler.stopping import next_step, should_close

from ..measurement.conftest import a_round


def label(half_width, gated=6, rounds=6):
    return lambda: Estimate(1.0, 1 - half_width, 1 + half_width, "gated", rounds, gated)


def test_a_plan_that_looks_several_times_keeps_95_percent():
    rng = np.random.default_rng(0)
    reference = Reference(1.0, 1.1)
    misses = 0
    for _ in range(1000):
        rounds = [a_round(v) for v in np.exp(0.015 * rng.standard_normal(20))]
        for n in PRECISE.checks:
            found = estimate(rounds[:n], reference, "cpu", coverage=PRECISE.coverage)
            if should_close(found, PRECISE, n):
                break
        misses += not found.low_ms <= 1 <= found.high_ms
    assert misses / 1000 <= 0.05


def test_a_network_closes_at_a_check_or_at_the_cap():
    close = lambda n, half: should_close(label(half)(), STANDARD, n)  # noqa: E731
    assert [close(n, 0.01) for n in (7, 8, 9, 11, 14, 15)] == [False, True, False, True, False, True]
    assert [close(n, 0.03) for n in (8, 11, 15)] == [False, False, True]
    assert should_close(None, QUICK, 6)
    assert not should_close(label(0.0)(), QUICK, 5)


@pytest.mark.parametrize(
    ("plan", "half", "gated", "valid", "taken", "waited", "step"),
    [
        (STANDARD, 0.01, 8, 8, 8, False, "close"),
        (STANDARD, 0.03, 8, 8, 8, False, "go on"),
        (STANDARD, 0.01, 8, 9, 9, False, "go on"),  # no look between two checks
        (STANDARD, 0.03, 8, 15, 15, False, "close"),  # noisy
        (STANDARD, 0.03, 2, 15, 15, False, "wait"),
        (STANDARD, 0.01, 0, 15, 15, False, "close"),  # the ratio was good enough
        (STANDARD, 0.03, 2, 15, 15, True, "go on"),
        (STANDARD, 0.03, 2, 23, 23, True, "close"),  # waits once only
        (STANDARD, 0.03, 0, 4, 30, False, "wait"),  # most rounds were invalid
        (STANDARD, 0.03, 0, 4, 46, True, "close"),
        (QUICK, 0.9, 3, 6, 6, False, "close"),
        (QUICK, 0.9, 0, 6, 6, False, "wait"),
        (QUICK, 0.9, 0, 12, 12, True, "close"),
        (replace(QUICK, requeue=False), 0.9, 0, 6, 6, False, "close"),
        (QUICK, 0.0, 5, 5, 5, False, "go on"),
    ],
)
def test_what_happens_next(plan, half, gated, valid, taken, waited, step):
    assert next_step(label(half, gated), plan, valid=valid, taken=taken, waited=waited) == step


def test_without_any_valid_round_a_network_waits_and_then_ends():
    assert next_step(lambda: None, STANDARD, valid=0, taken=30, waited=False) == "wait"
    assert next_step(lambda: None, STANDARD, valid=0, taken=46, waited=True) == "close"
    assert next_step(lambda: None, replace(QUICK, requeue=False), valid=0, taken=12, waited=False) == "close"
