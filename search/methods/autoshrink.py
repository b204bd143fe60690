"""AutoShrink: a complete graph loses edge after edge, the one whose removal scores best first."""

from __future__ import annotations

from typing import Annotated

from ...arguments import Batch, Beside, Count, NonNegative, Share
from ..method import Method
from ..searchers.one_shot import OneShotSchedule
from ..searchers.shrink import ShrinkSearcher


def autoshrink(
    *,
    k: Count = 10,
    keep: Share = 0.01,
    weight: NonNegative = 0.1,
    epochs: Annotated[Count, Beside("shared", False)] = 5,
    patience: Annotated[Count, Beside("shared", False)] = 5,
    shared: bool = False,
    supernet_epochs: Annotated[Count, Beside("shared", True)] = 15,
    batch: Annotated[Batch, Beside("shared", True)] = 32,
) -> Method:
    """AutoShrink (Zhang et al., arXiv:1911.09251), with latency in place of multiply-accumulates.

    Read in the paper and its code: the space, the score ``accuracy - 0.1 (log10 cost - 6)``, rounds in which 10 edges
    are tried off and the best is dropped, removal of what is left dead, the keep fraction, trainings that end after 5
    epochs without gain. Ours: latency in us as the cost, an end as soon as the target is met as predicted, trainings of
    5 epochs in place of up to 20, no other reason to end one early, and weights of one supernet in place of trainings.

    Args:
        k: edges tried a round at most.
        keep: share of the edges at which it ends, where no target ends it before.
        weight: Weight of the logarithm of latency in the score, under a target; at a weight of latency it is that.
        epochs: for which a network is trained that is asked about, at most.
        patience: epochs without a better one after which such a training ends, and the best epoch counts.
        shared: answer by one supernet, trained once; then the best two edges of a round are dropped.
        supernet_epochs: Epochs of that supernet.
        batch: images of its steps.
    """
    schedule = OneShotSchedule(epochs=supernet_epochs, batch=batch) if shared else None
    return Method(
        "autoshrink",
        ShrinkSearcher(k=k, keep=keep, weight=weight, epochs=epochs, patience=patience, schedule=schedule),
        paper="Zhang et al., arXiv:1911.09251",
        home="nodedag",
        first_for="a graph of nodes, one target",
        pieces={
            "law": "none: the complete graph, shrunk",
            "objective": "score: accuracy less log latency",
            "deriver": "best graph asked about",
            "read": "rounds of k removals, score, clean-up, keep fraction",
            "ours": "latency as the cost, the end at a target, one supernet",
        },
    )


METHOD = autoshrink
