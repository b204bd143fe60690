"""One supernet for every target: the largest network is trained first, then its parts; then the parts are searched.

A weight step of the second stage is a sandwich: the largest network learns the labels, the smallest and some random
ones learn what the largest says. The weights know nothing of the target, so they are trained once and kept in a file;
every target after that costs an evolution over networks that inherit them, BatchNorm statistics taken anew.

References:
    Cai et al., *Once-for-All*, arXiv:1908.09791 (largest first, distillation, evolution under the latency limit); Yu et
    al., *BigNAS*, arXiv:2003.11142 (sandwich rule, in-place distillation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...metric import ACCURACY, Metric
from ...spaces.architecture import Architecture
from ...spaces.circuit import counts
from ...spaces.digest import identity_of
from ...spaces.network import Network, inherit
from ...spaces.space import SearchSpace
from ...tasks.predicted import PredictedTask
from ...tasks.task import Task
from .. import processes
from ..deriver import Scores
from ..evaluator import Inherited
from ..law import Gates
from ..laws.uniform import Uniform
from ..method import Found, Problem
from ..need import ANY
from ..neighbourhood import descend
from ..progress import Progress, silent
from ..queries import Queries
from ..steps import check_finite, cosine, move, seeded, set_rate
from ..trace import Query
from .checkpoint import Resumable
from .imported import imported, load_imported
from .predicted import asked_again

_EXACT = 1e-3  # of accuracy: differences below it are none
_CHEAPER = 10  # times as many questions to a model as to a supernet, for a small part of the time


@dataclass(frozen=True)
class OneShotSchedule:
    """How the supernet is trained.

    Attributes:
        largest: epochs of the largest network alone.
        epochs: Epochs of all sizes, after that; with none of either, the weights stay those that the space gives.
        draws: random networks a step, beside the largest and the smallest.
        batch: images a step.
        rate: Learning rate of SGD at the start; it falls to 0 along a cosine in each stage.
        momentum, decay, clip: Momentum, weight decay and largest norm of a gradient, of SGD.
    """

    largest: int = 5
    epochs: int = 15
    draws: int = 2
    batch: int = 64
    rate: float = 0.05
    momentum: float = 0.9
    decay: float = 3e-4
    clip: float = 5.0

    def __post_init__(self) -> None:
        if self.largest < 0 or self.epochs < 0 or self.draws < 0 or self.batch < 2:
            raise UsageError(
                f"largest={self.largest}, epochs={self.epochs}, draws={self.draws}, batch={self.batch}; allowed: "
                "largest, epochs and draws from 0, batch from 2"
            )


class OneShot(Resumable):
    """The training of one supernet; :meth:`run` carries it to the end, saving after every epoch.

    Args:
        space: whose supernet it is.
        task: fitted to the space.
        schedule: stages and rates of the training.
        seed: seed of weights, order, augmentation and draws.
        compute: torch device.
    """

    kind = "supernet"
    stage = "supernet"

    def __init__(self, space: SearchSpace, task: Task, schedule: OneShotSchedule, *, seed: int, compute: str) -> None:
        super().__init__()
        processes.check_batch(schedule.batch)
        self.space, self.task, self.schedule, self.seed, self.compute = space, task, schedule, seed, compute
        with seeded(seed):
            self.supernet: Network = space.supernet().to(compute)
        self.law = Uniform(space)
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.SGD(
            self.supernet.parameters(), schedule.rate, schedule.momentum, weight_decay=schedule.decay
        )
        self.smallest, self.largest = (_one_hot(space, end) for end in ends(space, seed))
        self._done, self.passes = 0, 0
        self.where = "the supernet"  # for errors

    @property
    def done(self) -> int:
        """Return the number of epochs trained, of both stages."""
        return self._done

    @property
    def total(self) -> int:
        """Return the epochs of both stages."""
        return self.schedule.largest + self.schedule.epochs

    def run(self, path: Path | None, progress: Progress = silent) -> Network:
        """Train what is left, going on from a file that is there; return the supernet in eval mode.

        Raises:
            InputRefusedError: the file cannot be read.
            MismatchError: the file is of another supernet, an `OtherSearchError` where that was trained here.
            DivergedError: a loss is no number any more; the message names the step, the epoch before is kept.
        """
        with processes.synchronised(self.supernet):
            self.train(path, progress)
        return self.supernet.eval()

    def advance(self) -> dict[str, float]:
        return {"loss": self.epoch()}

    def epoch(self) -> float:
        """Train one epoch; return the mean cross-entropy of the largest network."""
        schedule, alone = self.schedule, self.done < self.schedule.largest
        first, length = (0, schedule.largest) if alone else (schedule.largest, schedule.epochs)
        steps, losses = self.task.weights.steps(schedule.batch), self.tallies.setdefault("loss", [])
        self.supernet.train()
        for index, images, labels in self.steps(self.task.weights, schedule.batch):
            self.where = f"the supernet's step {index + 1} of {steps}, epoch {self.done + 1} of {self.total}"
            set_rate(self.optimizer, cosine(schedule.rate, 0.0, (self.done - first + index / steps) / length))
            losses.append(self.step(images.to(self.compute), labels.to(self.compute), alone=alone))
        self._done += 1
        self.end_epoch()
        return fmean(losses)

    def step(self, images: Tensor, labels: Tensor, *, alone: bool) -> float:
        """Take one step: the largest network by the labels, the others by what it says, gradients summed."""
        self.optimizer.zero_grad()
        logits = self._forward(images, self.largest)
        loss = self.task.loss(logits, labels)
        mean = check_finite(processes.mean(loss.detach()), self.where)
        loss.backward()
        if not alone:
            told = logits.detach()
            drawn = [self.law.draw(self.generator, tau=1.0) for _ in range(self.schedule.draws)]
            for gates in (self.smallest, *drawn):
                learnt = self.task.distillation(self._forward(images, gates), told)
                check_finite(processes.mean(learnt.detach()), self.where)
                learnt.backward()
        processes.average_gradients(self.supernet.parameters())
        move(self.optimizer, self.schedule.clip)
        return float(mean)

    def _forward(self, images: Tensor, gates: Gates) -> Tensor:
        self.passes += len(images) * processes.count()
        return self.supernet(images, gates)

    def load(self, path: Path) -> None:
        """Take over what a file holds; of a supernet that others trained, the weights, and all is done.

        Raises:
            InputRefusedError: the file cannot be read.
            MismatchError: it is of another supernet.
        """
        if processes.by_first(lambda: imported(path)) is None:
            super().load(path)
            return
        load_imported(path, self.space, self.supernet)
        self._done = self.total

    def moving(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"supernet": self.supernet, "momentum": self.optimizer}

    def state(self) -> dict[str, Any]:
        return {"done": self.done, "passes": self.passes}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._done, self.passes = int(state["done"]), int(state["passes"])

    def identity(self) -> dict[str, Any]:
        task = self.task
        return {
            "space": identity_of(self.space), "task": [task.name, len(task.weights), list(task.inputs[0].shape)],
            "schedule": asdict(self.schedule), "seed": self.seed,
        }  # fmt: skip


class Asker(Protocol):
    """What searches by asking for scores, such as an evolution.

    Attributes:
        queries: networks that it asks about, where the problem does not say how many.
    """

    @property
    def queries(self) -> int: ...

    def ask(self, queries: Queries) -> None:
        """Use up the queries, or end where no network is left to ask about."""
        ...


@dataclass(frozen=True)
class OneShotSearcher:
    """Puts the pieces together for one problem.

    Attributes:
        schedule: Schedule of the supernet.
        evolution: over its networks; its queries are accuracies with inherited weights.
        trains: how a supernet is trained.
    """

    schedule: OneShotSchedule
    evolution: Asker
    trains: type[OneShot] = OneShot

    accepts = frozenset({"accuracy", "epochs", "finalists", "proxy", "queries", "supernet"})
    needs = ANY
    keeps_asked: ClassVar[bool] = False  # whether what was asked about is measured in turn before repair changes any

    def __call__(self, problem: Problem) -> Found:
        """Train the supernet, or take it from its file, and search its networks for this target."""
        start = perf_counter()
        if problem.accuracy is not None:
            return self._predicted(problem, problem.accuracy, start)
        proxy = problem.proxy
        task = problem.task.fitted(proxy)
        shot = self.trains(proxy, task, self.schedule, seed=problem.seed, compute=problem.compute)
        supernet = shot.run(problem.supernet or problem.checkpoint, problem.progress)

        ask = Inherited(proxy, supernet, task, seed=problem.seed, compute=problem.compute)
        queries = Queries(problem, self.evolution.queries, ask)
        queries.passes = shot.passes
        self.evolution.ask(queries)
        found = queries.found(perf_counter() - start)
        return replace(
            found,
            scores=effects(problem.space, found.queries, task.metric),
            candidates=found.candidates if self.keeps_asked else (),
            inherited=ask,
            begin=partial(inherit, supernet=supernet),
            deployed=ask.deployed,
        )

    def _predicted(self, problem: Problem, accuracy: PredictedTask, start: float) -> Found:
        """Search by predicted accuracy, as published: no supernet is asked, so there may be many more questions."""
        queries = Queries(replace(problem, task=accuracy), self.evolution.queries * _CHEAPER)
        self.evolution.ask(queries)
        found = queries.found(0.0)
        scores = effects(problem.space, found.queries, accuracy.metric)
        corrected = asked_again(problem, accuracy, scores, found.architecture)
        candidates = tuple(corrected(1.0))
        return replace(
            found, architecture=candidates[0], scores=scores, candidates=candidates, corrected=corrected, queries=(),
            seconds=perf_counter() - start,
        )  # fmt: skip


class InheritedSearcher(OneShotSearcher):
    """The same for networks that are deployed as they were asked about: the best score that fits as measured is kept.

    Only where the first dozen are measured above the target, another is made of the best by repair.
    """

    accepts = OneShotSearcher.accepts - {"accuracy", "finalists"}
    keeps_asked: ClassVar[bool] = True


def effects(space: SearchSpace, queries: Sequence[Query], metric: Metric = ACCURACY) -> Scores:
    """Return what every option adds to inherited scores, ``(sites, K)``, in units of what that leaves open.

    Repair and finalists move along it, as along the scores of a law: a supernet says of many networks which parts are
    good, not of two which is better. Ridge regression; OFA learns a network from architectures to accuracies instead.
    """
    from sklearn.linear_model import RidgeCV

    x, y = (
        space.encode([query.architecture for query in queries], "raw"),
        [metric.merit(query.score) for query in queries],
    )
    model = RidgeCV(np.logspace(-1, 3, 9)).fit(x, y)
    left = max(float(np.std(model.predict(x) - y)), _EXACT)
    scores = np.zeros((len(space.sites), max(space.widths)))
    scores[np.arange(max(space.widths)) < np.array(space.widths)[:, None]] = np.asarray(model.coef_) / left
    return scores


def ends(space: SearchSpace, seed: int = 0) -> tuple[Architecture, Architecture]:
    """Return the networks of the fewest and the most multiply-accumulates that greedy walks find."""
    table, flat = counts(space.graph, space.operations, "macs"), np.zeros((len(space.sites), max(space.widths)))
    drawn = space.sample(space.at_most(20), np.random.default_rng(seed))
    start = next(a for a in drawn if space.is_connected(a))

    def macs(architectures: Any) -> Any:
        return space.circuit.cost(table, space.gates(list(architectures))).double().numpy()

    smallest, largest = ([*descend(space, start, macs, flat, sign=sign)][-1][0] for sign in (1, -1))
    return smallest, largest


def _one_hot(space: SearchSpace, architecture: Architecture) -> Gates:
    return {site: gate[0] for site, gate in space.gates([architecture]).items()}
