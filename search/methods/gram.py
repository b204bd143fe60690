"""GRAM, the search behind SwiftNet: a meta-graph of edges gathers what answers teach; a family is pruned from it."""

from __future__ import annotations

from typing import Annotated

from ...arguments import Batch, Beside, Count, NonNegative, Positive, Share
from ..method import Method
from ..searchers.meta_graph import MetaGraphSearcher
from ..searchers.one_shot import OneShotSchedule


def gram(
    *,
    sweeps: Count = 300,
    still: Count = 50,
    eta: Positive = 0.05,
    spread: Share = 0.25,
    weight: NonNegative = 0.1,
    epochs: Annotated[Count, Beside("shared", True)] = 15,
    shared: bool = True,
    train_epochs: Annotated[Count, Beside("shared", False)] = 5,
    batch: Annotated[Batch, Beside("shared", True)] = 32,
) -> Method:
    """GRAM (Cheng et al., SwiftNet, arXiv:1906.08305); several targets cost the answers of one.

    Read in the paper's abstract and notes on it: a meta-graph over a complete graph of nodes, Gibbs sampling,
    propagation of weights along the graph, pruning of edges in place of a width multiplier. Ours, since the paper gives
    no rule: the update, the shares passed on, the end, one supernet that answers, each time of the same 512 images,
    latency as the cost.

    Args:
        sweeps: graphs asked about at most.
        still: sweeps without a change of the likely edges after which it ends.
        eta: step of the probabilities.
        spread: share of it that is passed on to edges that share a node.
        weight: Weight of the logarithm of latency in the score, under a target; at a weight of latency it is that.
        epochs: Epochs of the supernet that answers.
        shared: answer by that supernet; else each graph asked about is trained.
        train_epochs: Epochs of such a training.
        batch: images of the supernet's steps.
    """
    schedule = OneShotSchedule(epochs=epochs, batch=batch) if shared else None
    return Method(
        "gram",
        MetaGraphSearcher(
            sweeps=sweeps, still=still, eta=eta, spread=spread, weight=weight, epochs=train_epochs, schedule=schedule
        ),
        paper="Cheng et al., arXiv:1906.08305",
        home="nodedag",
        first_for="a graph of nodes, several targets",
        pieces={
            "law": "Bernoulli edges, Gibbs sweeps",
            "objective": "score: accuracy less log latency",
            "deriver": "pruned to the target: a nested family",
            "read": "meta-graph, Gibbs sampling, propagation, pruning",
            "ours": "the update, what is passed on, the end, one supernet, latency as the cost",
        },
    )


METHOD = gram
