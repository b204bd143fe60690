"""Whether the numbers in a store, and this device, can be believed: each check is true, false or not possible here.

The output of sampled networks is compared with torch, which shares no code with any engine; sampled networks are timed
again (an A/A test); what the store says is derived again from its raw rounds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from ..data.duplicates import usual_duplicates
from ..data.store import Store
from ..devices.device import Device, Loaded, Model, Session
from ..errors import DeviceError, InputRefusedError, UsageError
from ..measurement.fingerprint import Fingerprint
from ..measurement.label import GATE, Estimate, order_interval
from ..measurement.measurement import Measurement
from ..measurement.repeatability import FLOOR, Pair, settled, spread
from ..measurement.rounds import FASTEST
from ..scratch import Scratch
from ..shown import counted
from ..spaces.export import WeightPool
from ..spaces.graph import INPUT, constants, ports
from ..spaces.space import SearchSpace
from .campaign import MAX_REJECTED, MIN_OK
from .check import COVERAGE, MISS, Check, compare, skipped
from .plan import Items, Plan
from .timer import clock_of
from .verify import measure

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8-static": 0.25, "int8-dynamic": 0.25}
"""Distance of outputs from torch's, relative to their length, by precision; an unrelated output is about 1.4 away."""

INPUTS = 2
PASSES = 16
MOST_PASSES = 8 * PASSES  # for what is still undecided
HELD = 0.9  # a network timed on one input may take this share of its time on several: its input stays in the cache
WORK = 8  # times the batch
LONGER = 1.25  # that so much more work must take at the least
MIN_PAIRS = 5

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class _Row:
    """What an audit keeps of one stored measurement."""

    key: str
    digest: str
    verdict: str
    failed: bool
    label: Estimate | None
    providers: frozenset[str]
    target: float
    at_s: float
    gated_sentinel_ms: float  # median, NaN if no round was in the reference state
    rejected: Counter[str]
    rounds: int
    gated: int
    agrees: bool  # derived again, label and verdict are those stored


