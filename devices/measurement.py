"""A measurement is a value: raw rounds are kept, every statistic is derived from them.

One *round* of a network, in one measuring process::

    [ 1 discarded + 2 sentinel runs ] [ 1 discarded run + burst of 10-30 ms ] [ 1 discarded + 2 sentinel runs ]
            sentinel_before_ms                wall_ms, cpu_ms                        sentinel_after_ms

A *sentinel* is a small fixed network run by the same runtime in the same process; in every fourth round those of the
other kinds are run too, outside what counts for the round. A round counts as taken in the
device's reference state (it is *gated*) if its sentinel reading is within 10 % of the fast end of recent readings.
The label is the median of the gated rounds; where there are too few, rounds are corrected by the sentinel's drift.

References:
    Abedi and Brecht, *Conducting repeatable experiments in highly variable cloud computing environments*, ICPE 2017.
    Maricq et al., *Taming performance variability*, OSDI 2018 (order-statistic intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import exp, hypot, log
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .meters import ENERGY, MEMORY
from .quantiles import binomial_cdf, binomial_quantile, median_rank, t_quantile

Verdict = Literal["ok", "noisy", "hot", "censored", "failed", "quarantined"]
Path = Literal["gated", "ratio", "plain"]
Cause = Literal["crashed", "timeout", "oom", "refused", "invalid_output", "fallback"]

GATE = 1.10  # a round is gated if its sentinel reading is at most this multiple of the fast end
MIN_GATED = 3  # gated rounds that make a label without any correction
MIN_COMMON_SHARE = 0.5  # below this, the sentinel does not explain the drift and must not correct it
BETA_SPREAD = 0.1  # least standard deviation of elasticities around the device's: 0.74 to 1.16 were seen on one machine
BRACKET_TOLERANCE = 0.08  # |ln(before / after)| that a round may show whatever the sentinel's own noise


@dataclass(frozen=True)
class Failure:
    """Why a network has no latency: a fact about that network on that device.

    Attributes:
        cause: what happened.
        phase: ``load``, ``warm_up`` or ``run``.
        signal: the signal that ended the process, if one did.
        detail: one line for a person; the last lines of stderr where a process died.
        elapsed_ms: for a time-out, the time after which it was stopped: the latency is above it.
    """

    cause: Cause
    phase: str
    signal: int | None = None
    detail: str = ""
    elapsed_ms: float | None = None


@dataclass(frozen=True)
class Round:
    """One round of one network. Times in ms; ``started_s`` is seconds since the epoch.

    Attributes:
        sentinel_before_ms, sentinel_after_ms: by the label's clock: CPU time for one thread, else wall time; on a GPU
            its own.
        wall_ms, cpu_ms: per inference, one for each sample of the burst, the discarded first run left out.
        gpu_ms: the same by the GPU's own events; empty on a CPU.
        block: inferences in one sample: more than one where they are too short for the clock.
        other_sentinels_ms: kind -> reading of the other sentinels, in every fourth round.
        state: what the device said of itself, by name with unit, such as ``frequency_mhz`` and ``temperature_c``.
        involuntary_switches, run_queue_wait_ms: interference during the burst.
        events: clock or thermal events that fell into the round, by name.
    """

    key: str
    started_s: float
    sentinel_before_ms: tuple[float, ...]
    sentinel_after_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    involuntary_switches: int = 0
    run_queue_wait_ms: float = 0.0
    events: tuple[str, ...] = ()
    block: int = 1
    other_sentinels_ms: dict[str, float] = field(default_factory=dict[str, float])
    state: dict[str, float] = field(default_factory=dict[str, float])
    gpu_ms: tuple[float, ...] = ()

    @property
    def sentinel_ms(self) -> float:
        """Return the round's sentinel reading: the fastest of its runs."""
        return min(*self.sentinel_before_ms, *self.sentinel_after_ms)

    def value_ms(self, clock: str) -> float:
        """Return the lower quartile of thread CPU time (``cpu``) or wall time (``wall``), or the median (``gpu``).

        Raises:
            UsageError: ``gpu``, of a round that was taken on a CPU.
        """
        if clock == "gpu":
            if not self.gpu_ms:
                raise UsageError(f"the round of {self.key!r} holds no GPU times; its clock is cpu or wall")
            return float(median(self.gpu_ms))
        ordered = sorted(self.cpu_ms if clock == "cpu" else self.wall_ms)
        below, rest = divmod(
            len(ordered) - 1, 4
        )  # a data set asks this of a million short bursts: numpy takes 30 x longer
        above = ordered[min(below + 1, len(ordered) - 1)]
        return ordered[below] + (above - ordered[below]) * rest / 4

    def invalid(self, clock: str, sentinel_noise: float) -> str | None:
        """Return why this round is left out of the level, or None."""
        drift = abs(log(min(self.sentinel_before_ms) / min(self.sentinel_after_ms)))
        if drift > max(BRACKET_TOLERANCE, 3 * sentinel_noise):
            return "sentinel_bracket"
        if clock == "wall" and self.run_queue_wait_ms > 0.1 * self.block * sum(self.wall_ms):
            return "interference"
        return self.events[0] if self.events else None


