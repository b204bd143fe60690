"""What holds for every recipe that searches by gradients, asked of the recipe by its name."""

import numpy as np
import pytest

from tempograd.search.queries import Queries

from ..wiring import HOMES, Planted, linear, parts, record, space_of

WEIGHED = sorted(HOMES.keys() - {"hardcorenas", "egdas"})  # which knows no weight, and prefers by slots
RESNET = "routed:base=resnet,blocks=4-6/8-10,reach=3,layers=2,head=8,size=8,classes=10,channels=1"
ALONE = {"hdas": ",depth=0,length=0"}  # without what else it asks of a law


def costs(space):
    return np.random.default_rng(0).uniform(0.1, 1.0, sum(space.widths))


def derived_ms(patch, name, spec, *, quality=0.1, arguments="", **mode):
    """Return the latency derived where what is dear is good, in a predictor's eyes."""
    space = space_of(spec)
    latency = costs(space)
    noted = record(
        patch, f"{name}:epochs=4,batch=4{ALONE.get(name, '')}{arguments}", spec,
        supernet=Planted(space, quality * latency), cost=linear(space, latency), steps=12, **mode,
    )  # fmt: skip
    return float(noted.run.term.model(space.gates([noted.found.architecture])))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spec"), [*((name, HOMES[name]) for name in WEIGHED), ("densenas", RESNET)])
def test_a_weight_and_a_target_are_heard(monkeypatch, name, spec):
    """By the network derived, before any repair."""
    free, weighed = (derived_ms(monkeypatch, name, spec, lam=lam) for lam in (0.0, 8.0))
    assert weighed < 0.8 * free
    own = ",lam=8" if name == "proxylessnas" else ""  # its target has a fixed weight
    assert derived_ms(monkeypatch, name, spec, quality=0.02, arguments=own, target_ms=0.6 * free) < 0.95 * free


@pytest.mark.slow
@pytest.mark.parametrize("name", HOMES)
def test_weights_learn_on_one_part_of_the_images_and_the_law_on_the_other(monkeypatch, name):
    """None reads the test part, see `wiring.Sealed`; it could not even be read unnoticed."""
    monkeypatch.setattr(Queries, "_by_training", lambda self: lambda many: [0.5] * len(many))
    mode = {"target_ms": 100.0} if name == "hardcorenas" else {"lam": 0.1}
    noted = record(monkeypatch, f"{name}:epochs=3,batch=4", HOMES[name], **mode)
    weights, law = noted.of("weights"), noted.of("law")
    assert {each.image for each in weights} == {0.0}
    assert all(each.image > 0.6 for each in law)  # 1, shifted by an augmentation or not
    assert len(weights) >= 4 <= len(law)
    with pytest.raises(AssertionError, match="test part"):
        parts().fitted(space_of(HOMES[name])).score(noted.run.supernet, "test")
