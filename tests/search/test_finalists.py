"""Finalists: others that use the target are trained, and the best is kept if it still fits."""

from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from tempograd.metric import Metric
from tempograd.search.deriver import draws
from tempograd.search.finalists import choose
from tempograd.spaces.canonical import canonical

from .repairing import DARTS, NB201, SPACES, FakeDevice, dear, repair


def ended(space, *, noise=0.0, share=0.8):
    device = FakeDevice(space, noise=noise)
    start = dear(device)
    state = repair(device, share * device.truth_ms(start), predict=lambda many: 0.9 * device.predict(many))
    return device, state, state.run(start)


def trained(validation_score):
    return SimpleNamespace(validation_score=validation_score)


@pytest.mark.slow
@SPACES
def test_the_best_of_those_that_use_the_target_is_kept(space):
    device, state, kept = ended(space)
    quality = {}

    def train(architecture):
        quality[architecture] = float(len(quality))  # the last one trained is the best
        return trained(quality[architecture])

    step, best, field = choose(state, kept, 4, train, seed=0)
    assert field[0].step is kept
    assert 2 <= len(field) <= 4
    for each in field:
        assert space.is_connected(each.step.architecture)
        assert 0.93 * state.target_ms <= device.truth_ms(each.step.architecture) <= state.target_ms
    assert best.validation_score == len(field) - 1
    assert quality[step.architecture] == best.validation_score
    assert state.steps[-1] is step
    assert step.measurement is not field[-1].step.measurement  # the number told had no part in choosing


def test_no_network_is_trained_twice_under_two_names():
    device, state, _ = ended(NB201)
    names = ["2.3.4.0.0.1", "2.3.1.3.4.0", "2.0.3.3.4.0", "3.3.0.0.0.2"]  # the first three are one network
    state.measure = lambda many: [device.one(a, 0.96 * state.target_ms) for a in many]
    found = state.also(map(NB201.from_key, names), 4)
    assert len({step.architecture.key for step in found} & {*names}) == 2
    forms = [canonical(NB201.network_graph(step.architecture)) for step in found]
    assert len(set(forms)) == len(forms)


@pytest.mark.slow
def test_where_the_predictor_errs_more_are_measured_until_there_are_enough():
    device = FakeDevice(DARTS, noise=0.0)
    start = dear(device)

    def wrong(many):
        errors = [np.random.default_rng(a.choices).normal(0, 0.08) for a in many]
        return device.predict(many) * np.exp(errors)

    state = repair(device, 0.8 * device.truth_ms(start), predict=wrong)
    kept = state.run(start)
    before = len(state.steps)
    _, _, field = choose(state, kept, 8, lambda _: trained(0.0), seed=0)
    assert len(field) == 8
    assert len(state.steps) - before > 2 * 7  # one lot would not have been enough


@pytest.mark.slow
@SPACES
def test_those_of_the_highest_inherited_score_are_trained(space):
    _, state, kept = ended(space)
    asked = {}

    def inherited(architectures):
        return [asked.setdefault(each, sum(each.choices[:3]) / 100) for each in architectures]

    _, _, field = choose(state, kept, 4, lambda _: trained(0.0), seed=0, inherited=inherited)
    others = [asked[each.step.architecture] for each in field[1:]]
    assert len(others) == 3
    assert others == sorted(others, reverse=True)
    assert np.mean(others) > np.quantile(list(asked.values()), 0.75)


@pytest.mark.slow
def test_draws_that_use_the_target_are_taken_as_they_are():
    """A walk to the target would make every one the more like its cheapest relatives."""
    _, state, kept = ended(DARTS)
    before = len(state.steps)
    choose(state, kept, 8, lambda _: trained(0.0), seed=0)
    drawn = islice(draws(state.scores, DARTS, np.random.default_rng(0)), 4000)
    new = [step.architecture for step in state.steps[before:-1]]
    assert len(new) > 7
    assert {*new} <= {*drawn}


def test_a_law_that_draws_nothing_connected_leaves_the_network_kept_alone():
    _, state, kept = ended(NB201)
    state.scores = np.full((6, 5), -50.0)
    state.scores[:, 0] = 0.0
    step, _, field = choose(state, kept, 3, lambda _: trained(0.5), seed=0)
    assert [each.step for each in field] == [kept]
    assert step is kept


