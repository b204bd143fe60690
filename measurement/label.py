"""From rounds to a label with its interval.

A round counts as taken in the device's reference state (it is *gated*) if its sentinel reading is within 10 % of the
fast end of recent readings. The label is the median of the gated rounds, each divided by how much slower than in the
reference state the sentinel was around it; where there are too few, of all rounds, corrected as far as networks follow.

References:
    Abedi and Brecht, *Conducting repeatable experiments in highly variable cloud computing environments*, ICPE 2017.
    Maricq et al., *Taming performance variability*, OSDI 2018 (order-statistic intervals).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import exp, hypot, log, sqrt
from operator import itemgetter
from typing import Literal

import numpy as np

from ..arguments import LATER
from .quantiles import median_rank, t_quantile
from .rounds import FASTEST, Round

Path = Literal["gated", "ratio", "plain", "told"]
GATE = 1.10  # a round is gated if its sentinel reading is at most this multiple of the fast end
MIN_GATED = 3  # gated rounds that make a label by themselves
MIN_COMMON_SHARE = 0.5  # below this, the sentinel explains little of the drift: it corrects by as much, and no more
LEVEL_READINGS = 16  # sentinel readings that its level around a round rests on
LEVEL_S = 10.0  # and none of them is farther from it
MIN_LIKE = 4  # of them, within 10 % of the round's own reading, that make it a state of the device
FLOOR = 0.005  # relative standard deviation between processes below which no label is believed
FOLLOWS = (
    2.0  # largest elasticity: where another process has the core's other half, networks took 1.95, the sentinel 1.4
)
BETA_SPREAD = 0.1  # least standard deviation of elasticities around the device's: 0.74 to 1.16 were seen on one machine


def gated(ordered_ms: Sequence[float]) -> tuple[float, float]:
    """Return the median of the gated ones of sentinel readings ``(n,)``, the smallest first, and the gate, in ms.

    The gate is 1.10 x the readings' 5 % quantile.

    >>> tuple(round(ms, 3) for ms in gated([1.0, 1.0, 1.0, 2.0]))
    (1.0, 1.1)
    """
    below, share = divmod(0.05 * (len(ordered_ms) - 1), 1)
    low_ms, high_ms = ordered_ms[int(below)], ordered_ms[min(int(below) + 1, len(ordered_ms) - 1)]
    gate_ms = GATE * (low_ms + share * (high_ms - low_ms))
    count = bisect_right(ordered_ms, gate_ms)
    return (ordered_ms[(count - 1) // 2] + ordered_ms[count // 2]) / 2, gate_ms


def levels_ms(readings: Sequence[tuple[float, float]], rounds: Iterable[Round]) -> tuple[float, ...]:
    """Return the sentinel's level around each round: the median of the 16 readings nearest to it that are like its own.

    A device's speed drifts by some per cent within seconds, and within the gate; networks follow it as the sentinel
    does. Single readings scatter as much. A reading with too few like it is no state of the device: then it is the
    median of the gated ones of those that are not slower.

    Args:
        readings: (seconds since the epoch, ms), in order of time; a round's own stands in where none is near.
        rounds: in any order.
    """
    return tuple(_level_ms(readings, r) for r in rounds)


def _level_ms(readings: Sequence[tuple[float, float]], round_: Round) -> float:
    own_ms = round_.sentinel_ms
    middle = bisect_right(readings, round_.started_s, key=itemgetter(0))
    start = max(0, min(middle - LEVEL_READINGS // 2, len(readings) - LEVEL_READINGS))
    near = [ms for at_s, ms in readings[start : start + LEVEL_READINGS] if abs(at_s - round_.started_s) <= LEVEL_S]
    faster = sorted([ms for ms in near if ms <= GATE * own_ms] or [own_ms])
    like = faster[bisect_left(faster, own_ms / GATE) :]
    return like[len(like) // 2] if len(like) >= MIN_LIKE else gated(faster)[0]


def above(round_: Round, level_ms: float) -> float:
    """Return ln of how far a round's reading lies above the sentinel's level around it; 0 where it is like others."""
    return log(round_.sentinel_ms / level_ms) if round_.sentinel_ms > GATE * level_ms else 0.0


@dataclass(frozen=True)
class Reference:
    """The state of the device that labels refer to, from recent sentinel readings and a calibration.

    Attributes:
        sentinel_ms: T_ref, the median of the gated sentinel readings.
        gate_ms: readings at or below this are gated.
        beta: elasticity of a network's time on the sentinel's, see `Calibration`.
        noise: standard deviation of ln(before/after) of the sentinel.
        common_share: R2 of ln(network) on ln(sentinel) in calibration; what the sentinel explains.
        calibration: id of the calibration in force.
        beta_spread: standard deviation of elasticities from network to network.
        process_sd: relative standard deviation between measuring processes that the rounds of one cannot tell; 0 where
            it is added later, from what was learnt since.
        burst_quantile: which quantile of a burst's samples is the value of a round: the fastest; in what was measured
            before that was found to repeat better, the lower quartile.
        trust: the share of the level's drift within the gate that is the device's, and not of how a process' sentinel
            lies in memory; 1 in what was measured before that was known.
        levels_ms: the sentinel's level around each round, in the order of rounds, see `levels_ms`; empty in what was
            measured before gated rounds were divided by it.
    """

    sentinel_ms: float
    gate_ms: float
    beta: float = 1.0
    noise: float = 0.0
    common_share: float = 1.0
    calibration: str = ""
    beta_spread: float = BETA_SPREAD
    process_sd: float = field(default=0.0, metadata=LATER)
    burst_quantile: float = field(default=0.25, metadata=LATER)
    levels_ms: tuple[float, ...] = field(default=(), metadata=LATER)
    trust: float = field(default=1.0, metadata=LATER)

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
        process_sd: float = 0.0,
    ) -> Reference:
        """Take the reference state from sentinel readings ``(n,)`` in ms, at least one; all else is as the attributes.

        >>> found = Reference.of([1.0, 1.0, 1.0, 2.0])
        >>> found.sentinel_ms, round(found.gate_ms, 3)
        (1.0, 1.1)
        """
        fast_ms, gate_ms = gated(sorted(readings_ms))
        return cls(fast_ms, gate_ms, beta, noise, common_share, calibration, beta_spread, process_sd, FASTEST)

    def value_ms(self, round_: Round, clock: str) -> float:
        """Return a round's value as labels in this state are made of it."""
        return round_.value_ms(clock, self.burst_quantile)


