"""What a predictor learns from: one label a network, of one space on one device, with how far each can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError, UnknownNameError, UsageError
from ..measurement.fingerprint import Fingerprint
from ..measurement.measurement import Measurement, Verdict
from ..measurement.quantities import MEMORY, QUANTITIES
from ..measurement.reference import in_hindsight
from ..measurement.repeatability import FLOOR, outliers, pair_up, spread, usual
from ..shown import Rows, counted
from ..spaces.space import SearchSpace
from .duplicates import light, paired
from .store import Store

FloatArray = NDArray[np.float64]

FEW_ROWS = 19  # labels, the fewest from which leave-one-out promises intervals of 95 %


@dataclass(frozen=True)
class Row:
    """One network. Units stand in the names; NaN where there is no value.

    Attributes:
        key: the architecture's key.
        verdict: ``quarantined`` also if two processes disagreed on it beyond chance.
        latency_ms: the label.
        low_ms, high_ms: its interval, without the part between processes.
        path: how the label came about, empty if there is none.
        rounds, gated: valid rounds, and those of them in the reference state.
        values_ms, sentinels_ms: For every round, the network's value and the sentinel's reading.
        cause: Cause of a failure, else empty.
        above_ms: for a censored network, what its latency is above.
        wall_median_ms, wall_q05_ms, wall_min_ms, cpu_median_ms, p90_ms, p99_ms: Statistics of all samples, in
            whatever state the device was; see `Statistics`.
        energy_mj, memory_bytes: see `Measurement.beside_time`.
    """

    key: str
    verdict: Verdict
    latency_ms: float = float("nan")
    low_ms: float = float("nan")
    high_ms: float = float("nan")
    path: str = ""
    rounds: int = 0
    gated: int = 0
    values_ms: tuple[float, ...] = ()
    sentinels_ms: tuple[float, ...] = ()
    cause: str = ""
    above_ms: float = float("nan")
    wall_median_ms: float = float("nan")
    wall_q05_ms: float = float("nan")
    wall_min_ms: float = float("nan")
    cpu_median_ms: float = float("nan")
    p90_ms: float = float("nan")
    p99_ms: float = float("nan")
    energy_mj: float = float("nan")
    memory_bytes: float = float("nan")


@dataclass(frozen=True)
class LatencyDataset(Rows):
    """Networks of one space on one device. The arrays hold those with a latency, in order; `rows` holds all.

    Attributes:
        space: the space's full spec.
        fingerprint: the device.
        rows: every network, also those without a latency.
        repeatability: relative standard deviation between measuring processes; NaN if no network was timed twice.
        pairs: networks that it rests on.
        left_out: verdict, or what was missing -> networks that `only` or `having` has left out of this data set.
    """

    space: str
    fingerprint: Fingerprint
    rows: tuple[Row, ...]
    repeatability: float = float("nan")
    pairs: int = 0
    left_out: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def from_store(cls, store: Store, *, space: str | None = None, fingerprint_id: str | None = None) -> Self:
        """Derive every label anew from the raw rounds in a store.

        The reference state of a label is taken from the hour around it, before and after, and never from fewer than
        2000 readings: a campaign's first networks, closed when little was known of the device, get what was learnt
        later. Of several measurements of a network the one with the narrowest interval gives the label.

        Args:
            store: the store.
            space: full spec; may be left out if the store holds one space.
            fingerprint_id: may be left out if the store holds one device.

        Raises:
            UsageError: nothing was measured of that space on that device, or the store holds several spaces.
            MismatchError: the store holds several devices and none was chosen.
        """
        space, fingerprint_id = _chosen(store, space, fingerprint_id)
        found: list[Measurement] = []
        beside: list[dict[str, float]] = []
        for m in store.measurements(space=space, fingerprint_id=fingerprint_id):
            found.append(light(m))
            beside.append(_statistics(m) | m.beside_time)
        found = in_hindsight(found)
        doubtful = outliers(pair_up(found))  # of every kind of repetition
        representative = usual(paired(found, store.blind_campaigns(space, fingerprint_id)))
        best: dict[str, tuple[Measurement, dict[str, float]]] = {}
        for m, told in zip(found, beside, strict=True):
            if m.key not in best or _width(m) < _width(best[m.key][0]):
                best[m.key] = m, told
        return cls(
            space,
            store.fingerprint(fingerprint_id),
            tuple(_row(m, told, m.key in doubtful) for m, told in best.values()),
            spread(representative),
            len(representative),
        )

    def __repr__(self) -> str:
        networks = counted(len(self.rows), "network")
        return f"LatencyDataset({self.space!r}, device {self.fingerprint.id}, {networks}: {self.counts})"

    def listed(self) -> list[dict[str, Any]]:
        """Return key, latency with its interval, and verdict of every network."""
        names = ("key", "latency_ms", "low_ms", "high_ms", "verdict")
        ends = iter(zip(self.low_ms.tolist(), self.high_ms.tolist(), strict=True))
        found = [{name: getattr(row, name) for name in names} for row in self.rows]
        for row in found:
            if np.isfinite(row["latency_ms"]):
                row["low_ms"], row["high_ms"] = next(ends)
        return found

    @cached_property
    def labelled(self) -> tuple[Row, ...]:
        """Return the rows with a latency."""
        return tuple(row for row in self.rows if np.isfinite(row.latency_ms))

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the ``n`` keys of the arrays below."""
        return tuple(row.key for row in self.labelled)

    @cached_property
    def y_ms(self) -> FloatArray:
        """Return latencies ``(n,)`` in ms."""
        return self._column(lambda row: row.latency_ms)

    @cached_property
    def low_ms(self) -> FloatArray:
        """Return the intervals' lower ends ``(n,)``, the part between processes included."""
        return np.maximum(self.y_ms - self._widened(self.y_ms - self._column(lambda row: row.low_ms)), 0)

    @cached_property
    def high_ms(self) -> FloatArray:
        """Return the intervals' upper ends ``(n,)``, the part between processes included; may be infinite."""
        return self.y_ms + self._widened(self._column(lambda row: row.high_ms) - self.y_ms)

    @cached_property
    def half_width(self) -> FloatArray:
        """Return the intervals' half widths ``(n,)`` as shares of the latency."""
        return np.maximum(self.high_ms - self.y_ms, self.y_ms - self.low_ms) / self.y_ms

    @cached_property
    def weight(self) -> FloatArray:
        """Return ``(n,)`` one over the label's relative variance, which is never taken below 0.5 % squared."""
        return 1 / np.maximum(self.half_width / 1.96, FLOOR) ** 2

    def values(self, quantity: str) -> FloatArray:
        """Return a quantity ``(n,)`` in the unit that ends its name; NaN for a network without it, see `having`.

        Raises:
            UnknownNameError: it is none of `QUANTITIES`.
        """
        if quantity not in QUANTITIES:
            raise UnknownNameError("quantity", quantity, QUANTITIES)
        return self._column(lambda row: getattr(row, quantity))

    def weights(self, quantity: str) -> FloatArray:
        """Return ``(n,)`` what each network's value counts: `weight`; all the same for memory, which no noise moves."""
        return np.ones(len(self.labelled)) if quantity == MEMORY else self.weight

    def having(self, quantity: str) -> Self:
        """Return the data set without the networks that have a latency but not this quantity; `left_out` counts them.

        Raises:
            UnknownNameError: it is none of `QUANTITIES`.
        """
        known = dict(zip(self.keys, np.isfinite(self.values(quantity)).tolist(), strict=True))
        kept = tuple(row for row in self.rows if known.get(row.key, True))
        gone = Counter({f"without {quantity}": len(self.rows) - len(kept)})
        return replace(self, rows=kept, left_out=dict(Counter(self.left_out) + gone))

    @property
    def verdict(self) -> tuple[Verdict, ...]:
        """Return the ``n`` verdicts."""
        return tuple(row.verdict for row in self.labelled)

    @cached_property
    def informative(self) -> NDArray[np.bool_]:
        """Return ``(n,)`` which labels tell something: ``ok``, or noisy with an interval that ends."""
        trusted = np.array([verdict in ("ok", "noisy", "hot") for verdict in self.verdict], bool)
        return trusted & (self.weight > 0)

    @cached_property
    def judging(self) -> NDArray[np.bool_]:
        """Return ``(n,)`` which labels a predictor is judged by: ``ok`` ones, or all `informative` ones."""
        ok = np.array([verdict == "ok" for verdict in self.verdict], bool)
        return ok if ok.sum() >= FEW_ROWS else self.informative

    @property
    def censored(self) -> dict[str, float]:
        """Return key -> ms that its latency is known to be above."""
        return {row.key: row.above_ms for row in self.rows if row.verdict == "censored"}

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return verdict -> networks."""
        return dict(sorted(Counter(row.verdict for row in self.rows).items()))

    def only(self, *verdicts: Verdict) -> Self:
        """Return the networks with these verdicts; `left_out` and `describe` say what is missing.

        Raises:
            UnknownNameError: there is no such verdict.
        """
        for verdict in verdicts:
            if verdict not in get_args(Verdict):
                raise UnknownNameError("verdict", verdict, get_args(Verdict))
        gone = Counter(row.verdict for row in self.rows if row.verdict not in verdicts)
        kept = tuple(row for row in self.rows if row.verdict in verdicts)
        return replace(self, rows=kept, left_out=dict(Counter(self.left_out) + gone))

    def ok(self) -> Self:
        """Return the networks whose label met its plan's target."""
        return self.only("ok")

    def encode(self, space: SearchSpace, encoding: str | None = None) -> NDArray[np.float32]:
        """Return ``X (n, d)``, the encodings of `keys`.

        Raises:
            MismatchError: the space is another one.
        """
        if space.spec != self.space:
            raise MismatchError(f"the data set is of {self.space!r}, the space given is {space.spec!r}; give that one")
        return space.encode([space.from_key(key) for key in self.keys], encoding)

    def describe(self) -> str:
        """Return one line for a person: how many networks, by verdict, and how repeatable."""
        parts = [f"{count} {verdict}" for verdict, count in self.counts.items()]
        text = f"{counted(len(self.rows), 'network')} of {self.space}: {', '.join(parts) or 'none'}"
        if self.left_out:
            text += "; left out: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(self.left_out.items()))
        known = f"{self.repeatability:.1%} from {counted(self.pairs, 'pair')}" if self.pairs else "not measured"
        return f"{text}; repeatability between processes: {known}"

    def _column(self, value: Callable[[Row], float]) -> FloatArray:
        return np.array([value(row) for row in self.labelled], float)

    def _widened(self, half_ms: FloatArray) -> FloatArray:
        between = 1.96 * (FLOOR if np.isnan(self.repeatability) else self.repeatability)
        return np.hypot(half_ms, between * self.y_ms)