def test_of_equals_the_network_that_the_search_found_is_kept():
    _, state, kept = ended(NB201)
    step, _, field = choose(state, kept, 3, lambda _: trained(0.5), seed=0)
    assert step is kept
    assert state.steps[-1] is kept
    assert len(field) > 1


def test_a_finalist_that_is_too_slow_when_measured_again_is_passed_over():
    _, state, kept = ended(NB201)
    values = iter(range(100))
    measure = state.measure

    def slower(architectures):
        if len(architectures) == 1:  # again
            return [replace(m, rounds=tuple(replace(r, wall_ms=(2 * r.wall_ms[0],) * 2) for r in m.rounds))
                    for m in measure(architectures)]  # fmt: skip
        return measure(architectures)

    state.measure = slower
    step, best, field = choose(state, kept, 3, lambda _: trained(float(next(values))), seed=0)
    assert len(field) > 1
    assert step is kept
    assert best is field[0].trained


@pytest.mark.slow
def test_the_same_seed_draws_the_same_field():
    keys = []
    for _ in range(2):
        _, state, kept = ended(DARTS)
        _, _, field = choose(state, kept, 3, lambda _: trained(0.0), seed=5)
        keys.append([each.step.architecture for each in field])
    assert keys[0] == keys[1]


def test_draws_follow_the_law():
    """With all of the law on one network, nothing else is drawn but what a walk makes of it."""
    _, state, kept = ended(NB201)
    state.scores = np.where(np.arange(state.scores.shape[1]) == np.array(kept.architecture.choices)[:, None], 0.0, -1e3)
    assert choose(state, kept, 2, lambda _: trained(0.0), seed=0)[0] is kept


@pytest.mark.parametrize("better", [1, -1])
def test_the_best_by_the_tasks_metric_is_kept_whether_more_or_less_is_better(better):
    _, state, kept = ended(NB201)
    values, metric = iter(range(100)), Metric("loss", higher_is_better=better > 0, unit="")
    step, best, field = choose(state, kept, 3, lambda _: trained(better * next(values)), seed=0, metric=metric)
    assert len(field) > 1
    assert best is field[-1].trained
    assert step.architecture == field[-1].step.architecture


@pytest.mark.parametrize("better", [1, -1])
def test_those_of_the_best_inherited_score_by_the_tasks_metric_are_trained(better):
    _, state, kept = ended(NB201)
    asked, metric = {}, Metric("loss", higher_is_better=better > 0, unit="")

    def inherited(architectures):
        return [asked.setdefault(each, better * sum(each.choices[:3])) for each in architectures]

    _, _, field = choose(state, kept, 4, lambda _: trained(0.0), seed=0, metric=metric, inherited=inherited)
    others = [better * asked[each.step.architecture] for each in field[1:]]
    assert others == sorted(others, reverse=True)
    assert np.mean(others) > better * np.median(list(asked.values()))


def test_another_seed_draws_another_field():
    fields = []
    for seed in (0, 0, 1):
        _, state, kept = ended(NB201)
        before = len(state.steps)
        choose(state, kept, 4, lambda _: trained(0.0), seed=seed)
        fields.append([step.architecture for step in state.steps[before:]])
    assert fields[0] == fields[1] != fields[2]


def test_where_the_law_draws_none_that_uses_the_target_its_nearest_relatives_do():
    """All of the law is on the dearest network, far above the target: a walk from there ends below it."""
    device, state, kept = ended(NB201)
    far = dear(device)
    state.scores = np.where(np.arange(state.scores.shape[1]) == np.array(far.choices)[:, None], 0.0, -1e3)
    before = {step.architecture for step in state.steps}
    choose(state, kept, 4, lambda _: trained(0.0), seed=0)
    new = {step.architecture for step in state.steps} - before
    assert new
    assert all(0.9 * state.target_ms <= device.truth_ms(each) <= state.target_ms for each in new)


def test_one_label_that_is_off_does_not_send_all_draws_past_the_target():
    device, state, kept = ended(DARTS)
    for step in list(state.steps):  # the device says the same again, and of the last one 7 % too little
        state.again(step)
    (low,) = [device.one(kept.architecture, 0.93 * device.truth_ms(kept.architecture))]
    state.steps.append(replace(kept, measurement=low))
    before = len(state.steps)
    choose(state, state.steps[-1], 4, lambda _: trained(0.0), seed=0)
    tried = [device.truth_ms(step.architecture) for step in state.steps[before:]]
    assert np.median(tried) <= state.target_ms
