"""Which of several networks is faster, and by how much: timed in turn in the same processes, process after process.

In a process every pass times one round of each network, so the state of the device is the same for all of a pass and
cancels in their ratio. What differs from process to process, above all where memory lies, does not: so the processes
are the sample. The interval is that of their median by order statistics, which holds whatever the distribution is: of
nine processes it leaves out the most extreme on each side, and misses the truth in 3.9 % of cases.

References:
    Abedi and Brecht, ICPE 2017 (interleaved trials); Kalibera and Jones, ISMM 2013 (repeat where the variance is).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, hypot, log, nan
from typing import Literal

import numpy as np

from ..data.store import Store
from ..devices.device import Place
from ..errors import UsageError
from ..measurement.label import MIN_GATED, Estimate, Reference, order_interval
from ..measurement.measurement import Measurement
from ..measurement.quantiles import t_quantile
from ..measurement.repeatability import across
from ..measurement.rounds import Round
from .networks import Network, items_of
from .plan import Plan
from .verify import measure

PROCESSES = 9  # in the reference state; up to twice as many are tried
MIN_PROCESSES = 6  # of them from which the others are left out
MISS = 0.05  # how often a difference may be shown, at the most, where there is none
COMPARE = Plan("compare", burst_ms=20, checks=(8,), target=0.02, coverage=0.95, requeue=False)

Side = Literal["faster", "slower", "none"]


@dataclass(frozen=True)
class Variant:
    """One network on one device."""

    device: Place
    network: Network


@dataclass(frozen=True)
class Difference:
    """How much longer one takes than another: ``change`` is the ratio of times less 1.

    Attributes:
        change, low, high: with its interval, as shares: -0.12 is 12 % less time.
        processes: that it rests on.
        paired: the two were timed in turn within the same processes.
    """

    change: float
    low: float
    high: float
    processes: int
    paired: bool

    @property
    def side(self) -> Side:
        """Return whether it is shown to be faster or slower, or neither."""
        return "faster" if self.high < 0 else "slower" if self.low > 0 else "none"

    @property
    def text(self) -> str:
        """Return it for people: ``faster by 12 % [9, 15]`` or ``no difference shown``."""
        if self.side == "none":
            return f"no difference shown [{100 * self.low:+.2g}, {100 * self.high:+.2g}] %"
        ends = sorted(abs(100 * end) for end in (self.low, self.high))
        return f"{self.side} by {abs(100 * self.change):.3g} % [{ends[0]:.2g}, {ends[1]:.2g}]"


@dataclass(frozen=True)
class Compared:
    """What came of one variant.

    Attributes:
        variant: which.
        measurements: one a process; one alone if it failed.
        difference: to the first variant; None for the first, and where one of them has no latency.
    """

    variant: Variant
    measurements: tuple[Measurement, ...]
    difference: Difference | None

    @property
    def told(self) -> Measurement:
        """Return the middle process, or the failure."""
        timed = sorted(_timed(self.measurements), key=lambda m: m.latency_ms)
        return timed[len(timed) // 2] if timed else self.measurements[-1]

    @property
    def estimate(self) -> Estimate | None:
        """Return the label with an interval that covers the processes; None if it failed."""
        timed = _timed(self.measurements)
        return across(self.told, timed, nan) if timed else None


def compare(
    variants: Sequence[Variant],
    store: Store,
    *,
    seed: int = 0,
    plan: Plan = COMPARE,
    processes: int = PROCESSES,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: threading.Event | None = None,
) -> list[Compared]:
    """Time variants in turn, process after process, and compare each with the first.

    Nine processes are asked for in which the device was in its reference state; twice as many are tried.

    Args:
        variants: those of one device object share its processes; keys differ among them.
        store: open to write; every process is kept in it.
        seed: Seed of every order.
        plan: how long in each process; it must look once only, so that all get as many rounds.
        processes: how many.
        progress: called with processes done and how many there will be.
        stop: set it to end after the pass under way.

    Raises:
        UsageError: no variant, or two of one device and key.
        KeyboardInterrupt: ``stop`` was set; what was timed is kept.
        DeviceError, StoreError: as for `profiler.verify.measure`.
    """
    if not variants:
        raise UsageError("nothing to compare; give one network or more")
    devices = list({id(v.device): v.device for v in variants}.values())
    mine = {id(d): [v.network for v in variants if v.device is d] for d in devices}
    for device in devices:
        items_of(mine[id(device)])
        for network in mine[id(device)]:
            store.add_model(network.row)
    rng = np.random.default_rng([seed, 11])
    found: list[list[Measurement]] = [[] for _ in variants]
    for done in range(2 * processes):
        steady = min(sum(_is_steady(pair) for pair in zip(found[0], rows, strict=True)) for rows in found)
        if steady >= processes or (done >= processes and any(_failed(rows) for rows in found)):
            break
        progress(done, max(processes, done + 1))
        for n in rng.permutation(len(devices)).tolist():
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            device = devices[n]
            rows = {m.key: m for m in measure(device, items_of(mine[id(device)]), plan, store, seed=seed, stop=stop)}
            for variant, measured in zip(variants, found, strict=True):
                if variant.device is device and variant.network.key in rows:
                    measured.append(rows[variant.network.key])
    if stop is not None and stop.is_set():
        raise KeyboardInterrupt
    coverage = 1 - MISS / max(len(variants) - 1, 1)
    return [
        Compared(v, tuple(rows), _difference(variants[0], v, found[0], rows, coverage) if n else None)
        for n, (v, rows) in enumerate(zip(variants, found, strict=True))
    ]


def _difference(
    first: Variant, other: Variant, a: Sequence[Measurement], b: Sequence[Measurement], coverage: float
) -> Difference | None:
    """Compare two variants by the processes in the reference state, or by all where those are too few.

    In other states networks slow down by different factors, which nobody knows: then the interval is wider by that.
    """
    paired = first.device is other.device
    pairs = [pair for pair in zip(a, b, strict=True) if not _failed(pair)]
    steady = [pair for pair in pairs if _is_steady(pair)]
    enough = len(steady) >= MIN_PROCESSES
    logs = np.array([_log_ratio(*pair, paired) for pair in (steady if enough else pairs)])
    if len(logs) < 2:
        return None
    low, high = order_interval(np.exp(logs).tolist(), coverage)
    middle, low, high = float(np.median(logs)), log(max(low, 1e-300)), log(high)
    extra = 0.0 if enough else 1.96 * float(np.median([_elasticity_error(m) for pair in pairs for m in pair])) * 2**0.5
    low, high = middle - hypot(middle - low, extra), middle + hypot(high - middle, extra)
    return Difference(exp(middle) - 1, exp(low) - 1, exp(high) - 1, len(logs), paired)


def _log_ratio(a: Measurement, b: Measurement, paired: bool) -> float:
    """Return ln of how much longer ``b`` takes than ``a`` in one process, or in two that ran one after the other."""
    if not paired:
        return log(b.latency_ms / a.latency_ms)
    gated = _gated_pairs(a, b)
    chosen = gated if len(gated) >= MIN_GATED else list(zip(a.rounds, b.rounds, strict=False))
    return float(np.median([log(y.value_ms(b.clock) / x.value_ms(a.clock)) for x, y in chosen]))


def _gated_pairs(a: Measurement, b: Measurement) -> list[tuple[Round, Round]]:
    """Return the passes in which both were timed in the device's reference state."""
    return [(x, y) for x, y in zip(a.rounds, b.rounds, strict=False) if _is_gated(x, a) and _is_gated(y, b)]


