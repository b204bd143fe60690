"""Searches one after the other over one space: what the first finds is given to the next.

A space says which of its sites are decided together (`SearchSpace.levels`): the cells first, say, then the graph that
they stand in. A level is searched with all other sites given, those of earlier levels as they were found. Its supernet
is of its own sites alone; its networks are priced in the whole space, so one predictor and one target hold for all.

The epochs are shared out among the levels, and their traces are one. One file holds the level that is searched, with
what was found before. A pipeline that is stopped, also between two levels, goes on from it.

References:
    Liu et al., *H-DAS*, arXiv:2101.04028 (cells, then stages).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from ...errors import InputRefusedError, OtherSearchError, UsageError
from ...spaces.level import Level
from ...spaces.space import SearchSpace
from ..deriver import Scores
from ..method import Found, Problem, Stage
from ..need import LEVELS, Need
from ..progress import Progress
from ..trace import Epoch, Trace
from .alternation import Alternation
from .checkpoint import carried_by
from .gradient import GradientSearcher


@dataclass(frozen=True)
class Pipeline:
    """A searcher for each level of a space.

    Attributes:
        searchers: by the level's name; the epochs of their schedules are not heeded.
        epochs: Epochs of all levels together.
        shares: Shares of the epochs, by the level's name; relative to each other, where a space has some of the levels
            only.
    """

    searchers: Mapping[str, GradientSearcher]
    epochs: int
    shares: Mapping[str, float]

    accepts = frozenset({"epochs", "finalists", "proxy"})

    @property
    def needs(self) -> Need:
        """Return that levels are needed which it has a searcher for."""
        return LEVELS & Need(
            f"levels among {', '.join(self.searchers)}",
            lambda space: all(level.name in self.searchers for level in space.levels),
        )

    def check(self, space: SearchSpace) -> None:
        """Raise UsageError if there are fewer epochs than levels."""
        self._scheduled(space.levels)

    def __call__(self, problem: Problem) -> Found:
        """Search level by level, going on from the checkpoint.

        Raises:
            UsageError: fewer epochs than levels.
            InputRefusedError: the checkpoint cannot be read.
            OtherSearchError: the checkpoint is of another search.
        """
        levels = problem.proxy.levels
        searchers = self._scheduled(levels)
        if len(levels) == 1 and not levels[0].before:
            return searchers[0](problem)
        settled = self._resumed(problem, searchers)
        while True:
            number = settled.level
            stage = settled.problem(problem, levels[number], self.epochs)
            found = searchers[number](stage)
            settled = settled.after(found, stage.proxy, problem.space)
            if number + 1 == len(levels):
                return replace(
                    found,
                    scores=settled.all_scores(found.scores, problem.space),
                    trace=settled.trace,
                    passes=settled.passes,
                    seconds=sum(epoch.seconds for epoch in settled.trace.epochs),
                )

    def _scheduled(self, levels: Sequence[Level]) -> list[GradientSearcher]:
        """Return the searchers of a space's levels, each with its part of the epochs, one at least."""
        if self.epochs < len(levels):
            names = ", ".join(level.name for level in levels)
            raise UsageError(f"epochs={self.epochs}; allowed: from {len(levels)}, one for each level: {names}")
        shares = [self.shares[level.name] for level in levels]
        found: list[GradientSearcher] = []
        left, rest = self.epochs, sum(shares)
        for n, (level, share) in enumerate(zip(levels, shares, strict=True)):
            others = len(levels) - n - 1
            wanted = round(left * share / rest) if rest else left
            own = min(max(1, wanted), left - others) if others else left
            searcher = self.searchers[level.name]
            found.append(replace(searcher, schedule=replace(searcher.schedule, epochs=own)))
            left, rest = left - own, rest - share
        return found

    def _resumed(self, problem: Problem, searchers: Sequence[GradientSearcher]) -> _Settled:
        """Return what the checkpoint says was found before the level that it is of."""
        recipe = json.loads(json.dumps([asdict(searcher.schedule) for searcher in searchers]))  # as a file has it
        carried = {} if problem.checkpoint is None else carried_by(problem.checkpoint, Alternation.kind)
        if not carried:
            return _Settled(recipe)
        try:
            settled = _Settled.of(carried)
        except (KeyError, TypeError) as error:
            raise InputRefusedError(
                f"{problem.checkpoint} carries nothing of a pipeline ({error}); delete it to start anew"
            ) from error
        if settled.recipe != recipe:
            assert problem.checkpoint is not None
            raise OtherSearchError(
                problem.checkpoint,
                f"{problem.checkpoint} is the {Alternation.kind} of another search: other schedules of its levels; "
                "delete it, or keep this search elsewhere: another --out",
            )
        return settled


@dataclass(frozen=True)
class _Settled:
    """What the levels before one have found.

    Attributes:
        recipe: schedules of all levels.
        level: the number of the one that is searched next.
        given: options by site.
        scores: Scores of the laws, by site.
        trace: Trace of the epochs before.
        passes: images that went through a network before.
        begins: nothing of the level was done.
    """

    recipe: Any
    level: int = 0
    given: Mapping[str, int] = field(default_factory=dict[str, int])
    scores: Mapping[str, list[float]] = field(default_factory=dict[str, list[float]])
    trace: Trace = field(default_factory=Trace)
    passes: int = 0
    begins: bool = False

    @classmethod
    def of(cls, carried: Mapping[str, Any]) -> _Settled:
        """Read what `carried` gave."""
        said: dict[str, Any] = {**carried, "trace": Trace.from_rows(carried["trace"])}
        return cls(**said)

    def carried(self) -> dict[str, Any]:
        """Return it JSON-ready, for a checkpoint."""
        return {
            "recipe": self.recipe, "level": self.level, "given": self.given, "scores": self.scores,
            "trace": self.trace.rows(), "passes": self.passes,
        }  # fmt: skip

    def problem(self, problem: Problem, level: Level, epochs: int) -> Problem:
        """Return the problem of a level."""
        given = {**level.before, **self.given}
        return replace(
            problem,
            proxy=level.space(given),
            progress=partial(_told, problem.progress, len(self.trace.epochs), epochs),
            stage=Stage(given, self.carried(), self.begins),
        )

    def after(self, found: Found, searched: SearchSpace, space: SearchSpace) -> _Settled:
        """Return what is settled once a level is."""
        taken, own = space.taken(found.architecture), {site.name: len(site.options) for site in searched.sites}
        rows = {site.name: row for site, row in zip(space.sites, found.scores, strict=True)}
        first = len(self.trace.epochs)
        epochs: list[Epoch] = [replace(epoch, epoch=first + epoch.epoch) for epoch in found.trace.epochs]
        return replace(
            self,
            level=self.level + 1,
            given={**self.given, **{name: taken[name] for name in own}},
            scores={**self.scores, **{name: rows[name][:width].tolist() for name, width in own.items()}},
            trace=Trace([*self.trace.epochs, *epochs]),
            passes=self.passes + found.passes,
            begins=True,
        )

    def all_scores(self, last: Scores, space: SearchSpace) -> Scores:
        """Return ``(sites, K)``: for every site the scores of the law that decided it."""
        scores = last.copy()
        for row, site in zip(scores, space.sites, strict=True):
            row[: len(site.options)] = self.scores[site.name]
        return scores


def _told(
    progress: Progress, before: int, whole: int, stage: str, done: int, total: int, numbers: Mapping[str, float]
) -> None:
    """Tell progress of a level as of all."""
    progress(stage, before + done, whole, numbers)
