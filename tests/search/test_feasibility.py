"""What a target means in a space: the ends are found, and an impossible target is refused with what is possible."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import TargetError
from tempograd.search.feasibility import feasibility

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8")
COST_MS = np.array([0.0, 0.1, 0.5, 2.0, 0.3])


def predict(architectures):
    return np.array([1.0 + COST_MS[list(a.choices)].sum() for a in architectures])


def look(target_ms=None, measured_ms=None):
    return feasibility(SPACE, predict, np.random.default_rng(0), target_ms=target_ms, measured_ms=measured_ms)


@pytest.mark.slow
def test_the_ends_are_those_of_the_whole_space():
    found = look()
    every = [a for a in SPACE.enumerate() if SPACE.is_connected(a)]
    truth = predict(every)
    assert found.smallest_ms == pytest.approx(truth.min())
    assert found.largest_ms == pytest.approx(truth.max())
    assert found.smallest_ms < found.median_ms < found.largest_ms
    assert SPACE.is_connected(found.smallest)
    assert found.share_within_target is None


def test_the_share_within_a_target_is_that_of_the_sample():
    middle = look().median_ms
    assert look(middle).share_within_target == pytest.approx(0.5, abs=0.1)
    assert look(100.0).share_within_target == 1.0


def test_a_target_below_the_smallest_is_refused_with_what_to_ask_for():
    low = look(0.5)
    with pytest.raises(TargetError, match=f"Ask for at least {low.smallest_ms:.4g} ms"):
        low.check()
    look(low.smallest_ms).check()


def test_what_was_measured_counts_for_more_than_a_prediction():
    """The line says 1 ms and more; a network was measured at .6 ms, and one at 9 ms."""
    networks = [a for a in SPACE.sample(20, np.random.default_rng(3)) if SPACE.is_connected(a)][:3]
    measured_ms = dict(zip(networks, (9.0, 0.6, 2.0), strict=True))
    look(0.7, measured_ms).check()
    found = look(0.5, measured_ms)
    with pytest.raises(TargetError, match=r"3 were measured, at 0.6 to 9 ms \(median 2\).* Ask for at least 0.6 ms"):
        found.check()
    told = found.document().measured
    assert (told.smallest_ms, told.median_ms, told.largest_ms, told.networks) == (0.6, 2.0, 9.0, 3)
    look(found.smallest_ms, dict.fromkeys(networks, 9.0)).check()  # nobody measured the smallest one
    broken = next(a for a in SPACE.enumerate() if not SPACE.is_connected(a))
    assert look(0.5, {broken: 0.1}).document().measured is None


def test_the_document_holds_the_numbers():
    found = look(2.0)
    document = found.document()
    assert (document.smallest_ms, document.target_ms) == (found.smallest_ms, 2.0)