def _is_gated(round_: Round, m: Measurement) -> bool:
    reference = m.reference
    if reference is None or round_.invalid(m.clock, reference.noise) is not None:
        return False
    return round_.sentinel_ms <= reference.gate_ms


def _is_steady(pair: Sequence[Measurement]) -> bool:
    """Return whether enough of a process was in the reference state, for its labels and, if paired, for the pairs."""
    a, b = pair
    if _failed(pair):
        return False
    if a.fingerprint_id == b.fingerprint_id:
        return len(_gated_pairs(a, b)) >= MIN_GATED
    return all(m.estimate is not None and m.estimate.path == "gated" for m in pair)


def _failed(rows: Sequence[Measurement]) -> bool:
    return any(m.failure is not None or m.estimate is None for m in rows)


def _elasticity_error(m: Measurement) -> float:
    """Return how far off a process's time may be because nobody knows how far its network follows the sentinel."""
    if m.reference is None:
        return 0.0
    drifts = [abs(log(round_.sentinel_ms / m.reference.sentinel_ms)) for round_ in m.rounds]
    return m.reference.beta_spread * float(np.median(drifts))


def against(now: Sequence[Measurement], then: Sequence[Measurement]) -> Difference | None:
    """Return how much longer a network takes now than in processes of another time, as far as these tell.

    The device's own change is divided out by the sentinel's reference state; how far this network follows it is not
    known exactly, and widens the interval.

    Args:
        now: processes of this time.
        then: of another time, on the same kind of device.
    """
    a, b = _timed(then), _timed(now)
    if len(a) < 2 or len(b) < 2:
        return None
    before, after = (np.log([m.latency_ms for m in rows]) for rows in (a, b))
    states = [[m.reference for m in rows if m.reference is not None] for rows in (a, b)]
    drift, beta, beta_spread = _moved(states[0], states[1])
    parts = [float(np.var(x, ddof=1)) / len(x) for x in (before, after)]
    error = sum(parts)
    free = error**2 / max(sum(p**2 / (len(x) - 1) for p, x in zip(parts, (before, after), strict=True)), 1e-300)
    half = t_quantile(1 - MISS, max(1, int(free))) * error**0.5
    half = hypot(half, 1.96 * beta_spread * abs(drift))
    middle = float(after.mean() - before.mean()) - beta * drift
    return Difference(exp(middle) - 1, exp(middle - half) - 1, exp(middle + half) - 1, len(b), paired=False)


def _moved(then: Sequence[Reference], now: Sequence[Reference]) -> tuple[float, float, float]:
    """Return ln of how much slower the device's reference state became, and the network's elasticity on it."""
    if not then or not now:
        return 0.0, 1.0, 0.0
    old, new = (float(np.median([one.sentinel_ms for one in side])) for side in (then, now))
    return log(new / old), now[-1].beta, now[-1].beta_spread


def _timed(rows: Sequence[Measurement]) -> list[Measurement]:
    return [m for m in rows if m.failure is None and m.estimate is not None]
