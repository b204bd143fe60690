"""Candidates: what a search that asked for accuracies names is measured in turn, until one is within the target.

A latency predictor is off alike on networks that are alike. So what the measured ones took, over what was predicted of
them, corrects it, up or down, and a search that can be asked again names others by that: a miss costs a measurement or
two, where repair changes one choice after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite

import numpy as np

from ..spaces.architecture import Architecture
from .method import Found
from .neighbourhood import Predict
from .progress import Progress, silent
from .repair import MARGIN, ROOM, Measure, Step, upper_ms

LIMIT = 12  # networks that are measured before repair has to help, confirmations apart


@dataclass
class Candidates:
    """The state of one turn through the candidates of a search.

    Args:
        found: with its candidates, and what they are where predictions are corrected, if the search can tell.
        predict: latency in ms.
        measure: times architectures on the device.
        target_ms: the budget.
        progress: told of every measurement, stage ``candidates``.

    Attributes:
        steps: every measurement, in order.
    """

    found: Found
    predict: Predict
    measure: Measure
    target_ms: float
    progress: Progress = silent
    steps: list[Step] = field(default_factory=list[Step])
    _first: dict[Architecture, Step] = field(default_factory=dict[Architecture, Step])
    _merits: dict[Architecture, float] = field(default_factory=dict[Architecture, float])

    def run(self) -> Step | None:
        """Return the best that fits, with a measurement that had no part in choosing it; None: none fits.

        It leaves a margin for what another process may measure where something else can be had: the search can be asked
        again, or repair can change one of them.
        """
        strict = self.found.corrected is not None or self.found.repairable
        failed, spare = set[Architecture](), None
        while True:
            best = self._best(failed)
            while not (best and self._uses(best)) and len(self._first) < LIMIT and (network := self._next(best)):
                self._first[network] = self._taken(network)
                self.progress(
                    "candidates", len(self._first), LIMIT, {"latency_ms": self.steps[-1].measurement.latency_ms}
                )
                best = self._best(failed)
            if best is None:
                if spare is not None:
                    self.steps.remove(spare)
                    self.steps.append(spare)  # what is kept comes last
                return spare
            confirmed = self._taken(best.architecture)
            if confirmed.measurement.latency_ms <= self.target_ms:
                both_ms = (best.measurement.latency_ms + confirmed.measurement.latency_ms) / 2
                if not strict or both_ms <= (1 - MARGIN) * self.target_ms:
                    return confirmed
                if self.found.corrected is not None:
                    spare = spare or confirmed
            failed.add(best.architecture)

    def _taken(self, network: Architecture) -> Step:
        self.steps.append(Step(network, float(self.predict([network])[0]), *self.measure([network])))
        return self.steps[-1]

    def _best(self, failed: set[Architecture]) -> Step | None:
        """Return the best network that fits with its whole interval."""
        fits = [a for a, s in self._first.items() if a not in failed and upper_ms(s.measurement) <= self.target_ms]
        return self._first[max(fits, key=self._merits.__getitem__)] if fits else None

    def _uses(self, step: Step) -> bool:
        return self.found.corrected is None or upper_ms(step.measurement) >= (1 - ROOM) * self.target_ms

    def _next(self, best: Step | None) -> Architecture | None:
        """Return the best network that was not measured; None where ``best`` is better."""
        least = -inf if best is None else self._merits[best.architecture]
        for network, merit in self._asked().items():
            if network not in self._first and (merit > least or not self._first):
                self._merits[network] = merit
                return network
        return None

    def _asked(self) -> Mapping[Architecture, float]:
        """Return the candidates by what was measured so far, best first, with what each is worth."""
        if self.found.corrected is None:
            return {network: -float(n) for n, network in enumerate(self.found.candidates)}
        over = [upper_ms(step.measurement) / step.predicted_ms for step in self._first.values()]
        over = [each for each in over if isfinite(each)]
        return self.found.corrected(float(np.median(over)) / (1 - MARGIN) if over else 1.0)