@dataclass(frozen=True)
class Audit:
    """One audit of one space on one device; see `run`.

    Args:
        device: as it is now.
        larger: The device with a batch ``WORK`` times as large, or None where that cannot be had.
        space: Space of the audited rows.
        store: open to write.
        fingerprint: the store's, whose rows are audited.
        count: networks sampled.
        plan: how long each is timed again.
        seed: Seed of the sample, the inputs and the orders of measurement.
    """

    device: Device
    larger: Device | None
    space: SearchSpace
    store: Store
    fingerprint: Fingerprint
    count: int
    plan: Plan
    seed: int = 0

    def run(
        self, progress: Callable[[int, int], None] | None = None, stop: threading.Event | None = None
    ) -> list[Check]:
        """Ask everything and return the answers.

        Raises:
            UsageError: the store has no row with verdict ok of this space on this device.
            DeviceError: the device cannot be reached.
            KeyboardInterrupt: ``stop`` was set; what was timed again is kept.
        """
        steps: list[Callable[[], list[Check]]] = [
            self._provenance, self._run_verdict, self._stored_providers, self._live, lambda: self._again(stop),
        ]  # fmt: skip
        self.sampled  # noqa: B018  no row to sample is an error before anything is timed
        checks: list[Check] = []
        for number, step in enumerate(steps):
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            if progress is not None:
                progress(number, len(steps))
            checks += step()
        if progress is not None:
            progress(len(steps), len(steps))
        return checks

    # -- what the store says -------------------------------------------------------------------------------------

    @cached_property
    def _campaigns(self) -> list[str]:
        """Return the campaigns of this space on this device, the oldest first."""
        mine = (self.space.spec, self.fingerprint.id)
        return [c.id for c in self.store.campaigns() if (c.space, c.fingerprint_id) == mine]

    @cached_property
    def _rows(self) -> list[_Row]:
        rows: list[_Row] = []
        for campaign in self._campaigns:
            labels = self.store.labels(campaign)
            rows += [_row(m, labels[m.key, m.replicate]) for m in self.store.measurements(campaign=campaign)]
        return rows

    @cached_property
    def sampled(self) -> dict[str, _Row]:
        """Return ``count`` networks with verdict ok, at random, each with its first row.

        Raises:
            UsageError: there is none.
        """
        found: dict[str, _Row] = {}
        for row in self._rows:
            if row.verdict == "ok":
                found.setdefault(row.key, row)
        if not found:
            raise UsageError(
                f"no row with verdict ok of {self.space.spec} on {self.fingerprint.id} in {self.store.path}; "
                "collect into it first"
            )
        keys = list(found)
        order = np.random.default_rng([self.seed, 5]).permutation(len(keys))[: self.count]
        return {keys[i]: found[keys[i]] for i in order}

    @cached_property
    def _pairs(self) -> list[Pair]:
        """Return the blind duplicates: two labels of one network in one campaign."""
        return usual_duplicates(self.store, self.space.spec, self.fingerprint.id)

    def _settled(self, campaign: str) -> list[str]:
        """Return a verdict for every job of a campaign: the best, where a noisy network was measured again."""
        labels = self.store.labels(campaign).items()
        return list(settled({job: verdict for job, (verdict, _) in labels}).values())

    @cached_property
    def _repeatability(self) -> float:
        """Return the relative standard deviation between processes: the largest that the duplicates leave possible."""
        n = len(self._pairs)
        if not n:
            return self._target
        return max(spread(self._pairs) * float(np.sqrt(n / chi2.ppf(1 - COVERAGE, n))), FLOOR)

    @cached_property
    def _target(self) -> float:
        """Return the half width that the rows' plans aimed at."""
        return float(np.median([row.target for row in self._rows]))

    def _provenance(self) -> list[Check]:
        changed = self.fingerprint.difference(self.device.fingerprint)
        names = "; ".join(f"{name}: {stored!r} in the store, {now!r} now" for name, (stored, now) in changed.items())
        wrong = [row.key for row in self._rows if not row.agrees]
        try:
            self.store.check(thorough=True)
            damage = ""
        except InputRefusedError as error:
            damage = str(error)
        return [
            Check("provenance.device", not changed, f"{counted(len(changed), 'field')} changed", "0", names),
            Check(
                "provenance.labels", not wrong, f"{len(wrong)} of {len(self._rows)} labels differ when derived again",
                "0", f"first: {wrong[0]}" if wrong else "",
            ),
            Check("provenance.file", not damage, "damaged" if damage else "whole", "whole", damage),
        ]  # fmt: skip

    def _run_verdict(self) -> list[Check]:
        timed = [row for row in self._rows if row.rounds]
        tau, pairs = spread(self._pairs), len(self._pairs)
        few = "" if pairs >= MIN_PAIRS else f"fewer than {MIN_PAIRS} blind duplicates: collect more networks"
        verdicts = [verdict for campaign in self._campaigns for verdict in self._settled(campaign)]
        ok = verdicts.count("ok") / len(verdicts)
        rounds = sum(row.rounds for row in timed)
        rejected = sum((row.rejected for row in timed), Counter[str]())
        share = rejected.total() / rounds
        gated = sum(row.gated for row in timed) / max(rounds - rejected.total(), 1)
        reasons = ", ".join(f"{n} {reason}" for reason, n in rejected.items())
        return [
            Check(
                "run.repeatability", None if few else tau <= self._target, f"{tau:.1%} from {counted(pairs, 'pair')}",
                f"<= {self._target:.0%}", few,
            ),
            Check("run.verdicts", ok >= MIN_OK, f"{ok:.0%} of {len(verdicts)} labels ok", f">= {MIN_OK:.0%}"),
            Check(
                "run.rounds", share <= MAX_REJECTED,
                f"{gated:.0%} in the reference state; {share:.1%} rejected" + (f" ({reasons})" if reasons else ""),
                f"<= {MAX_REJECTED:.0%} rejected",
            ),
            _drift(timed),
        ]  # fmt: skip

    @cached_property
    def _asked(self) -> str:
        """Return the provider that every node must have run on."""
        return str(self.fingerprint.options.get("provider", self.fingerprint.runtime.get("name", "")))

    def _stored_providers(self) -> list[Check]:
        return [self._provided("providers.stored", [(row.key, row.providers) for row in self._rows if not row.failed])]

    def _provided(self, name: str, found: Sequence[tuple[str, Collection[str]]]) -> Check:
        """Check that every node of every network ran on the provider asked for; a constant network has none left."""
        places = [", ".join(sorted(providers)) or self._without_nodes(key) for key, providers in found]
        counts = Counter(places)
        allowed = bool(self.fingerprint.options.get("allow_fallback"))
        elsewhere = ", ".join(f"{n} on {w}" for w, n in counts.items() if not self._is_right(w, allowed))
        text = f"{counts[self._asked]} of {len(places)} on {self._asked}"
        return Check(name, not elsewhere, text, "all of them", elsewhere)

    def _is_right(self, place: str, allowed: bool) -> bool:
        return place == self._asked or (allowed and self._asked in place.split(", "))

    def _without_nodes(self, key: str) -> str:
        return self._asked if is_constant(self.space, key) else "no provider stated"

    # -- what the device does now --------------------------------------------------------------------------------

    def _live(self) -> list[Check]:
        with Scratch() as folder, self.device.open() as session:
            models = self._built(self.device, Path(folder), list(self.sampled))
            changed = [m.key for m in models if m.digest != self.sampled[m.key].digest]
            first = f"the builder, its weights or the batch changed; first: {changed[0]}" if changed else ""
            checks = [Check("output.network", not changed, f"{len(changed)} of {len(models)} differ", "0", first)]
            loaded = session.load(models)
            for one in loaded:
                if one.failure:
                    why = f"{one.key} failed now: {one.failure.cause}; {one.failure.detail}"
                    return [*checks, Check("providers.now", False, reason=why), *skipped(_LIVE, why)]
            checks.append(self._provided("providers.now", [(one.key, one.providers) for one in loaded]))
            checks += self._outputs(session)
            if checks[-1].passed is None:
                return [*checks, *skipped(_TIMED, checks[-1].reason)]
            session.start_timing()
            return [*checks, self._repeated_inputs(session, loaded), self._more_work(session, Path(folder))]

    def _built(self, device: Device, folder: Path, keys: Sequence[str]) -> list[Model]:
        items = Items.of(self.space, [self.space.from_key(key) for key in keys], batch=device.batch)
        return [Model(key, *items.build(key, folder)) for key in items.keys]

    def _outputs(self, session: Session) -> list[Check]:
        rng = np.random.default_rng([self.seed, 6])
        allowed = TOLERANCE.get(str(self.fingerprint.options.get("precision", "fp32")))
        worst, blind, worst_key = 0.0, list[str](), ""
        for key in self.sampled:
            shape, _ = ports(self.space.network_graph(self.space.from_key(key)))[INPUT]
            inputs = [rng.standard_normal((self.device.batch, *shape), dtype=np.float32) for _ in range(INPUTS)]
            found = session.outputs(key, inputs)
            if found is None:
                return skipped(("output.values", "caching.outputs"), "this device computes nothing")
            expected = self._reference(key, inputs)
            distance = max(_distance(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
            if distance > worst:
                worst, worst_key = distance, key
            if np.array_equal(found[0], found[1]) and not np.array_equal(expected[0], expected[1]):
                blind.append(key)
        values = Check("output.values", None, reason="no tolerance is known for this precision")
        if allowed is not None:
            wrong = "" if worst <= allowed else f"{worst_key} computes something else than torch"
            text = f"{counted(len(self.sampled), 'network')} at most {worst:.2g} from torch"
            values = Check("output.values", not wrong, text, f"<= {allowed:g}", wrong)
        text = f"{len(blind)} of {len(self.sampled)} gave one output for different inputs"
        reason = f"the input is not consumed, or outputs are remembered; first: {blind[0]}" if blind else ""
        return [values, Check("caching.outputs", not blind, text, "0", reason)]

    def _reference(self, key: str, inputs: Sequence[FloatArray]) -> list[FloatArray]:
        """Return what torch computes, with the weights that the built network has."""
        import torch

        network = self.space.to_torch(self.space.from_key(key)).eval()
        network.load_arrays(WeightPool.of(self.space.graph, 0).weights(network.graph))
        with torch.no_grad():
            return [network(torch.from_numpy(x)).numpy() for x in inputs]

    def _repeated_inputs(self, session: Session, loaded: Sequence[Loaded]) -> Check:
        """Time networks on one input over and over, and on several in turn, pass by pass."""
        rng = np.random.default_rng([self.seed, 7])
        keys = [one.key for one in loaded]
        ratios: list[float] = []
        for _ in range(PASSES):
            times: dict[bool, dict[str, float]] = {}
            for held in rng.permutation([False, True]).tolist():
                session.hold_inputs(held)
                times[held] = self._pass(session, [keys[i] for i in rng.permutation(len(keys))])
            ratios += [times[True][key] / times[False][key] for key in keys]
        session.hold_inputs(False)
        low, high = order_interval(ratios, 1 - 2 * MISS)
        text = f"{np.median(ratios):.2f} of the time ({low:.2f} to {high:.2f})"
        reason = "" if high >= HELD else "results are remembered from one run to the next"
        return Check("caching.repeated", high >= HELD, text, f"not below {HELD:g}", reason)

    def _more_work(self, session: Session, folder: Path) -> Check:
        """Time the slowest sampled network beside the same network at a larger batch."""
        name = "caching.work"
        if self.larger is None:
            return Check(name, None, reason="this device takes no other batch")
        key = max(self.sampled, key=lambda key: _latency_ms(self.sampled[key]))
        with self.larger.open() as other:
            (loaded,) = other.load(self._built(self.larger, folder / "larger", [key]))
            if loaded.failure:
                return Check(name, None, reason=f"{key} at batch {self.larger.batch}: {loaded.failure.detail}")
            other.start_timing()
            ratios: list[float] = []
            low, high = 0.0, float("inf")
            while low < LONGER <= high and len(ratios) < MOST_PASSES:
                ratios += [self._pass(other, [key])[key] / self._pass(session, [key])[key] for _ in range(PASSES)]
                low, high = order_interval(ratios, 1 - 2 * MISS)
        text = f"{np.median(ratios):.1f} times the time for {WORK} times the work ({low:.1f} to {high:.1f})"
        allowed = f"not below {LONGER:g}"
        if low < LONGER <= high:
            return Check(name, None, text, allowed, "the device does not hold still long enough to tell: run again")
        return Check(
            name, high >= LONGER, text, allowed, "" if high >= LONGER else "the time does not depend on the work"
        )

    def _pass(self, session: Session, keys: Sequence[str]) -> dict[str, float]:
        """Return every network's time in units of its round's sentinel: states of the device cancel out."""
        result = session.run_pass(keys, burst_ms=self.plan.burst_ms)
        if result.failures:
            key, failure = next(iter(result.failures.items()))
            raise DeviceError(f"{key} failed while it was audited ({failure.cause}; {failure.detail}); run again")
        clock = clock_of(self.device.fingerprint)
        return {round_.key: round_.value_ms(clock) / round_.sentinel_ms for round_ in result.rounds}

    # -- A/A -----------------------------------------------------------------------------------------------------

    def _again(self, stop: threading.Event | None) -> list[Check]:
        """Time the sampled networks again and compare with what is stored."""
        if self.device.fingerprint != self.fingerprint:
            return skipped(("aa.coverage", "aa.drift"), "the device is another than the store's: see provenance")
        items = Items.of(self.space, [self.space.from_key(key) for key in self.sampled], batch=self.device.batch)
        found = measure(self.device, items, self.plan, self.store, seed=self.seed, stop=stop)
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt
        pairs = [(self.sampled[m.key].label, m.estimate) for m in found if m.failure is None]
        labels = [(old, new) for old, new in pairs if old and new]
        return compare(labels, len(found), repeatability=self._repeatability, target=self.plan.target)


_TIMED = ("caching.repeated", "caching.work")
_LIVE = ("output.values", "caching.outputs", *_TIMED)


def _by_fastest(m: Measurement) -> Measurement:
    """Return the measurement with the label that its rounds would have today: what a new one is compared with."""
    return m if m.reference is None else replace(m, reference=replace(m.reference, burst_quantile=FASTEST))


def _row(m: Measurement, stored: tuple[str, float | None]) -> _Row:
    verdict, latency_ms = stored
    closed, today = (one.estimate if m.failure is None else None for one in (m, _by_fastest(m)))
    mine = closed.latency_ms if closed else None
    same = mine is latency_ms or (mine is not None and latency_ms is not None and abs(mine / latency_ms - 1) < 1e-9)
    noise, gate_ms = (m.reference.noise, m.reference.gate_ms) if m.reference else (0.0, 0.0)
    reasons = [r.invalid(m.clock, noise) for r in m.rounds]
    gated = [r for r, why in zip(m.rounds, reasons, strict=True) if why is None and r.sentinel_ms <= gate_ms]
    return _Row(
        key=m.key,
        digest=m.onnx_digest,
        verdict=verdict,
        failed=m.failure is not None,
        label=today,
        providers=frozenset(m.environment.get("providers", {})),
        target=float(m.plan["target"]),
        at_s=m.rounds[0].started_s if m.rounds else float("nan"),
        gated_sentinel_ms=float(np.median([r.sentinel_ms for r in gated])) if gated else float("nan"),
        rejected=Counter(reason for reason in reasons if reason),
        rounds=len(m.rounds),
        gated=len(gated),
        agrees=same and verdict == m.verdict,
    )


def _drift(timed: Sequence[_Row]) -> Check:
    """Compare the sentinel of the last quarter of the rows with that of the first, in the reference state."""
    ordered = sorted((row for row in timed if row.gated), key=lambda row: row.at_s)
    quarter = len(ordered) // 4
    if not quarter:
        return Check("run.drift", None, reason="fewer than 4 networks in the reference state")
    first, last = (
        float(np.median([row.gated_sentinel_ms for row in rows])) for rows in (ordered[:quarter], ordered[-quarter:])
    )
    change = last / first - 1
    passed = abs(change) <= GATE - 1
    reason = "" if passed else "the reference state moved during the run: labels of its ends do not compare"
    return Check("run.drift", passed, f"{change:+.1%} from first to last", f"{GATE - 1:.0%}", reason)


def is_constant(space: SearchSpace, key: str) -> bool:
    """Return whether no path of a network leads from its input to its output but through zeros: an engine folds it."""
    graph = space.network_graph(space.from_key(key))
    return graph.output in constants(graph)


def _distance(found: FloatArray, expected: FloatArray) -> float:
    """Return how far outputs are from those expected, relative to the length of these; infinite if they are none."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-12))


def _latency_ms(row: _Row) -> float:
    return row.label.latency_ms if row.label else 0.0
