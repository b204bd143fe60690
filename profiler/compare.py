"""Which of several networks is faster, and by how much: timed in turn in the same processes, process after process.

In a process every pass times one round of each network, so the state of the device is the same for all of a pass and
cancels in their ratio. What differs from process to process, above all where memory lies, does not: so the processes
are the sample. Their intervals are looked at after 4, 6, 9, 13 and 18 of them, each time at a coverage with which all
looks together miss the truth in 5 % of cases: it ends as soon as one of them answers the question, or the budget does.

References:
    Abedi and Brecht, ICPE 2017 (interleaved trials); Kalibera and Jones, ISMM 2013 (repeat where the variance is);
    Tukey and McLaughlin, Sankhya A 1963 (trimmed means).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, hypot, inf, log, nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..data.store import Store
from ..devices.device import Place
from ..errors import UsageError
from ..measurement.label import MIN_GATED, Estimate, Reference
from ..measurement.measurement import Measurement, Verdict
from ..measurement.quantiles import t_quantile
from ..measurement.repeatability import across, verdict_across
from ..measurement.rounds import Round
from .networks import Network, items_of
from .plan import Plan
from .repeat import repeat
from .verify import measure

LOOKS = (4, 6, 9, 13, 18)  # processes after which the answer is looked at
MIN_PROCESSES = LOOKS[0]  # in the reference state, from which the others are left out
LEAST = LOOKS[0]  # processes that no budget cuts off: of fewer an interval says next to nothing
ALONE = 6  # processes of one network, to be held against a store
MISS = 0.05  # how often a difference may be shown, at the most, where there is none
EQUAL = 0.015  # no difference within these bounds is one that matters
CLOSE = 0.01  # half width of a ratio's interval that is close enough where a difference is shown, or
TRIM = 9  # processes from which the outermost on each side is left out
CLEAR = 0.25  # this share of the change
COMPARE = Plan("compare", burst_ms=20, checks=(6,), target=0.02, coverage=0.95, requeue=False)

Side = Literal["faster", "slower", "none"]
Ended = Literal["answer", "budget", "processes", "failure"]


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
        compared: those that the difference rests on, or for the first variant those that the others were held against.
        ended: what ended the comparison: its answer, the budget, the most processes that there are, or a failure.
    """

    variant: Variant
    measurements: tuple[Measurement, ...]
    difference: Difference | None
    compared: tuple[Measurement, ...] = ()
    ended: Ended = "answer"

    @property
    def told(self) -> Measurement:
        """Return the middle process, or the failure."""
        timed = sorted(_timed(self.compared or self.measurements), key=lambda m: m.latency_ms)
        return timed[len(timed) // 2] if timed else self.measurements[-1]

    @property
    def estimate(self) -> Estimate | None:
        """Return the label with an interval that covers the processes; None if it failed."""
        timed = _timed(self.compared or self.measurements)
        return across(self.told, timed, nan) if timed else None

    @property
    def verdict(self) -> Verdict:
        """Return how far the latency can be trusted by itself; a difference has its interval."""
        return verdict_across(self.told, self.compared or self.measurements)


def answered(difference: Difference) -> bool:
    """Return whether a difference is shown with its size, or all that may be left of one is too small to matter."""
    if difference.side == "none":
        return max(-difference.low, difference.high) <= EQUAL
    return (difference.high - difference.low) / 2 <= max(CLOSE, CLEAR * abs(difference.change))


def compare(
    variants: Sequence[Variant],
    store: Store,
    *,
    seed: int = 0,
    plan: Plan = COMPARE,
    budget_s: float = inf,
    enough: Callable[[Sequence[Difference]], bool] = lambda differences: all(map(answered, differences)),
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: threading.Event | None = None,
    now: Callable[[], float] = time.monotonic,
) -> list[Compared]:
    """Time variants in turn, process after process, and compare each with the first, until the question is answered.

    Args:
        variants: those of one device object share its processes; keys differ among them.
        store: open to write; every process is kept in it.
        seed: Seed of every order.
        plan: how long in each process; it must look once only, so that all get as many rounds.
        budget_s: no process begins that would end later than this many seconds from now, but for the first four.
        enough: asked at each look: whether these differences to the first answer the question.
        progress: called with processes done and how many there will be at the most, as far as the budget goes.
        stop: set it to end after the pass under way.
        now: seconds of a clock that only goes on.

    Raises:
        UsageError: no variant, or two of one device and key.
        KeyboardInterrupt: ``stop`` was set; what was timed is kept.
        DeviceError, StoreError: as for `profiler.verify.measure`.
    """
    if not variants:
        raise UsageError("nothing to compare; give one network or more")
    devices = list({id(v.device): v.device for v in variants}.values())
    for device in devices:
        items_of([v.network for v in variants if v.device is device])
    for variant in variants:
        store.add_model(variant.network.row)
    run = _Run(variants, budget_s, enough, progress, now)
    if len(devices) == 1:
        items = items_of([v.network for v in variants])
        repeat(
            devices[0], items, plan, store, lambda _, entered: items.keys if run.goes_on(max(entered.values())) else (),
            ended=lambda found: run.take([found.get(v.network.key, ()) for v in variants]), seed=seed,
            batch_size=len(items.keys), calibration_rounds=plan.checks[0], stop=stop,
        )  # fmt: skip
    else:
        _alternate(run, devices, plan, store, seed, stop)
    if stop is not None and stop.is_set():
        raise KeyboardInterrupt
    differences = [None, *run.differences()]
    held = _held(run.found)
    return [
        Compared(v, tuple(rows), d, those, run.ended)
        for v, rows, d, those in zip(variants, run.found, differences, held, strict=True)
    ]


class _Run:
    """How far a comparison is: what was measured, when it is enough, and how long another process takes."""

    def __init__(
        self, variants: Sequence[Variant], budget_s: float, enough: Callable[[Sequence[Difference]], bool],
        progress: Callable[[int, int], None], now: Callable[[], float],
    ) -> None:  # fmt: skip
        self.variants = variants
        self.found: list[Sequence[Measurement]] = [() for _ in variants]
        self.over = False
        self.ended: Ended = "budget"
        self._enough, self._progress, self._now = enough, progress, now
        self._looked = self._done = 0
        self._began_s = self._ended_s = now()
        self._deadline_s = self._began_s + budget_s
        self._most = LOOKS[-1] if len(variants) > 1 else ALONE
        progress(0, self._most)

    def take(self, found: Sequence[Sequence[Measurement]]) -> bool:
        """Take what is measured of each variant so far, and return whether that is all that is needed."""
        done = min(map(len, found))
        if self.over or done == self._done:
            return self.over
        self.found = [tuple(sorted(rows, key=lambda m: m.replicate)) for rows in found]
        self._done, self._ended_s = done, self._now()
        if any(map(_failed, self.found)):
            self.ended = "failure"
        elif self._is_answered():
            self.ended = "answer"
        elif done >= self._most:
            self.ended = "processes"
        self.over = self.ended != "budget"
        self._progress(done, self._total())
        return self.over

    def goes_on(self, entered: int) -> bool:
        """Return whether another process may begin while ``entered`` began so far."""
        if self.over or entered >= self._most:
            return False
        if entered < LEAST:
            return True
        # without one that is done nobody knows how long they take
        return self._done > 0 and self._now() + (entered - self._done + 1) * self._pace_s() <= self._deadline_s

    def differences(self) -> list[Difference | None]:
        """Return each other variant's difference to the first, at the coverage of one look of all."""
        coverage = 1 - MISS / (len(LOOKS) + 1) / max(len(self.variants) - 1, 1)
        first = self.found[0]
        return [
            _difference(self.variants[0], v, first, rows, coverage)
            for v, rows in zip(self.variants[1:], self.found[1:], strict=True)
        ]

    def _is_answered(self) -> bool:
        """Look, where the processes that count are as many as a look wants that was not taken yet."""
        if len(self.variants) < 2:
            return False
        counted = min(_counted(self.found[0], rows) for rows in self.found[1:])
        due = sum(counted >= look for look in LOOKS)
        if due <= self._looked:
            return False
        self._looked = due
        told = [d for d in self.differences() if d is not None]
        return len(told) == len(self.variants) - 1 and self._enough(told)

    def _pace_s(self) -> float:
        return (self._ended_s - self._began_s) / max(self._done, 1)

    def _total(self) -> int:
        if self.over:
            return self._done
        left = (self._deadline_s - self._now()) / max(self._pace_s(), 1e-9)
        return max(self._done + 1, LEAST, int(min(self._most, self._done + left)))


def _alternate(
    run: _Run, devices: Sequence[Place], plan: Plan, store: Store, seed: int, stop: threading.Event | None
) -> None:
    """Time one process of each device in turn, in an order that is drawn anew each time."""
    rng = np.random.default_rng([seed, 11])
    found: list[list[Measurement]] = [[] for _ in run.variants]
    done = 0
    while run.goes_on(done):
        for n in rng.permutation(len(devices)).tolist():
            mine = [v.network for v in run.variants if v.device is devices[n]]
            rows = {m.key: m for m in measure(devices[n], items_of(mine), plan, store, seed=seed, stop=stop)}
            if stop is not None and stop.is_set():
                return
            for variant, measured in zip(run.variants, found, strict=True):
                if variant.device is devices[n] and variant.network.key in rows:
                    measured.append(rows[variant.network.key])
        done += 1
        run.take(found)


def _counted(a: Sequence[Measurement], b: Sequence[Measurement]) -> int:
    """Return how many processes in the reference state two variants have."""
    return sum(_is_steady(pair) for pair in zip(a, b, strict=False))


def _pairs(a: Sequence[Measurement], b: Sequence[Measurement]) -> tuple[list[tuple[Measurement, Measurement]], bool]:
    """Return the processes of two variants that their difference rests on, and whether these are all steady."""
    pairs = [pair for pair in zip(a, b, strict=False) if not _failed(pair)]
    steady = [pair for pair in pairs if _is_steady(pair)]
    enough = len(steady) >= MIN_PROCESSES
    return (steady if enough else pairs), enough


def _held(found: Sequence[Sequence[Measurement]]) -> list[tuple[Measurement, ...]]:
    """Return of each variant the processes that its difference to the first rests on; of the first, those of all."""
    pairs = [_pairs(found[0], rows)[0] for rows in found[1:]]
    first = [m for m in found[0] if pairs and all(any(m is a for a, _ in each) for each in pairs)]
    return [tuple(first), *(tuple(b for _, b in each) for each in pairs)]


def _difference(
    first: Variant, other: Variant, a: Sequence[Measurement], b: Sequence[Measurement], coverage: float
) -> Difference | None:
    """Compare two variants by the processes in the reference state, or by all where those are too few.

    In other states networks slow down by different factors, which nobody knows: then the interval is wider by that.
    """
    paired = first.device is other.device
    pairs, enough = _pairs(a, b)
    logs = np.array([_log_ratio(*pair, paired) for pair in pairs])
    if len(logs) < 2:
        return None
    middle, low, high = _trimmed(logs, coverage)
    extra = 0.0 if enough else 1.96 * float(np.median([_elasticity_error(m) for pair in pairs for m in pair])) * 2**0.5
    low, high = middle - hypot(middle - low, extra), middle + hypot(high - middle, extra)
    return Difference(exp(middle) - 1, exp(low) - 1, exp(high) - 1, len(logs), paired)


def _trimmed(logs: NDArray[np.float64], coverage: float) -> tuple[float, float, float]:
    """Return the mean of two processes or more with the ends of its interval; from nine on without the outermost two.

    Now and then a process is 10 % off throughout: it widens the interval of few, and one on each side is left out of
    many. Student's t with the winsorised standard deviation (Tukey and McLaughlin, 1963).
    """
    n, cut = len(logs), int(len(logs) >= TRIM)
    ordered = np.sort(logs)
    kept = ordered[cut : n - cut]
    winsorised = np.clip(ordered, kept[0], kept[-1])
    error = float(winsorised.std(ddof=1)) / (1 - 2 * cut / n) / n**0.5
    half = t_quantile(coverage, n - 2 * cut - 1) * error
    middle = float(kept.mean())
    return middle, middle - half, middle + half


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
        then: Processes of another time, on the same kind of device.
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
