"""Repair: from the derived architecture to one whose *measured* latency is within the target.

A predictor errs, so what it promised is measured. While nothing measured fits, greedy walks on the predictor, corrected
by the ratio seen on the network at hand, propose a few networks; then single changes, in order of predicted saving per
score lost. If what fits lies well below the target, walks up to it and single changes that use the room are tried. The
network kept is measured once more: the number that is reported is none by which it was chosen. Two processes differ by
a per cent or so, so what is kept leaves a small margin, unless nothing that uses the target does: then a network just
below it is kept if it stays below in three processes. On a noisy device intervals are as wide as the room itself: a
network whose interval reaches up to the target uses it as far as can be told, and is not traded for ever more of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from ..errors import TargetError
from ..measurement.measurement import Measurement
from ..shown import counted
from ..spaces.architecture import Architecture
from ..spaces.canonical import canonical
from ..spaces.space import SearchSpace
from .deriver import Scores, network_scores
from .neighbourhood import Predict, descend, lost_by, neighbours
from .progress import Progress, silent

Measure = Callable[[Sequence[Architecture]], list[Measurement]]

ROOM = 0.05  # a network within 5 % below the target uses it: the next process may say one or two less
_UNUSED = 0.07  # a network further below the target leaves it unused
_LEVEL = 0.002  # latencies nearer than this are one
MARGIN = 0.02  # what another process may measure above this one
_AIMS = (0.98, 0.965, 0.95, 0.9)  # of the target: where one round's walks end
_NEAR = 0.1  # of the target: networks of such latencies are mispredicted alike
_GROWTHS = 8  # rounds of trying to use the room
_CLIMB = 200  # steps of one walk up
_SAMPLE = 1000  # random networks looked through where nothing near uses the room
_SMALL = 20_000  # networks of a space that are all looked through there


@dataclass(frozen=True)
class Step:
    """One architecture measured on the way, in order."""

    architecture: Architecture
    predicted_ms: float
    measurement: Measurement


@dataclass
class Repair:
    """The state of one repair.

    Args:
        space: Space of the architectures.
        predict: latency in ms.
        measure: times architectures on the device.
        scores: ``(sites, K)`` of the law; zeros where there is none.
        target_ms: the budget.
        batch: architectures measured together.
        limit: architectures measured at most, confirmations apart.
        progress: told of every measurement, stage ``repair``.
    """

    space: SearchSpace
    predict: Predict
    measure: Measure
    scores: Scores
    target_ms: float
    batch: int = 4
    limit: int = 48
    progress: Progress = silent
    steps: list[Step] = field(default_factory=list[Step])
    _rejected: set[Architecture] = field(default_factory=set[Architecture])
    _outdated: list[Step] = field(default_factory=list[Step])
    _forms: dict[Architecture, str] = field(default_factory=dict[Architecture, str])

    def run(self, found: Architecture) -> Step:
        """Return an architecture that fits, with a measurement that had no part in choosing it.

        Raises:
            TargetError: nothing measured fits; the message names the cheapest.
        """
        self._take([found])
        spare: Step | None = None
        while True:
            try:
                kept = self._grow(self._shrink())
            except TargetError:
                if spare is None:
                    raise
                self.steps.remove(spare)
                self.steps.append(spare)  # what is kept comes last
                return spare
            confirmed = self.again(kept)
            if _within(confirmed, self.target_ms):
                calmer = _is_ok(confirmed) and not _is_ok(kept)
                if calmer and not self._uses(confirmed) and len(self.steps) < self.limit:
                    self._outdated.append(kept)  # without noise, it leaves room
                    continue
                if self._is_tight(kept) and self._fitting():  # what leaves a margin leaves far more than that
                    confirmed = self.again(kept)
                    if _within(confirmed, self.target_ms):
                        return confirmed
                    self._rejected.add(kept.architecture)
                    continue
                both_ms = (kept.measurement.latency_ms + confirmed.measurement.latency_ms) / 2
                if both_ms <= (1 - MARGIN) * self.target_ms or len(self.steps) >= self.limit:
                    return confirmed
                spare = spare or confirmed
            self._rejected.add(kept.architecture)

    def again(self, kept: Step) -> Step:
        """Measure a network once more."""
        (measurement,) = self.measure([kept.architecture])
        confirmed = Step(kept.architecture, kept.predicted_ms, measurement)
        self._add([confirmed])
        return confirmed

    def also(
        self, candidates: Iterator[Architecture], count: int, *, worth: Callable[[Architecture], float] | None = None
    ) -> list[Step]:
        """Measure candidates until ``count`` use the target, twice as many at a time; return those worth most.

        What fitted on the way is among them, the network kept is not; no two are one network under two names. Worth is
        the score unless told otherwise.
        """
        kept = self._form(self.steps[-1].architecture)
        found: dict[str, Step] = {}
        while len(found) < count and (fresh := self._new(candidates, 2 * count)):
            self._take(fresh)
            found = {self._form(step.architecture): step for step in self._fitting() if self._uses(step)}
            found.pop(kept, None)
        if worth is None:
            return self._by_score(list(found.values()))[:count]
        return sorted(found.values(), key=lambda step: -worth(step.architecture))[:count]

    def leaves_room(self, step: Step) -> bool:
        """Return whether a network lies so far below the target that it leaves it unused."""
        return step.measurement.latency_ms < (1 - _UNUSED) * self.target_ms and not self._uses(step)

    def correction(self) -> float:
        """Return measured over predicted near the target: the middle of many labels, as one is off by per cents."""
        near = [s for s in self._believed() if abs(s.measurement.latency_ms / self.target_ms - 1) <= _NEAR]
        return float(np.median([self._correction(step) for step in near or [self._nearest()]]))

    def _shrink(self) -> Step:
        """Measure ever cheaper networks until one fits; return the best that does."""
        while not (fitting := self._fitting()):
            current = min(self._live(), key=lambda step: step.measurement.latency_ms, default=self.steps[0])
            candidates = self._new([*self._walks(current), *self._changes(current)], self.batch)
            if not candidates or len(self.steps) >= self.limit:
                loose = [s for s in self._live() if s.measurement.latency_ms <= self.target_ms]
                if loose:
                    return self._by_score(loose)[0]
                raise TargetError(self._failure(current))
            self._take(candidates)
        return self._best(fitting)

    def _grow(self, kept: Step) -> Step:
        """Use what room the target leaves, by walks up to it and by single changes; return the best that fits.

        Where nothing that leaves a margin uses the target, it is the fastest that does and leaves none.
        """
        for _ in range(_GROWTHS):
            if self._uses(kept) or len(self.steps) >= self.limit:
                break
            candidates = self._new([*self._climbs(kept), *self._enlargements(kept), *self._returns()], self.batch)
            if not candidates and self._tight():
                break
            candidates = candidates or self._new([*self._elsewhere(), *self._overshoots(kept)], self.batch)
            if not candidates:
                break
            self._take(candidates)
            kept = self._best(self._fitting() or [kept])
        if not self.leaves_room(kept):
            return kept
        return min(self._tight(), key=lambda step: step.measurement.latency_ms, default=kept)

    def _uses(self, step: Step) -> bool:
        """Return whether a network uses the target: what room it leaves is small, or its interval takes it all."""
        if step.measurement.latency_ms >= (1 - ROOM) * self.target_ms:
            return True
        return not _is_ok(step) and (1 - MARGIN) * self.target_ms <= upper_ms(step.measurement) < inf

    def _tight(self) -> list[Step]:
        return [step for step in self._live() if self._is_tight(step)]

    def _is_tight(self, step: Step) -> bool:
        """Return whether a network is within the target without a margin."""
        upper = upper_ms(step.measurement)
        return upper <= self.target_ms and step.measurement.latency_ms > (1 - MARGIN) * self.target_ms

    def _climbs(self, kept: Step) -> list[Architecture]:
        """Return where greedy walks up from here are expected to end, just below the target or a little less."""
        correction = self._correction(self._nearest())
        ends: list[Architecture] = []
        for aim in _AIMS[:-1]:
            limit_ms = aim * self.target_ms / correction
            walk = descend(self.space, kept.architecture, self.predict, self.scores, sign=-1, limit_ms=limit_ms)
            ends += [architecture for architecture, _ in islice(walk, _CLIMB)][-1:]
        return ends

    def _enlargements(self, kept: Step) -> list[Architecture]:
        """Return the single changes that are expected to fit, those that use the target by score, then by latency."""
        near, expected = self._expected(kept)
        usable = [i for i in np.argsort(-expected, kind="stable") if expected[i] <= (1 - MARGIN) * self.target_ms]
        close = [i for i in usable if expected[i] >= (1 - ROOM) * self.target_ms]
        scores = network_scores(self.scores, self.space, near)
        close.sort(key=lambda i: -scores[i])
        return [near[i] for i in [*close, *usable]]

    def _overshoots(self, kept: Step) -> list[Architecture]:
        """Return the single changes that are expected to miss by little: where nothing else is left, they are tried."""
        near, expected = self._expected(kept)
        return [near[i] for i in np.argsort(expected, kind="stable") if expected[i] > (1 - MARGIN) * self.target_ms]

    def _returns(self) -> list[Architecture]:
        """Return where walks down from the network that misses the target by least are expected to meet it."""
        above = [step for step in self._believed() if step.measurement.latency_ms > self.target_ms]
        return self._walks(min(above, key=lambda step: step.measurement.latency_ms)) if above else []

    def _elsewhere(self) -> list[Architecture]:
        """Return networks that are expected to use the target, by score, and then those that may, without a margin.

        They are random, or of a small space all there are.
        """
        space, size = self.space, 10**self.space.size_log10
        drawn = list(space.enumerate()) if size <= _SMALL else space.sample(_SAMPLE, np.random.default_rng(0))
        share = self.predict(drawn) * self._correction(self._nearest()) / self.target_ms
        close = np.flatnonzero((share <= 1 - MARGIN) & (share >= 1 - ROOM))
        tight = np.flatnonzero(np.abs(share - 1) < MARGIN)
        scores = network_scores(self.scores, space, [drawn[i] for i in close])
        by_score = [drawn[close[i]] for i in np.argsort(-scores, kind="stable")]
        return [*by_score, *(drawn[i] for i in tight[np.argsort(share[tight], kind="stable")])]

    def _expected(self, kept: Step) -> tuple[list[Architecture], NDArray[np.float64]]:
        """Return the single changes that make a network slower, and how slow."""
        near = neighbours(self.space, kept.architecture)
        expected = self.predict(near) * self._correction(kept)
        slower = np.flatnonzero(expected > (1 + _LEVEL) * kept.measurement.latency_ms)
        return [near[i] for i in slower], expected[slower]

    def _nearest(self) -> Step:
        """Return the step measured nearest to the target: there the predictor's error is the one that counts."""
        return min(self._believed(), key=lambda step: abs(step.measurement.latency_ms - self.target_ms))

    def _believed(self) -> list[Step]:
        """Return the steps measured without noise, if there are any: one slow minute tells nothing of the predictor."""
        live = self._live()
        return [step for step in live if _is_ok(step)] or live

    def _take(self, architectures: Sequence[Architecture]) -> None:
        predicted = self.predict(architectures)
        measured = self.measure(architectures)
        rows = zip(architectures, predicted.tolist(), measured, strict=True)
        self._add([Step(architecture, ms, measurement) for architecture, ms, measurement in rows])

    def _add(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.steps.append(step)
            self.progress("repair", len(self.steps), self.limit, {"latency_ms": step.measurement.latency_ms})

    def _live(self) -> list[Step]:
        return [
            step
            for step in self.steps
            if isfinite(step.measurement.latency_ms)
            and step.architecture not in self._rejected
            and not any(step is old for old in self._outdated)
        ]

    def _fitting(self) -> list[Step]:
        """Return the steps whose whole interval is within the target, and that leave the margin."""
        most_ms = (1 - MARGIN) * self.target_ms
        return [
            step
            for step in self._live()
            if upper_ms(step.measurement) <= self.target_ms and step.measurement.latency_ms <= most_ms
        ]

    def _best(self, steps: Sequence[Step]) -> Step:
        """Return the highest score among those that use the target, else the one nearest to it."""
        if close := [step for step in steps if self._uses(step)]:
            return self._by_score(close)[0]
        return max(steps, key=lambda step: step.measurement.latency_ms)

    def _by_score(self, steps: Sequence[Step]) -> list[Step]:
        """Return steps, the highest score first; of equals the earlier one."""
        scores = network_scores(self.scores, self.space, [step.architecture for step in steps])
        return [steps[i] for i in np.argsort(-scores, kind="stable")]

    def _walks(self, current: Step) -> list[Architecture]:
        """Return where greedy walks from here are expected to meet the target, or a little less."""
        ends: list[Architecture] = []
        correction, last = self._correction(current), current.architecture
        aims = [aim * self.target_ms for aim in _AIMS]
        for architecture, predicted_ms in descend(self.space, current.architecture, self.predict, self.scores):
            while aims and predicted_ms * correction <= aims[0]:
                ends.append(architecture)
                aims.pop(0)
            last = architecture
            if not aims:
                break
        return [*ends, last]

    def _changes(self, current: Step) -> list[Architecture]:
        """Return the single changes in order of predicted saving per score lost, those that seem to cost last."""
        near = neighbours(self.space, current.architecture)
        saving = current.predicted_ms - self.predict(near)
        lost = lost_by(self.space, current.architecture, near, self.scores)
        order = np.argsort(-saving / np.maximum(lost, 1e-6), kind="stable")
        return [near[i] for i in order]

    def _new(self, architectures: Iterable[Architecture], n: int) -> list[Architecture]:
        """Return the first ``n`` networks that connect input and output, all different and not measured yet."""
        seen = {self._form(step.architecture) for step in self.steps}
        found: dict[str, Architecture] = {}
        for architecture in architectures:
            if self.space.is_connected(architecture) and self._form(architecture) not in seen:
                found.setdefault(self._form(architecture), architecture)
                if len(found) == n:
                    break
        return list(found.values())

    def _form(self, architecture: Architecture) -> str:
        """Return what two architectures have in common if they are one network: see `spaces.canonical`."""
        if architecture not in self._forms:
            self._forms[architecture] = canonical(self.space.network_graph(architecture))
        return self._forms[architecture]

    def _correction(self, step: Step) -> float:
        """Return measured over predicted of a network; 1 where it could not be measured."""
        latency_ms = step.measurement.latency_ms
        return latency_ms / step.predicted_ms if isfinite(latency_ms) and step.predicted_ms > 0 else 1.0

    def _failure(self, current: Step) -> str:
        latency_ms = current.measurement.latency_ms
        if not isfinite(latency_ms):
            return (
                f"none of {counted(len(self.steps), 'network')} could be measured (first: {current.architecture.key}, "
                f"{current.measurement.failure or current.measurement.verdict}); check the device"
            )
        return (
            f"no network within {self.target_ms:.4g} ms among {len(self.steps)} measured; the cheapest was "
            f"{current.architecture.key} with {latency_ms:.4g} ms. Ask for at least that, or a smaller space"
        )


def _within(step: Step, target_ms: float) -> bool:
    return step.measurement.failure is None and step.measurement.latency_ms <= target_ms


def _is_ok(step: Step) -> bool:
    return step.measurement.verdict == "ok"


def upper_ms(measurement: Measurement) -> float:
    """Return the upper end of a measurement's interval, infinite if it has none."""
    return measurement.estimate.high_ms if measurement.estimate else inf
