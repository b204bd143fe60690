"""Gradient search with no image: the loss is what a model predicts of the networks that the law draws.

The model takes the supernet's place in the loop, so that laws, forms and costs are those of any other gradient search.
It is asked about networks, drawn of the gates, and its slope goes straight through to these: between networks nobody
has seen what it would say. Hundreds of steps take seconds, over any number of networks.

A law ends in a neighbourhood. Its networks within the target are improved by single changes, as long as one is
predicted better and within the target; of a table, its own networks are the only ones that can be the answer.

References:
    Cai et al., *Once-for-All*, arXiv:1908.09791, section 3.3 (accuracy and latency both predicted; searched there by
    evolution); Bengio et al., arXiv:1308.3432 (straight through).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import islice
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...spaces.architecture import Architecture
from ...spaces.space import SearchSpace
from ...tasks.predicted import PredictedTask
from ...tasks.table import TableTask
from ..cost import PredictorCost
from ..deriver import Scores, draws
from ..method import Problem
from ..neighbourhood import neighbours, within

FloatArray = NDArray[np.float64]

PATHS = 8  # networks that a step asks the model about
_DRAWN = 256  # networks of the law, of which the best are improved
_IMPROVED = 4
_CHANGES = 60  # of one network at most
_KEPT = 12  # answers, best first
LIKELY = 0.5  # chance to be within the target, below which a network is no answer


class Surrogate(nn.Module):
    """A model of accuracy in a supernet's place: ``forward(images, gates)`` gives ``(1,)`` per cent.

    Args:
        task: with the model.
        seed: Seed of the networks that are drawn of the gates.
    """

    def __init__(self, task: PredictedTask, seed: int) -> None:
        super().__init__()
        self._model = PredictorCost(task.module, task.space, task.encoding)
        self._generator = torch.Generator().manual_seed(seed)
        self.unmoved = nn.Parameter(torch.zeros(()))  # an optimiser wants one

    def forward(self, images: Tensor, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the mean accuracy of networks drawn of gates ``site -> (K,)``; images are not looked at."""
        if all(bool((gate.detach() == 1).any()) for gate in gates.values()):
            return self._model(gates)[None]
        corners = {name: self._drawn(gate) for name, gate in gates.items()}
        return self._model(corners).mean()[None]

    def _drawn(self, gate: Tensor) -> Tensor:
        """Return ``(PATHS, K)`` one-hots drawn of a gate, with its gradient."""
        chances = gate.detach().clamp_min(0)
        index = torch.multinomial(chances, PATHS, replacement=True, generator=self._generator)
        return nn.functional.one_hot(index, len(gate)).to(gate.dtype) + (gate - gate.detach())

    def get_extra_state(self) -> Tensor:
        """Return where the draws are, for a search that goes on."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go to where another's draws were."""
        self._generator.set_state(state)


def asked_again(
    problem: Problem, task: PredictedTask, scores: Scores, derived: Architecture
) -> Callable[[float], Mapping[Architecture, float]]:
    """Return `answers` as a function of the correction, which works out each of them once."""
    return cache(partial(answers, problem, task, scores, derived))


def answers(
    problem: Problem, task: PredictedTask, scores: Scores, derived: Architecture, correction: float = 1.0
) -> dict[Architecture, float]:
    """Return networks that are likely within the target, or of the best balance at a weight of latency, best first.

    Each comes with its merit: predicted accuracy, less weighed latency; minus infinity where none is likely to fit.

    Args:
        problem: with the price, and a target or a weight.
        task: predicts accuracy.
        scores: ``(sites, K)`` of the law.
        derived: What is derived from the law.
        correction: networks take so many times what is predicted.
    """
    merit_of = partial(_merit, problem, task, correction)
    if isinstance(problem.task, TableTask):
        members = list(problem.task.accuracies)
        merit = merit_of(members)
        likely = {members[i]: float(merit[i]) for i in np.argsort(-merit, kind="stable") if merit[i] > -inf}
        return likely or {members[int(problem.predict()(members).argmin())]: -inf}
    rng = np.random.default_rng(problem.seed)
    pool = [derived, *islice(draws(scores, problem.space, rng), _DRAWN)]
    if not (merit_of(pool) > -inf).any():
        limit_ms = inf if problem.target_ms is None else problem.target_ms / correction
        pool += [a for a, _ in islice(within(problem.space, problem.predict(), limit_ms, rng), _IMPROVED)]
    pool = list(dict.fromkeys(pool))
    order = np.argsort(-merit_of(pool), kind="stable")
    found: dict[Architecture, None] = {}
    for start in order[:_IMPROVED]:
        found |= dict.fromkeys(_improved(problem.space, merit_of, pool[start]))
    ranked = list(found)
    merit = merit_of(ranked)
    best = np.argsort(-merit, kind="stable")
    return {ranked[i]: float(merit[i]) for i in best[:_KEPT] if merit[i] > -inf or i == best[0]}


def _improved(
    space: SearchSpace, merit_of: Callable[[list[Architecture]], FloatArray], start: Architecture
) -> list[Architecture]:
    """Return the networks on the way from one to another that no single change betters."""
    way, merit = [start], float(merit_of([start])[0])
    for _ in range(_CHANGES):
        near = [a for a in neighbours(space, way[-1]) if space.is_connected(a)]
        if not near:
            break
        merits = merit_of(near)
        best = int(merits.argmax())
        if not merits[best] > merit:
            break
        way, merit = [*way, near[best]], float(merits[best])
    return way


def _merit(problem: Problem, task: PredictedTask, correction: float, networks: list[Architecture]) -> FloatArray:
    """Return ``(n,)``: predicted accuracy, minus infinity where it is likely above the target; less weighed latency."""
    predicted_ms = correction * problem.predict()(networks)
    merit = task.predict([task.space.from_key(a.key) for a in networks])
    if problem.target_ms is None:
        return merit - (problem.lam or 0.0) * task.spread / 100 * predicted_ms / problem.reference_ms
    return np.where(problem.chance(predicted_ms) >= LIKELY, merit, -inf)
