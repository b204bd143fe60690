"""What a method is given, and what it returns.

A *method* is a recipe: a file in ``search/methods/`` that puts a law, a cost, a form, a searcher and a deriver together
under a paper's name. A *searcher* is the loop that does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .. import registry
from ..errors import MismatchError, UsageError
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from ..tasks.predicted import PredictedTask
from ..tasks.table import TableTask
from ..tasks.task import Task
from .deriver import Scores
from .evaluator import Trained, train
from .need import ANY, Need
from .neighbourhood import Predict
from .price import Price
from .progress import Progress, silent
from .start import Begin
from .trace import Query, Trace
from .training import Training

Deploy = Literal["trained", "inherited"]


@dataclass(frozen=True)
class Stage:
    """Where a problem stands among those that a pipeline solves one after the other.

    Attributes:
        given: options of the space, by their index, at the sites that this stage does not decide.
        carried: what earlier stages left, JSON-ready; kept in the checkpoint.
        begins: nothing of this stage was done: what is at the checkpoint's place is of the stage before.
    """

    given: Mapping[str, int]
    carried: Mapping[str, Any]
    begins: bool


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What is the same whatever is searched.

    Attributes:
        training: how one network is trained from scratch, the one found and every random one.
        seed: Seed of everything random.
        compute: torch device on which networks are trained, such as ``cpu`` or ``cuda``.
        checkpoint: file to save to after every epoch, and to go on from if it is there.
        supernet: file for weights that do not depend on the target: written once, and taken from there by a search
            for another target.
        queries: how many networks' accuracy may be asked for; None for the method's own number.
        trainings: folder where every training from scratch is saved, and gone on from.
    """

    training: Training = field(default_factory=Training)
    seed: int = 0
    compute: str = "cpu"
    checkpoint: Path | None = None
    supernet: Path | None = None
    queries: int | None = None
    trainings: Path | None = None


