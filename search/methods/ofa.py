"""Once-for-All: one supernet, trained from the largest network down, from which every target is served."""

from __future__ import annotations

from ...arguments import Batch, Count, Share
from ..method import Deploy, Method
from ..searchers.evolution import EvolutionSearcher
from ..searchers.one_shot import OneShotSchedule, OneShotSearcher


def ofa(
    *,
    epochs: Count = 15,
    largest: Count = 5,
    draws: Count = 2,
    batch: Batch = 16,
    queries: Count = 200,
    population: Count = 40,
    rate: Share = 0.1,
    deploy: Deploy = "trained",
) -> Method:
    """Once-for-All (Cai et al., arXiv:1908.09791), small: sub-networks of all sizes at once, not stage by stage.

    With predicted accuracies no supernet is trained: the evolution asks the model, ten times as often.

    Args:
        epochs: Epochs of sub-networks of all sizes.
        largest: epochs of the largest network before them.
        draws: random sub-networks a step, beside the largest and the smallest (BigNAS' sandwich, 2003.11142).
        batch: images a step; small, since an option is trained in those steps only that happen to draw it.
        queries: networks scored with inherited weights, unless the search says how many.
        population: Population of the evolution; the best quarter are parents.
        rate: Rate of mutation, a site.
        deploy: ``inherited`` keeps the supernet's own weights, as published; ``trained`` trains the network found from
            scratch, which such short trainings of a supernet leave something to gain from.
    """
    schedule = OneShotSchedule(largest=largest, epochs=epochs, draws=draws, batch=batch)
    return Method(
        "ofa",
        OneShotSearcher(schedule, EvolutionSearcher("best", queries, population, 2, rate)),
        paper="Cai et al., arXiv:1908.09791",
        first_for="many targets on one device, from one supernet",
        pieces={"law": "uniform, the largest and the smallest", "objective": "reject", "deriver": "best accuracy"},
        deploys=deploy,
    )


METHOD = ofa
