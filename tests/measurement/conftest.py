from dataclasses import replace

import numpy as np
import pytest

from tempograd.measurement.fingerprint import Fingerprint
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Failure, Round
from tempograd.profiler.plan import QUICK

SPACE = "nasbench201:cells=1,width=4,classes=10,size=8,channels=3"


@pytest.fixture
def fingerprint():
    return Fingerprint("simulated", {"cpu": "one"}, {"name": "none", "version": "1"}, {"threads": 1})


def make_round(key, value_ms, *, sentinel_ms=1.0, started_s=0.0, events=()):
    sentinel, burst = (sentinel_ms, sentinel_ms), (value_ms,) * 3
    return Round(key, started_s, sentinel, sentinel, burst, burst, 0, 0.0, events)


def make(key, values_ms, fingerprint, *, sentinel_ms=1.0, started_s=0.0, replicate=0, failure=None, events=(), **extra):
    rounds = tuple(
        make_round(key, v, sentinel_ms=sentinel_ms, started_s=started_s + i, events=events)
        for i, v in enumerate(values_ms)
    )
    return Measurement(
        key=key,
        space=SPACE,
        fingerprint_id=fingerprint.id,
        plan=QUICK.record(0),
        onnx_digest="ab" * 32,
        clock="cpu",
        rounds=rounds,
        reference=Reference(sentinel_ms, 1.1 * sentinel_ms) if rounds and failure is None else None,
        environment={"boot_id": "x"},
        failure=failure,
        replicate=replicate,
        **extra,
    )


def round_(value_ms: float, sentinel_ms: float = 1.0, **changes) -> Round:
    plain = Round("a", 0.0, (sentinel_ms,) * 2, (sentinel_ms,) * 2, (value_ms,) * 4, (value_ms,) * 4)
    return replace(plain, **changes)


def measured(rounds, reference: Reference | None = None, failure: Failure | None = None, target: float = 0.02):
    reference = reference or Reference(1.0, 1.1)
    return Measurement("a", "s", "f", {"target": target}, "d", "cpu", tuple(rounds), reference, failure=failure)


def a_round(value_ms, *, sentinel_ms=1.0, after_ms=None, started_s=0.0, key="k"):
    after = sentinel_ms if after_ms is None else after_ms
    return Round(key, started_s, (sentinel_ms,) * 2, (after,) * 2, (value_ms,) * 3, (value_ms,) * 3)


def series(rng, n, *, level=1.0, beta=1.0, slow=1.6, share_slow=0.5, noise=0.01, sentinel_noise=0.02):
    """Rounds on a device that flips between two states."""
    rounds = []
    for i in range(n):
        state = slow if rng.random() < share_slow else 1.0
        before, after = state * np.exp(sentinel_noise * rng.standard_normal(2))
        value = level * state**beta * np.exp(noise * rng.standard_normal())
        rounds.append(a_round(value, sentinel_ms=before, after_ms=after, started_s=float(i)))
    return rounds
