"""FBNetV2: widths, expansions and the resolution as masks on one widest network."""

from __future__ import annotations

from functools import partial

from ...arguments import Batch, Count, Positive, Share
from ..forms import LearnedMultiplier, MulLog
from ..laws.gumbel import Gumbel
from ..method import Method
from ..need import LAYERS
from ..searchers.alternation import Schedule
from ..searchers.gradient import GradientSearcher


def fbnetv2(
    *,
    eta: Positive = 0.3,
    epochs: Count = 15,
    warm_up: Share = 0.2,
    batch: Batch = 64,
) -> Method:
    """FBNetV2, DMaskingNAS (Wan et al., arXiv:2004.05565); its loss and temperatures are FBNet's (1812.03443).

    That loss has a weight and no target: under one the weight is learnt as LightNAS does (2208.14446). Widths and
    expansions are mixed by masks. Of resolutions a pass runs one, drawn as the law has it, with the soft draw's
    gradient, so that it costs no more for many; published are grids within the network, scattered back and mixed.

    Args:
        eta: step of the multiplier under a target.
        epochs: Epochs of the search.
        warm_up: share of them with weight steps only.
        batch: images a step.
    """
    searcher = GradientSearcher(
        law=partial(Gumbel, hard=False, one_copy=True),
        weighted=MulLog,
        targeted=partial(LearnedMultiplier, eta=eta, two_sided=True),
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, weights_rate=0.1, tau_first=5.0, tau_last=0.1),
    )
    return Method(
        "fbnetv2",
        searcher,
        paper="Wan et al., arXiv:2004.05565",
        home="mbconv",
        needs_too=LAYERS,
        first_for="layers one after the other, whose widths and sizes are chosen",
        pieces={
            "law": "gumbel, soft; one resolution a pass",
            "objective": "mul_log, or learned multiplier under a target",
            "deriver": "best score",
        },
    )


METHOD = fbnetv2
