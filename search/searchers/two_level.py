"""Search at two levels: blocks by gradients, one slot after the other, then networks of these blocks by evolution.

Level 1 gives every slot a block. Alone in all stages of the network, it is searched by a gradient that is *enhanced* in
two ways: the draws that several noises share say it with less variance (law ``gumbel_rao``), and of the slopes of loss
and latency it takes a direction that is an ascent of neither (form `Pareto`). Each slot leans to latency by another
preference, and begins the slower the more accuracy counts, since no such direction leads to a slower block: so the
blocks go from the accurate to the fast. Sites of other slots stand still. An option that is off
is not run and has no slope, so of the variance of a real supernet's law gradient about a fifth goes (.79 of that of
plain straight-through over four random supernets); where all options have slopes, more than half.

Level 2 asks for accuracies of networks that are made of the blocks: which of them each stage takes, and how many
copies. Evolution by fronts asks, first about fast and slow ones alike; an archive keeps the networks that no other
beats in merit and predicted latency.

References:
    Zhang et al., *Enhanced Gradient for Differentiable Architecture Search*, arXiv:2103.12529 (EG-DAS: both levels; its
    formulas are not to be had, so what enhances the gradient is ours); Paulus et al., *Rao-Blackwellizing the
    straight-through Gumbel-softmax gradient estimator*, arXiv:2010.04838 (less variance); Desideri,
    *Multiple-gradient descent algorithm*, 2012 (the direction).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import log, prod
from time import perf_counter
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...spaces.architecture import Architecture
from ...spaces.space import SearchSpace
from ...tasks.table import TableTask
from ..archive import Archive
from ..cost import PredictorCost
from ..deriver import Scores
from ..forms import Pareto
from ..law import Fixed, Law, Product
from ..laws.gumbel_rao import GumbelRao
from ..method import Found, Problem
from ..need import SLOTS
from ..queries import Queries
from ..trace import Epoch, Trace
from .alternation import Schedule
from .evolution import EvolutionSearcher
from .gradient import GradientSearcher

_GOLDEN = (5**0.5 - 1) / 2
_AHEAD = 2.0  # logits, of the slot that prefers accuracy most
_LISTED = 20_000  # networks of a library that are gone through as a whole; of more, as many are drawn


@dataclass(frozen=True)
class Library:
    """Blocks, one a slot.

    Attributes:
        base: an architecture with these blocks; which of them its stages take says nothing.
        scores: ``(sites, K)`` of the laws that found them; zeros at the sites of stages.
        alone_ms: predicted latency of the network whose stages all take a slot, by slot.
        epochs: Epochs of all slots' searches.
        passes: images that went through a network.
        seconds: that they took.
    """

    base: Architecture
    scores: Scores
    alone_ms: dict[str, float]
    epochs: tuple[Epoch, ...] = ()
    passes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TwoLevelSearcher:
    """Searches blocks, then networks of them.

    Attributes:
        schedule: Schedule of one slot's search.
        evolution: Evolution of networks; its rate of mutation is one site.
        spread: preferences of latency over accuracy go from 1 / spread to spread, evenly on a logarithmic scale.
        epochs: for which a network is trained that is asked about.
    """

    schedule: Schedule
    evolution: EvolutionSearcher
    spread: float = 9.0
    epochs: int = 5

    accepts = frozenset({"epochs", "proxy", "queries"})
    needs = SLOTS
    gives_weights: ClassVar[bool] = False  # each block was in a supernet of its own

    def __call__(self, problem: Problem) -> Found:
        """Search both levels.

        What is measured in turn is the archive, best first. Where even the slowest network of the blocks is predicted
        within the target, none uses it: then the best is repaired, along the scores of the blocks' laws.
        """
        library = self.library(problem)
        start, queries = perf_counter(), self.networks(problem, library)
        found = queries.found(library.seconds + perf_counter() - start)
        kept = tuple(query.architecture for query in queries.archive.best_first)
        uses = queries.limit_ms <= max(problem.predict()(list(queries.made())))
        return replace(
            found,
            scores=library.scores,
            trace=Trace(list(library.epochs)),
            passes=library.passes + queries.passes,
            candidates=kept if uses else (),
        )

    def library(self, problem: Problem) -> Library:
        """Search the block of every slot, each by its own preference."""
        space, slots = problem.space, list(problem.space.slots)
        (base,) = space.sample(1, np.random.default_rng(problem.seed))
        preferences = np.geomspace(1 / self.spread, self.spread, len(slots)).tolist()
        library = Library(base, np.zeros((len(space.sites), max(space.widths))), {})
        for slot, preference in zip(slots, preferences, strict=True):
            library = self._with_block(problem, library, slot, preference)
        return library

    def _with_block(self, problem: Problem, library: Library, slot: str, preference: float) -> Library:
        start, space = alone(problem.space, library.base, slot), problem.space
        searcher = GradientSearcher(
            law=partial(one_slot, start=start, slot=slot, ahead=self.ahead(problem, start, slot, preference)),
            weighted=lambda lam, reference_ms: Pareto(preference),
            targeted=lambda target_ms: Pareto(preference),
            schedule=self.schedule,
        )
        path = problem.checkpoint

        def tell(stage: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
            problem.progress(f"{stage} of {slot}", done, total, numbers)

        file = path and path.with_name(f"{path.stem}-{slot}{path.suffix}")
        found = searcher(replace(problem, checkpoint=file, progress=tell))
        rows = [i for i, site in enumerate(space.sites) if site.name in space.slots[slot]]
        scores, before = library.scores.copy(), len(library.epochs)
        scores[rows] = found.scores[rows]
        return Library(
            found.architecture,
            scores,
            library.alone_ms | {slot: float(problem.predict()([found.architecture])[0])},
            (*library.epochs, *(replace(epoch, epoch=before + epoch.epoch) for epoch in found.trace.epochs)),
            library.passes + found.passes,
            library.seconds + found.seconds,
        )

    def ahead(self, problem: Problem, start: Architecture, slot: str, preference: float) -> Tensor:
        """Return where the logits of a slot's law begin, ``(sites, K)``: the more towards latency, the less it counts.

        A direction that is an ascent of neither never leads to a slower block. So one that is to be accurate has to
        begin among the slow ones: some way up the slope of latency, of length 1 an option on average. The slot that
        prefers latency most begins where all options are as likely.
        """
        law = one_slot(problem.space, torch.Generator(), start=start, slot=slot)
        (logits,) = law.parameters()
        with torch.no_grad():
            logits.zero_()
        cost_ms = problem.price.as_cost(PredictorCost)(law.marginals()).sum()
        (slope,) = torch.autograd.grad(cost_ms, [logits])
        length = slope[slope != 0].square().mean().sqrt() if bool(slope.any()) else 1.0
        share = 0.5 - log(preference) / log(self.spread) / 2 if self.spread > 1 else 0.5
        return _AHEAD * share * slope / length

    def networks(self, problem: Problem, library: Library) -> OfBlocks:
        """Ask about networks of a library; where none is predicted within the target, about the fastest alone."""
        brief = replace(problem, training=replace(problem.training, epochs=self.epochs))
        queries = OfBlocks(brief, self.evolution.queries, library.base)
        replace(self.evolution, rate=1 / len(queries.free)).ask(queries)
        if not queries.known:
            queries.ask([queries.fastest()])
        return queries


class OfBlocks(Queries):
    """Accuracies of networks that are made of the blocks of one library.

    Args:
        problem, default: Arguments of :class:`Queries`.
        base: an architecture with these blocks.

    Attributes:
        archive: the networks asked about that no other beats.
        free: the sites of stages, by index.
    """

    def __init__(self, problem: Problem, default: int, base: Architecture) -> None:
        super().__init__(problem, default)
        inside = {name for names in problem.space.slots.values() for name in names}
        self.base = base
        self.free = [i for i, site in enumerate(problem.space.sites) if site.name not in inside]

    @property
    def archive(self) -> Archive:
        return Archive.of(self.known.values(), self.problem.task.metric)

    def settled(self, architecture: Architecture) -> Architecture:
        """Return the network of an architecture's stages and of the library's blocks."""
        return self.problem.space.changed(self.base, {i: max(architecture.choices[i], 0) for i in self.free})

    def draws(self, rng: np.random.Generator) -> Iterator[Architecture]:
        """Yield the networks predicted within the target, in random order; the first few are fast and slow alike."""
        task = self.problem.task
        made = [each for each in self.made(rng) if not isinstance(task, TableTask) or each in task.accuracies]
        if not made:
            return
        predicted_ms = self._predict(made)
        by_latency = np.argsort(predicted_ms, kind="stable")[: int((predicted_ms <= self.limit_ms).sum())]
        spread = (
            rng.random() + np.arange(len(by_latency)) * _GOLDEN
        ) % 1  # the first so many are even, whatever number
        for rank in np.argsort(np.argsort(spread)):
            yield made[int(by_latency[rank])]

    def fastest(self) -> Architecture:
        """Return the network of the least predicted latency."""
        made = list(self.made())
        return made[int(np.argmin(self._predict(made)))]

    def made(self, rng: np.random.Generator | None = None) -> Iterator[Architecture]:
        """Yield different networks that connect input and output in random order: all, or some of very many."""
        rng = rng or np.random.default_rng(self.problem.seed)
        widths = [self.problem.space.widths[i] for i in self.free]
        count = prod(widths)
        order = rng.permutation(count) if count <= _LISTED else rng.choice(count, _LISTED)
        seen: set[Architecture] = set()
        for options in zip(*np.unravel_index(order, widths), strict=True):
            made = self.problem.space.changed(self.base, dict(zip(self.free, map(int, options), strict=True)))
            if made not in seen and self.problem.space.is_connected(made):
                seen.add(made)
                yield made


def alone(space: SearchSpace, base: Architecture, slot: str) -> Architecture:
    """Return the network whose stages all take one slot; whatever else they choose is at its second option."""
    inside = {name for names in space.slots.values() for name in names}
    outside = [(i, site) for i, site in enumerate(space.sites) if site.name not in inside]
    return space.changed(base, {i: s.options.index(slot) if slot in s.options else 1 for i, s in outside})


def one_slot(
    space: SearchSpace, generator: torch.Generator, *, start: Architecture, slot: str, ahead: Tensor | float = 0.0
) -> Law:
    """Return the law over the sites of one slot, its logits ``ahead``, all others as they are in an architecture."""
    own = space.slots[slot]
    others = {name: option for name, option in space.taken(start).items() if name not in own}
    law = GumbelRao(space, generator, sites=own)
    with torch.no_grad():
        law.logits.add_(ahead)
    return Product(space, [law, Fixed(space, others)])
