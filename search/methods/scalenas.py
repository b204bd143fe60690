"""ScaleNAS: one supernet of branches of several scales, trained by groups of sizes, serves every target as it is."""

from __future__ import annotations

from ...arguments import Batch, Count, NonNegative, Share
from ..method import Method
from ..need import FREE, PARTS
from ..searchers.grouped_shot import GroupedSchedule, GroupedShot
from ..searchers.module_evolution import ModuleEvolution
from ..searchers.one_shot import InheritedSearcher


def scalenas(
    *,
    epochs: Count = 40,
    largest: Count = 20,
    draws: Count = 1,
    batch: Batch = 16,
    distillation: NonNegative = 0.5,
    queries: Count = 200,
    population: Count = 20,
    share: Share = 0.25,
    rate: Share = 0.2,
) -> Method:
    """ScaleNAS (Cheng et al., arXiv:2011.14584), small; what is found keeps the supernet's weights.

    Read in the paper's abstract and its code: the space, groups of two depths by three shares of fusions beside the
    smallest and the largest, in turn; half the distance from the largest network's outputs in the loss;
    statistics taken anew before scoring; fronts that are peeled, whole modules that are crossed at 0.25, fusions that
    flip; nothing is trained after the supernet. Ours: latency in place of multiply-accumulates and children above the
    target never asked about, repair where the best dozen are measured above the target, a teacher that is
    the supernet's own first stage, the divergence of logits that the task states in place of squared distance, AdamW,
    and the sizes of all that.

    Args:
        epochs: Epochs of networks of all sizes.
        largest: epochs of the largest network before them; it is the teacher.
        draws: networks a step.
        batch: images a step.
        distillation: weight of the task's distance from the teacher's outputs.
        queries: networks scored with inherited weights, unless the search says how many; the first third is random.
        population: networks that have a child in each round.
        share: Share of modules that a child takes from another parent.
        rate: Rate of mutation: how likely a fusion of a child flips.
    """
    schedule = GroupedSchedule(largest=largest, epochs=epochs, draws=draws, batch=batch, distillation=distillation)
    return Method(
        "scalenas",
        InheritedSearcher(schedule, ModuleEvolution(queries, population, share, rate), GroupedShot),
        paper="Cheng et al., arXiv:2011.14584",
        needs_too=FREE & PARTS,
        home="multibranch",
        first_for="maps of classes, heat maps of points",
        pieces={
            "law": "groups of sizes in turn",
            "objective": "task loss and distance from the largest; reject",
            "deriver": "best inherited score within the target",
            "read": "groups, distillation, recalibration, peeled fronts, module crossover, no training afterwards",
            "ours": "latency as the cost, repair as measured, AdamW, the task's distance, a teacher of the first stage",
        },
        deploys="inherited",
    )


METHOD = scalenas
