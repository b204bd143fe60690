"""What a method is given, and what it returns.

A *method* is a recipe: a file in ``search/methods/`` that puts a law, a cost, a form, a searcher and a deriver together
under a paper's name. A *searcher* is the loop that does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..errors import MismatchError, UsageError
from ..predictor.interval import Conformal
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .deriver import Scores
from .evaluator import Training
from .moves import Predict
from .objective import PredictorCost
from .progress import Progress, silent
from .task import TableTask, Task
from .trace import Query, Trace


@dataclass(frozen=True)
class Problem:
    """Everything a searcher may look at.

    Attributes:
        space: whose networks are deployed and whose latency the predictor knows.
        proxy: a smaller space of the same sites, whose supernet is trained in place of the space's.
        module: the predictor, ``(b, d) -> (b,)`` ms.
        encoding: the encoding it was trained on.
        task: images; searchers see its parts ``weights`` and ``law`` only.
        target_ms: the budget; exactly one of ``target_ms`` and ``lam`` is set.
        lam: weight of latency relative to ``reference_ms``.
        reference_ms: predicted latency of the space's median network.
        training: how one network is trained from scratch.
        seed: of everything random.
        compute: torch device on which networks are trained, such as ``cpu`` or ``cuda``.
        checkpoint: file to save to after every epoch, and to go on from if it is there.
        supernet: file for weights that do not depend on the target: written once, and taken from there by a search
            for another target.
        queries: how many networks' accuracy may be asked for; None for the method's own number.
        conformal: residuals of the predictor, by which a prediction becomes a chance to be within the target.
        progress: told what is done.
    """

    space: SearchSpace
    proxy: SearchSpace
    module: nn.Module
    encoding: str | None
    task: Task | TableTask
    target_ms: float | None
    lam: float | None
    reference_ms: float
    training: Training
    seed: int = 0
    compute: str = "cpu"
    checkpoint: Path | None = None
    supernet: Path | None = None
    queries: int | None = None
    conformal: Conformal | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        if (self.target_ms is None) == (self.lam is None):
            raise UsageError(f"target_ms={self.target_ms}, lam={self.lam}; give exactly one of the two")
        if self.proxy.sites != self.space.sites or self.proxy.rules != self.space.rules:
            raise MismatchError(f"proxy {self.proxy.spec} has other sites than {self.space.spec}; use the same space")
        if self.queries is not None and self.queries < 1:
            raise UsageError(f"queries={self.queries}; allowed: from 1, the networks whose accuracy may be asked for")

    def predict(self) -> Predict:
        """Return the predictor as a function of architectures."""
        return predict_with(self.module, self.space, self.encoding)

    def chance(self, predicted_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(n,)``: how likely networks of these predictions are within the target; 1 where there is none."""
        if self.target_ms is None:
            return np.ones(len(predicted_ms))
        if self.conformal is None:
            return (predicted_ms <= self.target_ms).astype(float)
        return self.conformal.share_within(predicted_ms, self.target_ms)


@dataclass(frozen=True)
class Found:
    """What a searcher returns.

    Attributes:
        architecture: derived, not yet measured.
        scores: ``(sites, K)``, by which repair chooses what to change; zeros if the searcher has no law.
        trace: one row an epoch.
        passes: images that went forward and backward through a network.
        seconds: wall time.
        feed: how the law was shown to the predictor, if it was.
        queries: the accuracies asked for, in order.
        candidates: ``architecture`` and what to take where it is measured above the target, best first.
    """

    architecture: Architecture
    scores: Scores
    trace: Trace
    passes: int
    seconds: float
    feed: str | None = None
    queries: tuple[Query, ...] = ()
    candidates: tuple[Architecture, ...] = ()


@dataclass(frozen=True)
class Method:
    """A recipe: its name and the searcher that carries it out."""

    name: str
    find: Callable[[Problem], Found]


@lru_cache(maxsize=4)
def predict_with(module: nn.Module, space: SearchSpace, encoding: str | None) -> Predict:
    """Return a predictor as a function from architectures to ``(n,)`` ms, which remembers what it said."""
    import torch

    cost = PredictorCost(module, space, encoding)
    known: dict[Architecture, float] = {}

    def predict(architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        new = [architecture for architecture in dict.fromkeys(architectures) if architecture not in known]
        if new:
            with torch.no_grad():
                predicted = cost.predict(torch.from_numpy(space.encode(new, encoding)))
            known.update(zip(new, predicted.double().tolist(), strict=True))
        return np.array([known[architecture] for architecture in architectures], float)

    return predict