@dataclass(frozen=True)
class Problem(Conditions):
    """Everything a searcher may look at, besides the conditions.

    Attributes:
        space: whose networks are deployed and whose latency the predictor knows.
        proxy: a smaller space of the same sites, whose supernet is trained in place of the space's; in a stage of a
            pipeline, a space of the sites that are decided there.
        price: what networks of the space cost.
        task: images; searchers see its parts ``weights`` and ``law`` only.
        target_ms: the budget; exactly one of ``target_ms`` and ``lam`` is set.
        lam: weight of latency relative to ``reference_ms``.
        reference_ms: predicted latency of the space's median network.
        progress: told what is done.
        begin: gives a network the supernet's weights, once there is one, for recipes that start with these.
        stage: Stage of a pipeline; None for a problem that is solved at once.
        accuracy: predicts how good networks are, in place of training them for it; None where nothing does.
    """

    space: SearchSpace
    proxy: SearchSpace
    price: Price
    task: Task | TableTask
    target_ms: float | None
    lam: float | None
    reference_ms: float
    progress: Progress = silent
    begin: Begin | None = None
    accuracy: PredictedTask | None = None
    stage: Stage | None = None

    def __post_init__(self) -> None:
        if (self.target_ms is None) == (self.lam is None):
            raise UsageError(
                f"target_ms={self.target_ms} (--target-ms), lam={self.lam} (--lam); give exactly one of the two"
            )
        given = self.given
        sites = tuple(site for site in self.space.sites if site.name not in given)
        rules = tuple(rule for rule in self.space.rules if rule.sites[0] not in given)
        if self.proxy.sites != sites or self.proxy.rules != rules:
            raise MismatchError(f"proxy {self.proxy.spec} has other sites than {self.space.spec}; use the same space")
        if self.queries is not None and self.queries < 1:
            raise UsageError(f"queries={self.queries}; allowed: from 1, the networks whose accuracy may be asked for")

    @property
    def given(self) -> Mapping[str, int]:
        """Return the options that are not searched, by site."""
        return {} if self.stage is None else self.stage.given

    @property
    def searched(self) -> SearchSpace:
        """Return the space of the sites that are searched: the space itself, but in a stage of a pipeline."""
        return self.proxy if self.given else self.space

    def predict(self) -> Predict:
        """Return what networks cost, as a function of architectures."""
        return self.price.predict

    def trained(self, architecture: Architecture, fitted: Task, training: Training | None = None) -> Trained:
        """Return a network trained as the one found will be, taught by the space's teacher if the recipe names none.

        Args:
            architecture: Architecture of the space.
            fitted: the task, fitted to the space.
            training: another recipe than the problem's.
        """
        recipe = training or self.training
        return train(
            architecture, self.space, fitted, recipe, seed=self.seed, compute=self.compute, progress=self.progress,
            folder=self.trainings, begin=self.begin, teacher=None if recipe.teacher else self.space.teacher(),
        )  # fmt: skip

    def chance(self, predicted_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(n,)``: how likely networks of these predictions are within the target; 1 where there is none."""
        return self.price.chance(predicted_ms, self.target_ms)


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
        repairable: whether repair goes on from a candidate that leaves room, by ``scores``, or where none fits.
        corrected: gives the candidates, with what each is worth, where networks take so many times what is predicted.
        inherited: scores of architectures of the problem's space with the supernet's weights, in order, where these
            rank networks.
        begin: gives a network of the proxy the supernet's weights, where one was trained.
        deployed: gives a network of the proxy as it is kept where none is trained anew, with its scores.
    """

    architecture: Architecture
    scores: Scores
    trace: Trace
    passes: int
    seconds: float
    feed: str | None = None
    queries: tuple[Query, ...] = ()
    candidates: tuple[Architecture, ...] = ()
    repairable: bool = False
    corrected: Callable[[float], Mapping[Architecture, float]] | None = None
    inherited: Callable[[Sequence[Architecture]], Iterable[float]] | None = None
    begin: Begin | None = None
    deployed: Callable[[Architecture], Trained] | None = None


class Searcher(Protocol):
    """The loop that does a method's work.

    Attributes:
        accepts: what of a search's settings it heeds, where not every method does: ``epochs``, ``proxy`` (it trains a
            supernet), ``supernet`` (one that serves every target), ``queries`` (it asks for accuracies), ``accuracy``
            (a model may predict these).
        needs: what its pieces, such as a law, need of a space.
    """

    @property
    def accepts(self) -> frozenset[str]: ...

    @property
    def needs(self) -> Need: ...

    def __call__(self, problem: Problem) -> Found:
        """Return what was found for a problem."""
        ...


@runtime_checkable
class ChecksSpace(Protocol):
    """A searcher that can say before any work that its own settings do not fit a space."""

    def check(self, space: SearchSpace) -> None:
        """Raise UsageError, with what is allowed, if they do not."""
        ...


@dataclass(frozen=True)
class Method:
    """A recipe: its name and the searcher that carries it out.

    Attributes:
        name: as in the registry.
        find: the searcher.
        paper: where it is from.
        needs_too: what it needs of a space beside what its searcher does.
        pieces: its law, objective and deriver, in words.
        first_for: the case in which it is the one to begin with; empty where another one is.
        weighs, targets: whether it takes a weight of latency, and a target.
        table_only: whether the cost must be a table or a counter: its constraint is linear programming.
        home: the space of its paper, by its name: where `tempograd.testing` tries it. Empty: a small one that it fits.
        deploys: whether the network found is ``trained`` from scratch, or kept with the supernet's weights,
            ``inherited``; then its searcher gives what is ``deployed``, and random networks inherit alike.
    """

    name: str
    find: Searcher
    paper: str = ""
    needs_too: Need = ANY
    pieces: dict[str, str] = field(default_factory=dict[str, str])
    first_for: str = ""
    weighs: bool = True
    targets: bool = True
    table_only: bool = False
    home: str = ""
    deploys: Deploy = "trained"

    @property
    def accepts(self) -> frozenset[str]:
        """Return which settings its searcher heeds.

        Weights that are kept want images for their statistics, and a supernet of the very space.
        """
        return self.find.accepts - ({"accuracy", "proxy"} if self.deploys == "inherited" else set())

    @property
    def trains_supernet(self) -> bool:
        """Return whether it trains a supernet of its own."""
        return "proxy" in self.find.accepts

    @property
    def gives_weights(self) -> bool:
        """Return whether the network found may begin with weights of its supernet."""
        return bool(getattr(self.find, "gives_weights", self.trains_supernet))

    @property
    def or_trained(self) -> str:
        """Return the end of a sentence on what to leave out: how else to say it, where the recipe leaves it open."""
        known = self.name in registry.names("method")
        takes = signature(registry.load("method", self.name)).parameters if known else ()
        return ", or say deploy=trained" if "deploy" in takes else ""

    @property
    def needs(self) -> Need:
        """Return what it needs of a space, its searcher's pieces included."""
        return self.find.needs & self.needs_too

    def check(
        self, space: SearchSpace, *, target_ms: float | None, lam: float | None, proxy: SearchSpace | None = None
    ) -> None:
        """Raise UsageError, with what is allowed, unless the method can search this space in this mode."""
        self.needs.check(space, self.name)
        if isinstance(self.find, ChecksSpace):
            self.find.check(space if proxy is None else proxy)
        if lam is not None and not self.weighs:
            raise UsageError(f"{self.name} knows no weight of latency; give --target-ms in place of --lam")
        if target_ms is not None and not self.targets:
            raise UsageError(f"{self.name} knows no target; give --lam in place of --target-ms")
        if self.deploys == "inherited" and proxy is not None and proxy.spec != space.spec:
            raise UsageError(
                f"proxy {proxy.spec}: {self.name} keeps the supernet's weights, which must be those of {space.spec}; "
                f"leave the proxy out{self.or_trained}"
            )
