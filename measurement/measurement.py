"""A measurement is a value: raw rounds are kept, every statistic is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .label import Estimate, Reference, estimate
from .quantiles import binomial_cdf, binomial_quantile
from .quantities import ENERGY, MEMORY
from .rounds import Failure, Round

Verdict = Literal["ok", "noisy", "hot", "censored", "failed", "quarantined", "predicted"]


@dataclass(frozen=True)
class Statistics:
    """What every sample of a measurement says, in whatever state the device was: for comparison with other tools.

    Tail quantiles are upper bounds that hold with 99 % confidence, as MLPerf defines them: from 64 samples for the 90 %
    quantile and 662 for the 99 %, each of one inference; None with fewer.

    Attributes:
        samples: how many, of all valid rounds.
        wall_median_ms, wall_q05_ms, wall_min_ms: wall time.
        cpu_median_ms: thread CPU time.
        p90_ms, p99_ms: Tail quantiles of wall time.
    """

    samples: int
    wall_median_ms: float
    wall_q05_ms: float
    wall_min_ms: float
    cpu_median_ms: float
    p90_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> Statistics:
        """Take them from rounds; there must be one."""
        wall = np.sort(np.concatenate([r.wall_ms for r in rounds]))
        single = all(r.block == 1 for r in rounds)
        return cls(
            len(wall),
            float(np.median(wall)),
            float(wall[int(0.05 * len(wall))]),
            float(wall[0]),
            float(np.median(np.concatenate([r.cpu_ms for r in rounds]))),
            _tail_ms(wall, 0.90) if single else None,
            _tail_ms(wall, 0.99) if single else None,
        )


def _tail_ms(ordered: NDArray[np.float64], quantile: float) -> float | None:
    """Return the sample that a quantile is below with 99 % confidence, by MLPerf's early stopping."""
    beyond = binomial_quantile(0.01, len(ordered), 1 - quantile)
    beyond -= binomial_cdf(beyond, len(ordered), 1 - quantile) > 0.01
    return float(ordered[-1 - beyond]) if beyond >= 1 else None


@dataclass(frozen=True)
class Measurement:
    """One network measured on one device in one measuring process (two, if it had to wait for the gate).

    Attributes:
        key: what was measured: an architecture's key, or an operation's.
        space: the space's full spec.
        fingerprint_id: the device.
        plan: the plan's fields, its seed among them, so that the number can be reproduced.
        onnx_digest: SHA-256 of the ONNX bytes.
        clock: ``cpu``, ``wall`` or ``gpu``.
        rounds: raw, the invalid ones too.
        reference: in force when the network was closed; None if nothing was timed.
        environment: governor, clocks, load, boot id, isolation, providers per node, warm-up.
        failure: set if the network has no latency.
        replicate: 0, or the number of the blind duplicate.
        attempts: measuring processes in which it was tried; a failure that came again in the second is quarantined.
    """

    key: str
    space: str
    fingerprint_id: str
    plan: dict[str, Any]
    onnx_digest: str
    clock: str
    rounds: tuple[Round, ...] = ()
    reference: Reference | None = None
    environment: dict[str, Any] = field(default_factory=dict[str, Any])
    failure: Failure | None = None
    replicate: int = 0
    attempts: int = 1

    def __post_init__(self) -> None:
        levels = len(self.reference.levels_ms) if self.reference else 0
        if levels not in (0, len(self.rounds)):
            raise ValueError(f"{levels} levels for {len(self.rounds)} rounds; each has one, or none has")

    @cached_property
    def estimate(self) -> Estimate | None:
        """Return the label with its interval, without the between-process part."""
        if self.reference is None or not self.rounds:
            return None
        return estimate(self.rounds, self.reference, self.clock, coverage=float(self.plan.get("coverage", 0.95)))

    @cached_property
    def statistics(self) -> Statistics | None:
        """Return what all samples of the valid rounds say, None if there are none."""
        noise = self.reference.noise if self.reference else 0.0
        valid = [r for r in self.rounds if r.invalid(self.clock, noise) is None]
        return Statistics.of(valid) if valid else None

    @cached_property
    def beside_time(self) -> dict[str, float]:
        """Return energy of an inference (``energy_mj``) and memory (``memory_bytes``), those that the device told."""
        noise = self.reference.noise if self.reference else 0.0
        valid = [r for r in self.rounds if r.invalid(self.clock, noise) is None]
        energies_mj = [r.state[ENERGY] for r in valid if ENERGY in r.state]
        found = {ENERGY: float(np.median(energies_mj)) if energies_mj else 0.0}
        found[MEMORY] = float(self.environment.get(MEMORY) or 0)
        return {name: value for name, value in found.items() if value > 0}

    @property
    def latency_ms(self) -> float:
        """Return the headline number, NaN if there is none."""
        return self.estimate.latency_ms if self.estimate else float("nan")

    @cached_property
    def verdict(self) -> Verdict:
        """Return how far this measurement can be trusted."""
        if self.failure is not None:
            if self.failure.cause == "timeout":
                return "censored"
            return "quarantined" if self.attempts > 1 else "failed"
        if self.estimate is not None and self.estimate.precision <= float(self.plan["target"]):
            return "ok"
        hot = sum(any("thermal" in e or "throttle" in e for e in r.events) for r in self.rounds)
        return "hot" if 2 * hot > len(self.rounds) else "noisy"
