"""A recipe of one's own law with tempograd's multiplier."""

from functools import partial

from outside.law import MeanGumbel
from tempograd.search.forms import LearnedMultiplier, Linear
from tempograd.search.method import Method
from tempograd.search.searchers.alternation import Schedule
from tempograd.search.searchers.gradient import GradientSearcher


def mean_path(*, epochs: int = 8, warm_up: float = 0.2, batch: int = 64) -> Method:
    """The mean of some paths, after Gumbel-softmax (Jang et al., arXiv:1611.01144).

    Args:
        epochs: of the search.
        warm_up: share of them with weight steps only.
        batch: images a step.
    """
    searcher = GradientSearcher(
        law=MeanGumbel,
        weighted=Linear,
        targeted=partial(LearnedMultiplier, eta=0.3, two_sided=True),
        schedule=Schedule(epochs=epochs, warm_up=warm_up, batch=batch, tau_first=5.0, tau_last=0.1),
    )
    pieces = {"law": "mean_gumbel", "objective": "learned multiplier, or linear", "deriver": "best score"}
    return Method("mean_path", searcher, paper="after Jang et al., arXiv:1611.01144", home="chain", pieces=pieces)
