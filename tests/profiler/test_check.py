"""An audit's questions: labels that agree pass, labels that moved fail with how far."""

import numpy as np

from tempograd.measurement.label import Estimate
from tempograd.profiler.check import compare, skipped


def estimate(ms, half=0.01):
    return Estimate(latency_ms=ms, low_ms=ms * (1 - half), high_ms=ms * (1 + half), path="gated", rounds=20, gated=18)


def pairs(shift, n=30, noise=0.005):
    rng = np.random.default_rng(0)
    return [(estimate(1.0), estimate(shift * float(np.exp(rng.normal(0, noise))))) for _ in range(n)]


def test_labels_that_agree_pass_both():
    found = {check.check: check for check in compare(pairs(1.0), 30, repeatability=0.01, target=0.05)}
    assert found["aa.coverage"].passed
    assert found["aa.drift"].passed


def test_networks_without_a_label_count_as_outside():
    assert not compare(pairs(1.0, n=5), 30, repeatability=0.01, target=0.05)[0].passed


def test_a_few_labels_tell_no_drift():
    (_, drift) = compare(pairs(1.2, n=4), 4, repeatability=0.01, target=0.05)
    assert drift.passed is None
    assert "take a larger --count" in drift.reason


def test_what_could_not_be_asked_says_why():
    assert [(c.check, c.passed, c.reason) for c in skipped(["a", "b"], "no torch")] == [
        ("a", None, "no torch"), ("b", None, "no torch"),
    ]  # fmt: skip
