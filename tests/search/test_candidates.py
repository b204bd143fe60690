"""Candidates in turn: which is kept, when repair goes on, and from where."""

from types import SimpleNamespace

import numpy as np
import pytest

from tempograd.search import run
from tempograd.search.candidates import Candidates
from tempograd.search.method import Found
from tempograd.search.trace import Trace

from .repairing import NB201, FakeDevice

TARGET_MS = 4.0


class Planted(FakeDevice):
    """Takes a share of the target that is given for some networks, by measurement; the last one counts on."""

    def __init__(self, shares):
        super().__init__(NB201)
        self.shares = {architecture: list(each) for architecture, each in shares.items()}

    def measure(self, architectures):
        self.calls += 1
        self.measured += architectures
        return [self.one(a, self._ms(a)) for a in architectures]

    def _ms(self, architecture):
        left = self.shares.get(architecture)
        if left is None:
            return self.truth_ms(architecture)
        return TARGET_MS * (left.pop(0) if len(left) > 1 else left[0])


def networks(count):
    device = FakeDevice(NB201)
    drawn = [a for a in NB201.sample(400, np.random.default_rng(0)) if NB201.is_connected(a)]
    return sorted(dict.fromkeys(drawn), key=lambda a: abs(device.truth_ms(a) - TARGET_MS))[:count]


def found_of(candidates, *, repairable=True):
    scores = np.log(np.random.default_rng(7).dirichlet(np.ones(5), 6))
    return Found(candidates[0], scores, Trace(), 0, 0.0, candidates=tuple(candidates), repairable=repairable)


def turn(device, found):
    return Candidates(found, device.predict, device.measure, TARGET_MS)


@pytest.mark.parametrize("repairable", [True, False])
def test_the_first_that_fits_is_kept_as_it_was_measured_again(repairable):
    one, two, three = networks(3)
    device = Planted({one: [1.02], two: [0.96, 0.95], three: [0.9]})
    kept = turn(device, found_of([one, two, three], repairable=repairable)).run()
    assert device.measured == [one, two, two]
    assert kept is not None
    assert (kept.architecture, kept.measurement.latency_ms) == (two, pytest.approx(0.95 * TARGET_MS))


@pytest.mark.parametrize(("repairable", "expected"), [(True, 1), (False, 0)])
def test_one_that_leaves_no_margin_for_the_next_process_is_passed_over_where_repair_can_help(repairable, expected):
    pair = networks(2)
    device = Planted({pair[0]: [0.985], pair[1]: [0.97]})
    kept = turn(device, found_of(pair, repairable=repairable)).run()
    assert kept is not None
    assert kept.architecture == pair[expected]


def measured(device, found):
    problem = SimpleNamespace(
        space=NB201, target_ms=TARGET_MS, predict=lambda: device.predict, progress=lambda *_: None
    )
    return run._measured(problem, found, device.measure, repair=True)  # pyright: ignore[reportPrivateUsage, reportArgumentType]


def test_what_fits_and_uses_the_target_is_not_changed_and_finalists_may_still_be_drawn():
    one, two = networks(2)
    device = Planted({one: [1.02], two: [0.96]})
    steps, kept, repaired = measured(device, found_of([one, two]))
    assert kept.architecture == two
    assert [step.architecture for step in steps] == [one, two, two]
    assert repaired is not None
    assert repaired.steps is steps


def test_repair_goes_on_from_what_fits_and_leaves_room_and_knows_what_was_measured():
    one, two = networks(2)
    device = Planted({one: [1.02], two: [0.8]})
    steps, kept, repaired = measured(device, found_of([one, two]))
    assert repaired is not None
    assert [step.architecture for step in steps[:4]] == [one, two, two, two]
    assert 0.93 * TARGET_MS <= kept.measurement.latency_ms <= TARGET_MS
    assert steps[-1] is kept
    assert device.measured.count(one) == 1


def test_repair_goes_on_where_none_fits():
    one, two = networks(2)
    device = Planted({one: [1.05], two: [1.03]})
    steps, kept, repaired = measured(device, found_of([one, two]))
    assert repaired is not None
    assert [step.architecture for step in steps[:2]] == [one, two]
    assert kept.measurement.latency_ms <= TARGET_MS
    assert kept.architecture not in (one, two)


def test_where_repair_may_not_go_on_what_fits_is_kept_though_it_leaves_room():
    one, two = networks(2)
    device = Planted({one: [1.02], two: [0.8]})
    steps, kept, repaired = measured(device, found_of([one, two], repairable=False))
    assert kept.architecture == two
    assert len(steps) == 3
    assert repaired is None
