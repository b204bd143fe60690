"""Every recipe fulfils the contract, on the space of its paper or on one that fits it; others are refused."""

import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.price import Price
from tempograd.search.run import search
from tempograd.tasks.load import load_task
from tempograd.testing.methods import MethodContract, priced, short, space_for
from tempograd.testing.small import small_specs


@pytest.mark.slow
class TestMethods(MethodContract):
    names = registry.names("method")


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=150")


@pytest.mark.parametrize(
    ("name", "place", "reason"),
    [
        ("densenas", "darts", "routes or depths.*with their defaults: .*routed"),
        ("densenas", "nasbench201", "routes or depths"),
        ("fbnetv2", "darts", "layers one after the other.*mbconv"),
        ("hardcorenas", "darts", "no rule ties together"),
        ("toponas", "mbconv", "cells.*with their defaults: .*darts"),
        ("toponas", "routed", "cells.*tempograd methods --space"),
    ],
)
def test_a_method_on_a_space_that_it_cannot_search_is_refused_with_what_is_allowed(name, place, reason, task):
    space = registry.create("space", small_specs(place)[0])
    with pytest.raises(UsageError, match=reason):
        search(space, short(name), Price(priced(space), space), task, measure=lambda many: [], target_ms=1.0)


def test_a_hard_constraint_on_a_predictor_is_refused(task):
    space = space_for(short("hardcorenas"))
    module = torch.nn.Sequential(torch.nn.Linear(sum(space.widths), 1), torch.nn.Flatten(0))
    torch.nn.init.constant_(module[0].weight, 0.1)
    with pytest.raises(UsageError, match="use a table"):
        search(space, short("hardcorenas"), Price(module, space), task, measure=lambda many: [], target_ms=100.0)
