"""ProxylessNAS: two paths at a time, one of them on."""

from __future__ import annotations

from functools import partial

from ...arguments import Batch, Count, NonNegative, Share
from ..forms import Ratio
from ..laws.two_path import TwoPath
from ..method import Method
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def proxylessnas(
    *,
    lam: NonNegative = 0.1,
    epochs: Count = 15,
    warm_up: Share = 1 / 3,
    batch: Batch = 64,
    law_every: Count = 1,
) -> Method:
    """ProxylessNAS (Cai et al., arXiv:1812.00332), its gradient-based form with the additive loss.

    A law step runs two options of every site, of which one is on, and moves these two; Adam has neither momentum nor
    decay, so that the accuracy of two says nothing of the others.

    Args:
        lam: weight of the cost under a target.
        epochs: Epochs of the search.
        warm_up: share of them with weight steps only.
        batch: images a step.
        law_every: weight steps for each law step; 5 as published, which small data have too few steps for.
    """
    searcher = GradientSearcher(
        law=partial(TwoPath, hard=True),
        weighted=Ratio,
        targeted=partial(Ratio, lam),
        schedule=Schedule(
            epochs=epochs,
            warm_up=warm_up,
            batch=batch,
            paths="sample",
            law_every=law_every,
            law_betas=(0.0, 0.999),
            law_decay=0.0,
        ),
    )
    return Method(
        "proxylessnas",
        searcher,
        paper="Cai et al., arXiv:1812.00332",
        home="mbconv",
        pieces={
            "law": "two_path, one on, both run in law steps",
            "objective": "ratio",
            "deriver": "best score",
        },
    )


METHOD = proxylessnas