@dataclass(frozen=True)
class Reference:
    """The state of the device that labels refer to, from recent sentinel readings and a calibration.

    Attributes:
        sentinel_ms: T_ref, the median of the gated sentinel readings.
        gate_ms: readings at or below this are gated.
        beta: elasticity of a network's time on the sentinel's, shrunk to 1.
        noise: standard deviation of ln(before/after) of the sentinel.
        common_share: R2 of ln(network) on ln(sentinel) in calibration; what the sentinel explains.
        calibration: id of the calibration in force.
        beta_spread: standard deviation of elasticities from network to network.
    """

    sentinel_ms: float
    gate_ms: float
    beta: float = 1.0
    noise: float = 0.0
    common_share: float = 1.0
    calibration: str = ""
    beta_spread: float = BETA_SPREAD

    @classmethod
    def of(
        cls,
        readings_ms: Sequence[float],
        *,
        beta: float = 1.0,
        noise: float = 0.0,
        common_share: float = 1.0,
        calibration: str = "",
        beta_spread: float = BETA_SPREAD,
    ) -> Reference:
        """Take the reference state from sentinel readings: the gate is 1.10 x their 5 % quantile."""
        readings = np.asarray(readings_ms, float)
        gate = GATE * float(np.quantile(readings, 0.05))
        fast_ms = float(np.median(readings[readings <= gate]))
        return cls(fast_ms, gate, beta, noise, common_share, calibration, beta_spread)


@dataclass(frozen=True)
class Estimate:
    """A label and how far it can be trusted.

    Attributes:
        latency_ms: the headline, in the reference state.
        low_ms, high_ms: interval of the median over rounds, 95 % unless asked otherwise, widened by ``repeatability``
            and, for a ratio, by what is not known of the network's elasticity.
        path: ``gated`` (undivided), ``ratio`` (corrected by the sentinel) or ``plain``.
        rounds, gated: valid rounds, and those of them that passed the gate.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    path: Path
    rounds: int
    gated: int

    @property
    def half_width(self) -> float:
        """Return the interval's half width as a share of the latency."""
        return max(self.high_ms - self.latency_ms, self.latency_ms - self.low_ms) / self.latency_ms


