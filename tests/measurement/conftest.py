import pytest

from tempograd.measurement.fingerprint import Fingerprint
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Round
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
