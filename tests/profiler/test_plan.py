import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import UnknownNameError, UsageError
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import PLANS, Items, Plan, duplicates, named


@pytest.mark.parametrize("spec", ["nasbench201", "darts"])
def test_a_larger_choice_begins_with_the_smaller(spec):
    space = registry.create("space", spec)
    large = choose(space, 500, seed=3)
    assert large[:300] == choose(space, 300, seed=3)
    assert len(set(large)) == 500
    assert large[:50] != choose(space, 50, seed=4)


def test_the_stratified_share_reaches_further_than_uniform_draws():
    space = registry.create("space", "nasbench201")
    convolution = space.sites[0].options.index("nor_conv_3x3")

    def heaviest(stratified):
        return [
            max(a.choices.count(convolution) for a in choose(space, 100, seed=seed, stratified=stratified))
            for seed in range(10)
        ]

    assert np.mean(heaviest(0.5)) > np.mean(heaviest(0.0))


def test_every_network_of_a_small_space_can_be_chosen(monkeypatch):
    space = registry.create("space", "nasbench201:cells=1")
    monkeypatch.setattr(type(space), "sites", space.sites[:3])
    assert len(set(choose(space, 125, seed=0, stratified=0.5))) == 125
    with pytest.raises(UsageError, match="has only 125"):
        choose(space, 126, seed=0)


def test_shares_are_shares(space):
    with pytest.raises(UsageError, match=r"stratified=1\.1"):
        choose(space, 1, seed=0, stratified=1.1)


def test_duplicates_grow_with_the_campaign():
    assert [len(duplicates(n)) for n in (0, 1, 10, 30, 300, 1000, 10_000)] == [0, 0, 2, 5, 21, 50, 330]
    large = duplicates(5000)
    for n in (1, 17, 300, 4999):
        assert [place for place in large if place < n] == duplicates(n)


def test_items_are_built_by_key(space, tmp_path):
    architectures = choose(space, 3, seed=0)
    items = Items.of(space, [*architectures, architectures[0]])
    assert items.keys == tuple(a.key for a in architectures)
    path, digest = items.build(items.keys[1], tmp_path)
    assert (path, digest) == space.write_onnx(architectures[1], tmp_path)


def test_plans_have_names():
    assert named("quick").checks == (6,)
    assert all(plan.name == name for name, plan in PLANS.items())
    with pytest.raises(UnknownNameError, match="precise, quick, standard"):
        named("slow")


@pytest.mark.parametrize(
    "change",
    [{"checks": ()}, {"checks": (8, 6)}, {"checks": (0,)}, {"target": 0.0}, {"burst_ms": -1}, {"coverage": 1.0}],
)
def test_senseless_plans_are_refused(change):
    fields = {"name": "x", "burst_ms": 10, "checks": (6,), "target": 0.05, "coverage": 0.95, "requeue": False}
    with pytest.raises(UsageError, match="allowed"):
        Plan(**fields | change)
