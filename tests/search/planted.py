"""Graphs of nodes whose every answer is a formula: what each edge is worth, and noise."""

from functools import cache

import numpy as np

from tempograd import registry
from tempograd.search.cost import TableCost, WeightedSum
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.training import Training
from tempograd.spaces.circuit import counts
from tempograd.tasks.table import TableTask

SPEC = "nodedag:n=5,stages=1,width=4,size=8,channels=1"


@cache
def graphs(spec=SPEC):
    return registry.create("space", spec)


def edges(architecture):
    return {i for i, on in enumerate(architecture.choices) if on}


class Formula(dict):
    """A table of accuracies that are worked out when they are looked up; ``asked`` are the look-ups."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.asked = answer, []

    def __contains__(self, architecture):
        return True

    def __getitem__(self, architecture):
        self.asked.append(architecture)
        return self.answer(architecture)


def additive(worth, *, noise=0.0, seed=0):
    """Accuracy .5 and what the edges that are on are worth."""
    rng = np.random.default_rng(seed)
    return Formula(lambda a: 0.5 + sum(worth[i] for i in edges(a)) + noise * rng.standard_normal())


def price(space, scale=1.0):
    """Multiply-accumulates and parameters as ms."""
    parts = [TableCost(space.circuit, counts(space.graph, space.operations, unit)) for unit in ("macs", "parameters")]
    return WeightedSum(((scale * 1e-6, parts[0]), (scale * 3e-6, parts[1])), 0.002)


def problem(answers, *, space=None, lam=0.0, target_ms=None, **kwargs):
    """A problem whose accuracies are a formula; at a weight of latency unless it has a target."""
    space = space or graphs()
    task = TableTask("planted", answers)
    weight = None if target_ms is not None else lam
    return Problem(
        space, space, Price(price(space), space), task, target_ms=target_ms, lam=weight, reference_ms=0.1,
        training=Training(), **kwargs,
    )  # fmt: skip