@dataclass(frozen=True)
class Estimate:
    """A label and how far it can be trusted.

    Attributes:
        latency_ms: the headline, in the reference state.
        low_ms, high_ms: interval of the median over rounds, 95 % unless asked otherwise, widened by what differs
            between processes and, for a ratio, by what is not known of the network's elasticity.
        path: ``gated`` (in the reference state), ``ratio`` (corrected by the sentinel), ``plain`` (corrected by the
            little that the sentinel explains), or ``told``, by others and not measured here.
        rounds, gated: valid rounds, and those of them that passed the gate.
        process_sd: the relative standard deviation between processes that is in the interval.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    path: Path
    rounds: int
    gated: int
    process_sd: float = 0.0

    @property
    def half_width(self) -> float:
        """Return the interval's half width as a share of the latency."""
        return max(self.high_ms - self.latency_ms, self.latency_ms - self.low_ms) / self.latency_ms

    @property
    def precision(self) -> float:
        """Return the half width without what differs between processes: what more rounds in this one can narrow.

        Stopping and verdicts go by it.
        """
        return self.between(0.0).half_width

    def between(self, process_sd: float) -> Estimate:
        """Return the label with the interval that another standard deviation between processes gives it."""
        level, more = self.latency_ms, process_sd**2 - self.process_sd**2

        def widened(half_ms: float) -> float:
            return sqrt(max(half_ms**2 + more * (1.96 * level) ** 2, 0.0))

        low, high = max(0.0, level - widened(level - self.low_ms)), level + widened(self.high_ms - level)
        return replace(self, low_ms=low, high_ms=high, process_sd=process_sd)


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


def estimate(rounds: Sequence[Round], reference: Reference, clock: str, *, coverage: float = 0.95) -> Estimate | None:
    """Return the label of a network from its rounds, or None if no round is valid.

    Args:
        rounds: all rounds, the invalid ones too.
        reference: the device's reference state.
        clock: ``cpu`` for one thread, ``wall`` for more, ``gpu`` on a GPU.
        coverage: Coverage of the interval at this number of rounds; a plan that looks several times asks for more than
            0.95 at each look, so that all of them together keep it.
    """
    levels_ms = reference.levels_ms or [reference.sentinel_ms] * len(rounds)
    valid = [(r, ms) for r, ms in zip(rounds, levels_ms, strict=True) if r.invalid(clock, reference.noise) is None]
    if not valid:
        return None
    told = reference.noise <= log(GATE)  # a sentinel noisier than the gate is wide lets rounds through by chance
    gated = [(r, ms) for r, ms in valid if r.sentinel_ms <= reference.gate_ms] if told else []
    path: Path = "ratio" if reference.common_share >= MIN_COMMON_SHARE else "plain"
    if len(gated) >= MIN_GATED:
        path, beta = "gated", 1.0
        drifts = [reference.trust * log(ms / reference.sentinel_ms) + above(r, ms) for r, ms in gated]
    elif told and reference.levels_ms:
        beta, drifts = reference.beta, [log(ms / reference.sentinel_ms) for _, ms in valid]
    else:  # single readings, believed as far as they exceed the sentinel's noise
        least = 2 * reference.noise if path == "ratio" else 0.0
        single = [log(r.sentinel_ms / reference.sentinel_ms) for r, _ in valid]
        beta, drifts = reference.beta, [drift if abs(drift) > least else 0.0 for drift in single]
    bare = [reference.value_ms(r, clock) for r, _ in (gated if path == "gated" else valid)]
    values = [value * exp(-beta * drift) for value, drift in zip(bare, drifts, strict=True)]
    low, high = order_interval(values, coverage)
    if path == "plain":  # little vouches for these rounds: the interval also holds what they say themselves
        itself = order_interval(bare, coverage)
        slower = max(float(np.median(drifts)), 0.0) if told and reference.levels_ms else 0.0  # and what a state hides
        low, high = min(low, itself[0] * exp(-FOLLOWS * slower)), max(high, itself[1])
    found = Estimate(float(np.median(values)), low, high, path, len(valid), len(gated))
    # how far this network follows the sentinel is known only as well as elasticities agree
    doubt = reference.beta_spread * float(np.median(np.abs(drifts)))
    if path == "ratio":
        return replace(found.between(doubt), process_sd=0.0).between(reference.process_sd)
    return found.between(hypot(reference.process_sd, doubt if path == "gated" else 0.0))