def _chosen(store: Store, space: str | None, fingerprint_id: str | None) -> tuple[str, str]:
    """Return the one set of the store that is meant."""
    sets = [pair for pair in store.sets() if space in (None, pair[0]) and fingerprint_id in (None, pair[1])]
    if not sets:
        held = "; ".join(f"{s} on {f} ({counted(n, 'row')})" for (s, f), n in store.sets().items())
        asked = "" if space is None else f" of space {space!r}"
        asked += "" if fingerprint_id is None else f" on device {fingerprint_id!r}"
        raise UsageError(f"no rows{asked} in {store.path}; it holds: {held or 'none'}")
    spaces, devices = {s for s, _ in sets}, sorted({f for _, f in sets})
    if len(spaces) > 1:
        from ..graphs.network import is_space

        named = sorted(s for s in spaces if is_space(s))
        if not named:
            raise UsageError(
                f"{store.path} holds networks and kernels of no space; learn kernels with tempograd kernels fit"
            )
        raise UsageError(f"{store.path} holds several spaces; choose one: {', '.join(named)}")
    if len(devices) > 1:
        known = store.fingerprints()
        one, other = known[devices[0]], known[devices[1]]
        differences = "; ".join(f"{k}: {a!r} and {b!r}" for k, (a, b) in one.difference(other).items())
        raise MismatchError(
            f"{store.path} holds rows of {len(devices)} devices, whose numbers must not be mixed; choose one by its "
            f"fingerprint, --device in fit and export: {', '.join(devices)}. The first two differ in: {differences}"
        )
    return sets[0]


def _width(m: Measurement) -> float:
    """Return what measurements of one network are ranked by: a label before none, a narrow one before a wide one."""
    return m.estimate.half_width if m.failure is None and m.estimate is not None else float("inf")


def _statistics(m: Measurement) -> dict[str, float]:
    found = {} if m.statistics is None else asdict(m.statistics)
    return {name: value for name, value in found.items() if name != "samples" and value is not None}


def _row(m: Measurement, told: dict[str, float], doubtful: bool) -> Row:
    verdict: Verdict = "quarantined" if doubtful else m.verdict
    row = Row(
        m.key,
        verdict,
        values_ms=tuple(r.value_ms(m.clock) for r in m.rounds),
        sentinels_ms=tuple(r.sentinel_ms for r in m.rounds),
    )
    if m.failure is not None:
        above = m.failure.elapsed_ms if m.failure.cause == "timeout" and m.failure.elapsed_ms else float("nan")
        return replace(row, cause=m.failure.cause, above_ms=above)
    row = replace(row, **told)
    e = m.estimate
    if e is None:
        return row
    return replace(
        row, latency_ms=e.latency_ms, low_ms=e.low_ms, high_ms=e.high_ms, path=e.path, rounds=e.rounds, gated=e.gated
    )
