"""Evolution on accuracy and latency at once, within the target."""

from __future__ import annotations

from ...arguments import Count, Share
from ..method import Method
from ..searchers.evolution import EvolutionSearcher


def evolution(*, queries: Count = 24, population: Count = 8, rate: Share = 0.1) -> Method:
    """NSGA-II (Deb et al., IEEE TEVC 2002) over architectures, as NSGA-Net (arXiv:1810.03522).

    Children above the target are rejected before they are asked about.

    Args:
        queries: networks whose accuracy is asked for, unless the search says how many.
        population: networks alive.
        rate: Rate of mutation, a site.
    """
    return Method(
        "evolution",
        EvolutionSearcher("nsga2", queries, population, 2, rate),
        paper="Lu et al., arXiv:1810.03522",
        pieces={"law": "none", "objective": "accuracy and latency; reject", "deriver": "best accuracy"},
    )


METHOD = evolution
