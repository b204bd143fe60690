"""What a method is given, and what it returns.

A *method* is a recipe: a file in ``search/methods/`` that puts a law, a cost, a form, a searcher and a deriver together
under a paper's name. A *searcher* is the loop that does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ..errors import MismatchError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .deriver import Scores
from .evaluator import Training
from .moves import Predict
from .objective import PredictorCost
from .progress import Progress, silent
from .task import Task
from .trace import Trace


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
        progress: told what is done.
    """

    space: SearchSpace
    proxy: SearchSpace
    module: nn.Module
    encoding: str | None
    task: Task
    target_ms: float | None
    lam: float | None
    reference_ms: float
    training: Training
    seed: int = 0
    compute: str = "cpu"
    checkpoint: Path | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        if (self.target_ms is None) == (self.lam is None):
            raise UsageError(f"target_ms={self.target_ms}, lam={self.lam}; give exactly one of the two")
        if self.proxy.sites != self.space.sites or self.proxy.rules != self.space.rules:
            raise MismatchError(f"proxy {self.proxy.spec} has other sites than {self.space.spec}; use the same space")

    def predict(self) -> Predict:
        """Return the predictor as a function of architectures."""
        return predict_with(self.module, self.space, self.encoding)


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
    """

    architecture: Architecture
    scores: Scores
    trace: Trace
    passes: int
    seconds: float
    feed: str | None = None


@dataclass(frozen=True)
class Method:
    """A recipe: its name and the searcher that carries it out."""

    name: str
    find: Callable[[Problem], Found]


def predict_with(module: nn.Module, space: SearchSpace, encoding: str | None) -> Predict:
    """Return a predictor as a function from architectures to ``(n,)`` ms."""
    import torch

    cost = PredictorCost(module, space, encoding)

    def predict(architectures: object) -> np.ndarray:
        with torch.no_grad():
            rows = torch.from_numpy(space.encode(list(architectures), encoding))  # type: ignore[call-overload]
            return cost.predict(rows).double().cpu().numpy()

    return predict