@dataclass(frozen=True)
class Statistics:
    """What every sample of a measurement says, in whatever state the device was: for comparison with other tools.

    Tail quantiles are upper bounds that hold with 99 % confidence, as MLPerf defines them: from 64 samples for the 90 %
    quantile and 662 for the 99 %, each of one inference; None with fewer.

    Attributes:
        samples: how many, of all valid rounds.
        wall_median_ms, wall_q05_ms, wall_min_ms: wall time.
        cpu_median_ms: thread CPU time.
        p90_ms, p99_ms: of wall time.
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


def order_interval(values: Sequence[float], coverage: float = 0.95) -> tuple[float, float]:
    """Return the order-statistic interval of the median, with at least this coverage whatever the distribution.

    Too few values for that (fewer than 6 at 95 %) give the interval of Student's t on the logarithms instead, and one
    value alone gives ``(0, inf)``: it says nothing of its own spread.

    >>> order_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    (1.0, 6.0)
    >>> order_interval([1.0])
    (0.0, inf)
    """
    ordered = sorted(values)
    n = len(ordered)
    rank = _rank(n, coverage)
    if rank:
        return float(ordered[rank - 1]), float(ordered[n - rank])
    if n < 2:
        return 0.0, float("inf")
    logs = np.log(ordered)
    # sqrt(pi / 2): how much wider the median spreads than the mean, for normal values
    half = _quantile_of_t(n, coverage) * float(np.sqrt(np.pi / 2) * logs.std(ddof=1) / np.sqrt(n))
    level = float(np.median(logs))
    return min(ordered[0], float(np.exp(level - half))), max(ordered[-1], float(np.exp(level + half)))


_rank = lru_cache(maxsize=1024)(median_rank)


@lru_cache(maxsize=64)
def _quantile_of_t(n: int, coverage: float) -> float:
    return t_quantile(coverage, n - 1)


def estimate(
    rounds: Sequence[Round], reference: Reference, clock: str, *, repeatability: float = 0.0, coverage: float = 0.95
) -> Estimate | None:
    """Return the label of a network from its rounds, or None if no round is valid.

    Args:
        rounds: all rounds, the invalid ones too.
        reference: the device's reference state.
        clock: ``cpu`` for one thread, ``wall`` for more, ``gpu`` on a GPU.
        repeatability: relative standard deviation between measuring processes, from blind duplicates; it joins the
            interval in quadrature.
        coverage: of the interval at this number of rounds; a plan that looks several times asks for more than 0.95
            at each look, so that all of them together keep it.
    """
    valid = [r for r in rounds if r.invalid(clock, reference.noise) is None]
    if not valid:
        return None
    gated = [r for r in valid if r.sentinel_ms <= reference.gate_ms]
    path: Path = "gated"
    if len(gated) >= MIN_GATED:
        values = [r.value_ms(clock) for r in gated]
    elif reference.common_share >= MIN_COMMON_SHARE:
        path = "ratio"
        values = [_corrected_ms(r, reference, clock) for r in valid]
    else:
        path = "plain"
        values = [r.value_ms(clock) for r in valid]
    level = float(np.median(values))
    low, high = order_interval(values, coverage)
    if path == "plain":  # nothing vouches for these rounds: the interval also holds what the sentinel would have said
        corrected = order_interval([_corrected_ms(r, reference, clock) for r in valid], coverage)
        low, high = min(low, corrected[0]), max(high, corrected[1])
    spread = repeatability
    if path == "ratio":  # how far this network follows the sentinel is known only as well as elasticities agree
        spread = hypot(spread, reference.beta_spread * float(np.median([abs(_drift(r, reference)) for r in valid])))
    extra = 1.96 * spread * level
    low, high = max(0.0, level - hypot(level - low, extra)), level + hypot(high - level, extra)
    return Estimate(level, low, high, path, len(valid), len(gated))


def _drift(round_: Round, reference: Reference) -> float:
    return log(round_.sentinel_ms / reference.sentinel_ms)


def _corrected_ms(round_: Round, reference: Reference, clock: str) -> float:
    """Divide the drift out, but only where it exceeds twice the sentinel's own noise."""
    drift = _drift(round_, reference)
    value = round_.value_ms(clock)
    return value * exp(-reference.beta * drift) if abs(drift) > 2 * reference.noise else value


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
        if self.estimate is not None and self.estimate.half_width <= float(self.plan["target"]):
            return "ok"
        hot = sum(any("thermal" in e or "throttle" in e for e in r.events) for r in self.rounds)
        return "hot" if 2 * hot > len(self.rounds) else "noisy"
