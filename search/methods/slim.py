"""Slimming: the parts of a trained network, as good as they can be told, at the edge of the target."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ...arguments import Batch, Beside, Count
from ..method import Deploy, Method
from ..searchers.edge import Edge, EdgeSearcher
from ..searchers.one_shot import OneShotSchedule

Epochs = Annotated[int, Meta(ge=0, le=1_000_000)]


def slim(
    *,
    epochs: Epochs = 0,
    draws: Annotated[Count, Beside("epochs")] = 1,
    batch: Annotated[Batch, Beside("epochs")] = 64,
    queries: Count = 80,
    shortlist: Annotated[Count, Beside("deploy", "trained")] = 8,
    deploy: Deploy = "trained",
) -> Method:
    """Once-for-All's search (Cai et al., arXiv:1908.09791) in a trained network, which is not trained for it.

    Networks that use the target are asked about, with the weights that they keep of the trained one, and a line learnt
    from the answers says where to ask next. An answer is the loss on held-out examples, statistics taken anew. The best
    few then learn for an epoch, and the best by its loss after it is found. With ``epochs``, sub-networks of all sizes
    learn from the largest before.

    Args:
        epochs: in which sub-networks of all sizes are trained; spaces that come without trained weights need some.
        draws: random sub-networks a step, beside the largest and the smallest.
        batch: images a step.
        queries: networks asked about, unless the search says how many.
        shortlist: networks that learn for an epoch before they are measured in turn; 1: the best is found as it is.
            None learns where it would begin with random weights, or the task trains networks itself.
        deploy: ``trained`` trains the network found from the weights that the space has, or random ones;
            ``inherited`` keeps the supernet's.
    """
    schedule = OneShotSchedule(largest=0, epochs=epochs, draws=draws, batch=batch)
    return Method(
        "slim",
        EdgeSearcher(schedule, Edge(queries), shortlist if deploy == "trained" else 1),
        paper="Cai et al., arXiv:1908.09791",
        pieces={
            "law": "uniform, the largest and the smallest",
            "objective": "held-out loss; reject",
            "deriver": "best loss, smoothed, then after an epoch",
        },
        deploys=deploy,
    )


METHOD = slim
