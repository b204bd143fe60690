"""EG-DAS: blocks from the accurate to the fast by an enhanced gradient, then networks of them by evolution."""

from __future__ import annotations

from ...arguments import Batch, Count, Positive, Share
from ..method import Method
from ..searchers.alternation import Schedule
from ..searchers.evolution import EvolutionSearcher
from ..searchers.two_level import TwoLevelSearcher


def egdas(
    *,
    epochs: Count = 15,
    warm_up: Share = 0.2,
    batch: Batch = 64,
    spread: Positive = 9.0,
    queries: Count = 24,
    population: Count = 8,
    train_epochs: Count = 5,
) -> Method:
    """EG-DAS (Zhang et al., arXiv:2103.12529); one space holds the blocks and the networks made of them.

    Read in the paper's abstract: two levels, blocks by an enhanced gradient for accuracy and low complexity, then
    networks of these blocks by evolution with several objectives. Ours, since its formulas are not to be had: what
    enhances the gradient (less variance by Rao-Blackwellised draws, a direction that is an ascent of neither accuracy
    nor latency), one preference for each slot, whose law begins among the slow blocks the further the more accuracy
    counts, operations, the genome, latency as the cost.

    Args:
        epochs: Epochs of the search of one block.
        warm_up: share of them with weight steps only.
        batch: images a step.
        spread: the slots' preferences of latency over accuracy go from 1 / spread to spread.
        queries: networks of these blocks whose accuracy is asked for, unless the search says how many.
        population: Population of the evolution.
        train_epochs: for which a network is trained that is asked about.
    """
    return Method(
        "egdas",
        TwoLevelSearcher(
            Schedule(epochs=epochs, warm_up=warm_up, batch=batch),
            EvolutionSearcher("nsga2", queries, population),
            spread,
            train_epochs,
        ),
        paper="Zhang et al., arXiv:2103.12529",
        home="chained",
        first_for="blocks and the network made of them",
        pieces={
            "law": "gumbel_rao over one slot after the other",
            "objective": "pareto direction; then accuracy and latency by fronts",
            "deriver": "top edges; then the best of the archive within the target",
            "read": "two levels, an enhanced gradient, evolution with several objectives",
            "ours": "less variance and common descent as the enhancement, a preference a slot, the genome, latency",
        },
    )


METHOD = egdas
