"""What a search is asked for: every option once. A new option is one field here, and the place that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from msgspec import Meta

from .. import registry
from ..arguments import Count, NonNegative, Seed, Threads
from ..errors import InputRefusedError, UsageError
from ..profiler.plan import PLANS, named
from ..search.training import RECIPES, recipe
from ..search.training import Training as Recipe
from . import choices
from .option import Field, fields_of, groups_of, option, was_given
from .outcome import space_of

if TYPE_CHECKING:
    from ..devices.device import Place
    from ..spaces.space import SearchSpace
    from ..tasks.task import Task
else:
    Place = SearchSpace = Task = Any


def _check_task(spec: str) -> None:
    if not _is_table(spec):
        registry.check_name("task", spec)


def _check_accuracy(spec: str) -> None:
    if not _is_table(spec):
        raise UsageError(f"--accuracy {spec}; allowed: table:FILE:COLUMN, of networks of the space")


Latency = Annotated[float, Meta(gt=0)]
Networks = Annotated[int, Meta(ge=0, le=1_000_000)]


@dataclass(frozen=True)
class What:
    """What is searched, how, and where the result goes."""

    title: ClassVar[str] = "Search"

    space: str | SearchSpace = option(
        "Search space with its arguments, e.g. darts:layers=5,width=8.",
        unit="space",
        table=True,
        check=partial(registry.check_name, "space"),
    )
    out: Path = option("Directory for the result.", unit="folder", table=True, told=False)
    method: str = option(
        "Search method with its arguments; see tempograd methods.", "la_darts", unit="method", table=True,
        check=partial(registry.check_name, "method"),
    )  # fmt: skip
    proxy: str | None = option(
        "Smaller space of the same sites for the supernet.", None, unit="space", otherwise="the space itself",
        lacks="trains no supernet", scratch=True, check=partial(registry.check_name, "space"),
    )  # fmt: skip
    epochs: Count | None = option(
        "Epochs of the search.", None, unit="epochs", otherwise="the method's own", lacks="has no epochs"
    )
    queries: Count | None = option(
        "Networks whose accuracy may be asked for, by methods that ask.", None, unit="networks",
        otherwise="the method's own, or 100 on a table", table=True, lacks="asks for no accuracies",
    )  # fmt: skip
    supernet: Path | None = option(
        "File of a supernet that serves every target; written if it is not there.", None, unit="file",
        otherwise="a file in --out", lacks="trains no supernet that serves every target", told=False,
    )  # fmt: skip
    seed: Seed = option("Seed of everything random.", 0, unit="seed", table=True)
    overwrite: bool = option(
        "Search anew where the result of a search is; else it is kept.", False, table=True, told=False
    )


@dataclass(frozen=True)
class Target:
    """What is asked of the network that is found."""

    title: ClassVar[str] = "What the network must do"

    target_ms: tuple[Latency, ...] = option(
        "Latency that the network must not exceed, as measured; one result each.", (), unit="ms", example="1.5",
        table=True,
    )  # fmt: skip
    lam: NonNegative | None = option(
        "Instead of a target: the fixed weight of latency.", None, unit="weight", example="0.1"
    )


@dataclass(frozen=True)
class Pricing:
    """What tells the search how long a network takes."""

    title: ClassVar[str] = "What prices networks"

    predictor: Path | None = option(
        "Directory written by fit or kernels fit; other costs need none.",
        None,
        unit="folder",
        predicted=True,
        told=False,
    )
    cost: str | None = option(
        "What prices networks, in ms; or shares of several: 0.7*predictor+0.3*flops.", None, unit="cost",
        otherwise="what --predictor holds, else table", names=lambda: choices.COSTS,
        check=choices.shares_of,
    )  # fmt: skip
    upper_bound: bool = option("Follow the upper end of the predictor's interval.", False, table=True, predicted=True)


@dataclass(frozen=True)
class Timing:
    """Where and how networks are timed."""

    title: ClassVar[str] = "Timing on a device"

    device: str | Place = option(
        "Device with its arguments, e.g. local:threads=2.", "local", unit="device",
        check=partial(registry.check_name, "device"),
    )  # fmt: skip
    store: Path | None = option(
        "Store to measure into.", None, unit="file", otherwise="the predictor's own, else a file in --out", told=False
    )
    plan: str = option("How long each network is timed.", "standard", unit="plan", names=lambda: PLANS, check=named)


@dataclass(frozen=True)
class Training:
    """What networks learn, and how what was found is trained."""

    title: ClassVar[str] = "Training"

    task: str | Task = option(
        "With a path and arguments, such as cifar10:PATH,limit=5000; table:FILE:COLUMN; or FILE.py:NAME, of your own.",
        "digits", unit="task", table=True, names=lambda: registry.names("task"), check=_check_task,
    )  # fmt: skip
    accuracy: str | None = option(
        "In place of training: table:FILE:COLUMN, from which accuracies are learnt, to be predicted.", None,
        unit="column", otherwise="networks are trained", table=True, lacks="takes no predicted accuracies",
        check=_check_accuracy,
    )  # fmt: skip
    accuracy_rows: Count | None = option(
        "Rows of that table to learn accuracy from.", None, unit="rows", otherwise="900, or all there are", table=True
    )
    recipe: str = option(
        "How what was found is trained; or a file of yours that ends in .toml.", "small", unit="recipe",
        names=lambda: RECIPES, check=recipe, scratch=True,
    )  # fmt: skip
    train_epochs: Count | None = option(
        "Epochs of training what was found.", None, unit="epochs", otherwise="the recipe's own, 20 of small",
        scratch=True,
    )  # fmt: skip
    train_threads: Threads = option(
        "Threads of torch; one is fastest for small networks.", 1, unit="threads", told=False
    )
    compute: str = option("What torch trains networks on, cpu or cuda.", "cpu", unit="device")
    finalists: Count = option(
        "Train so many networks that use the target, keep the best on held-out images.", 1, unit="networks",
        lacks="finds one network, and ranks no others that could be trained beside it",
    )  # fmt: skip
    random: Networks = option("Networks of the random baseline, same budget each.", 4, unit="networks")


@dataclass(frozen=True)
class Table:
    """A table that others published, searched in place of a device."""

    title: ClassVar[str] = "Searching a published table"

    latency: str | None = option(
        "In place of a device: table:FILE:COLUMN, learnt from, and where the found network is looked up.", None,
        unit="column", table=True,
    )  # fmt: skip
    latency_rows: Count = option(
        "Rows of that table to learn latency from; all there are, beside images.",
        900,
        unit="rows",
        device=False,
        table=True,
    )
    where: tuple[str, ...] = option(
        "Only rows of the table where COLUMN=VALUE, e.g. device=pi4.", (), unit="condition", device=False, table=True
    )


@dataclass(frozen=True)
class SearchRequest:
    """Everything that a search is asked for.

    Attributes:
        given: the options that were given, with their values; all others have their defaults.
    """

    what: What
    target: Target
    pricing: Pricing
    timing: Timing
    training: Training
    table: Table
    given: Mapping[str, Any]

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Make a request of options by name; None, False and no values say nothing.

        Raises:
            UsageError: a name that is no option, or a value that its option does not allow.

        >>> request = SearchRequest.of(space="darts", out="result", target_ms=1.5, epochs=3)
        >>> request.target.target_ms, request.what.epochs, request.timing.plan
        ((1.5,), 3, 'standard')
        """
        return cls(**groups_of(cls, given), given={name: value for name, value in given.items() if was_given(value)})

    @property
    def on_table(self) -> bool:
        """Return whether a published table is searched, and no device."""
        return _is_table(self.training.task)

    @property
    def on_images(self) -> bool:
        """Return whether networks are trained, or their accuracies predicted, and latencies are of a table."""
        return self.table.latency is not None and not self.on_table

    def how(self) -> Recipe:
        """Return how networks are trained.

        Raises:
            InputRefusedError: the recipe's file cannot be read, or says something that is not allowed.
        """
        return recipe(self.training.recipe, epochs=self.training.train_epochs)

    @property
    def target_ms(self) -> float | None:
        """Return the target; the first of several."""
        return self.target.target_ms[0] if self.target.target_ms else None

    def for_target(self, target_ms: float, out: Path) -> Self:
        """Return the request for one of several targets, with a folder of its own."""
        target = replace(self.target, target_ms=(target_ms,))
        return replace(self, target=target, what=replace(self.what, out=out))

    def check(self) -> None:
        """Refuse what contradicts itself, as far as that needs no heavy import.

        Raises:
            UsageError: latency is no table, or missing beside a task that is one, or finalists without a target.
        """
        task, latency = self.training.task, self.table.latency
        if latency is not None and not _is_table(latency):
            raise UsageError(f"--latency {latency}; allowed: table:FILE:COLUMN, of networks of the space")
        if self.on_table and latency is None:
            raise UsageError(
                f"--task {task} knows no latencies: add --latency table:FILE:COLUMN, or search on images, with "
                "--predictor for a device"
            )
        if self.training.accuracy is None and self.training.accuracy_rows is not None:
            raise UsageError(
                f"--accuracy-rows {self.training.accuracy_rows}; allowed: with --accuracy table:FILE:COLUMN"
            )
        if self.training.finalists > 1 and not self.target.target_ms:
            raise UsageError(
                f"--finalists {self.training.finalists}; allowed: for networks that use a target: give --target-ms"
            )

    def check_aim(self) -> None:
        """Refuse a search that has neither a target nor a weight of latency, or both; or a target of what is no time.

        Raises:
            UsageError: with both options, and what they are.
        """
        targets, lam = self.target.target_ms, self.target.lam
        if bool(targets) == (lam is not None):
            said = f"--target-ms {' '.join(map(str, targets))} and --lam {lam} are both" if targets else "no target is"
            raise UsageError(
                f"{said} given; allowed: one of --target-ms, the latency in ms that the network must not exceed, and "
                "--lam, a fixed weight of latency in its place"
            )
        weighed = [name for name in choices.HEADS if name in choices.shares_of(self.pricing.cost or "predictor")]
        if targets and weighed:
            raise UsageError(
                f"--cost {self.pricing.cost} and --target-ms: {' and '.join(weighed)} can have a weight, and no "
                "target, which is in ms; give --lam"
            )

    def asked(self, cost: str) -> dict[str, Any]:
        """Return what a result is an answer to, for its document; ``cost`` is what prices networks."""
        from ..tasks.load import content_of

        values: dict[str, Any] = {}
        for one in SEARCH:
            value: Any = getattr(getattr(self, one.group), one.name)
            if one.option.told:
                values[one.name] = list(value) if isinstance(value, tuple) else value
        device, task = self.timing.device, self.training.task
        if self.training.accuracy is not None and not self.on_table:
            task = self.training.accuracy
        space = space_of(self.what.space)
        return values | {
            "space": space.spec,
            "weights": space.weights,
            "task": task if isinstance(task, str) else getattr(task, "name", type(task).__name__),
            "task_content": content_of(task),
            "device": device if isinstance(device, str) else device.fingerprint.id,
            "target_ms": self.target_ms,
            "cost": cost,
            "predictor": _digest(self.pricing.predictor),
            "recipe": self.how().told(),
            "train_epochs": self.how().epochs,
        }


def _digest(predictor: Path | None) -> str | None:
    """Return what tells a predictor from every other one, wherever its folder lies.

    Raises:
        InputRefusedError: the folder holds none.
    """
    if predictor is None:
        return None
    from ..predictor.document import DOCUMENT
    from ..predictor.kernels import FILE

    there = [path for name in (DOCUMENT, FILE) if (path := predictor / name).is_file()]
    if not there:
        raise InputRefusedError(f"no predictor at {predictor}; give a folder that `tempograd fit` wrote")
    return sha256(there[0].read_bytes()).hexdigest()[:12]


def _is_table(spec: Any) -> bool:
    return isinstance(spec, str) and spec.startswith("table:")


SEARCH: tuple[Field, ...] = tuple(fields_of(SearchRequest))
