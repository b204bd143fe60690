"""TopoNAS: the topology of a cell is learnt by itself, beside its operations."""

from __future__ import annotations

from functools import partial

from ...arguments import Batch, Count, Positive, Share
from ...spaces.space import SearchSpace
from ..deriver import argmax_combination
from ..forms import LearnedMultiplier, Linear
from ..laws.combination import Combination
from ..method import Method
from ..regularisers import PassiveAggressive, Regulariser
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def toponas(
    *,
    eta: Positive = 0.3,
    most_invalid: Share = 0.05,
    epochs: Count = 15,
    warm_up: Share = 0.2,
    batch: Batch = 64,
) -> Method:
    """TopoNAS (Huang et al., arXiv:2011.09300); temperatures after its sister DOTS (2010.00969).

    How many edges a node keeps is learnt where the space leaves it free: ``darts:in_edges=any``, ``nasbench201``. There
    passive-aggressive steps push out topologies with nodes that lead nowhere or come from nowhere.

    Args:
        eta: step of the multiplier under a target.
        most_invalid: expected invalid nodes that are let alone, where a node may keep any number of edges.
        epochs: Epochs of the search.
        warm_up: share of them with weight steps only.
        batch: images a step.
    """

    def valid(space: SearchSpace) -> Regulariser:
        return Regulariser() if space.rules else PassiveAggressive(space, most_invalid)

    searcher = GradientSearcher(
        law=Combination,
        weighted=Linear,
        targeted=partial(LearnedMultiplier, eta=eta, two_sided=True),
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, tau_first=10.0, tau_last=0.02, tau_from=2 / 3),
        regularisers=(valid,),
        deriver=argmax_combination,
    )
    return Method(
        "toponas",
        searcher,
        paper="Huang et al., arXiv:2011.09300",
        home="darts",
        pieces={
            "law": "combination: sets of edges, operations",
            "objective": "linear or learned multiplier, passive-aggressive",
            "deriver": "argmax combination",
        },
    )


METHOD = toponas
