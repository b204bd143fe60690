"""Kernels' times learnt, a family at a time, beside what was measured of the very kernel.

A kernel was timed alone, or a runtime tells its share of a network's time. Features are logarithms of arithmetic and
traffic, the time by the roofline of the kernels seen, and how channels divide; `kernel_line` learns from them. On a
new device, times on another one are the first feature, where that is better for kernels held out. A network's time is
the sum of its kernels', corrected by what sums of left-out networks were off; its interval is conformal over left-out
families of networks, not rows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, exp, inf, log
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from .. import outputs
from ..errors import InputRefusedError, UsageError
from ..graphs.kernels import Kernel
from ..graphs.work import work_of
from .design import d_optimal
from .kernel_line import FloatArray, Line, Number, Positive, Rates

SCHEMA = 1
FILE = "kernels.json"
COVERAGE = 0.95
FEW = 5  # kernels of a family below which all families are learnt together
LEAST = 2 * FEW  # kernels from which anything is learnt
ALIKE = 0.9  # cosine of what networks are made of, from which they are one family
FAMILIES = 3  # of networks, below which these are left out one at a time
MANY = 12  # networks from which a residual is tried
GAIN = 0.9  # of the error without, which a residual or a source must come below
TRUST = 0.5  # of what the same work was off on a source: half of it is noise, or of that runtime alone
LOWEST = 0.15  # quantile of watched times that says what watching costs
SURE = 0.15  # of a watched time, that is the kernel's own at the least
EVERY = "every family"


@dataclass(frozen=True)
class Sample:
    """One kernel and its time in ms: timed alone, without what a session costs that does nothing, or in a network."""

    kernel: Kernel
    ms: float


@dataclass(frozen=True)
class Bag:
    """One whole network: its kernels, timed alone or not, and its time in ms as measured."""

    name: str
    kernels: tuple[Kernel, ...]
    ms: float


@dataclass
class KernelPredictor:
    """Times of kernels on one device.

    Attributes:
        fingerprint_id: the device.
        dispatch_ms: what a node takes that does next to nothing: no kernel is told to take less than half of it.
        gmacs, gbps: the best that kernels of the samples showed.
        known: signature -> ms as measured.
        lines: family -> its model.
        scale: measured time of whole networks over the sum of their kernels, from networks left out.
        residual: weights of `_totals` in ln of the same; empty where these do not help.
        spread: ln of how far networks that were left out were off, sorted: the worst of each family.
        judged_by: what was left out at a time, ``families`` or ``networks``.
        source: what was learnt on another device, where that helps.
        works: `graphs.work.work_of` a kernel -> ms as measured: how another runtime's kernels are found here.
    """

    fingerprint_id: str
    dispatch_ms: Positive
    gmacs: Positive = 1.0
    gbps: Positive = 1.0
    known: dict[str, Positive] = field(default_factory=dict[str, float])
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    scale: Positive = 1.0
    residual: list[Number] = field(default_factory=list[float])
    spread: list[Annotated[float, Meta(ge=0)]] = field(default_factory=list[float])
    judged_by: str = "networks"
    source: KernelPredictor | None = None
    works: dict[str, Positive] = field(default_factory=dict[str, float])

    @property
    def coverage(self) -> float:
        """Return the coverage that the left-out networks can vouch for: n of them for n / (n + 1) at the most."""
        n = len(self.spread)
        return min(COVERAGE, n / (n + 1))

    def kernel_ms(self, kernel: Kernel) -> tuple[float, str]:
        """Return a kernel's time in ms, never 0, and ``measured``, ``predicted`` or ``out_of_support``."""
        told = self.known.get(kernel.signature)
        if told is not None:
            return told, "measured"
        line = self.lines.get(_line_of(kernel)) or self.lines[EVERY]
        x = self.features(kernel)
        seen = _line_of(kernel) in self.lines and line.has_seen(x, kernel.op)
        return max(exp(line.log_ms(x, kernel.op)), self.dispatch_ms / 2), "predicted" if seen else "out_of_support"

    def alike_ms(self, kernel: Kernel) -> float:
        """Return what this device takes for a kernel of any runtime: its own, else the work that is most like it.

        Of the same work by another name, or packed otherwise, half of what it was off the line is taken over.
        """
        if kernel.signature in self.known or not self.works:
            return self.kernel_ms(kernel)[0]
        line = self.lines.get(_line_of(kernel)) or self.lines[EVERY]
        told = line.log_ms(self.features(kernel), line.nearest(kernel))
        known = self.works.get(work_of(kernel) or "")
        if known is not None:
            told += TRUST * (log(known) - told)
        return max(exp(told), self.dispatch_ms / 2)

    def sum_ms(self, kernels: Sequence[Kernel]) -> float:
        """Return the sum of kernels' times; those that are alike are looked at once."""
        counts = Counter(kernel.signature for kernel in kernels)
        one_of = {kernel.signature: kernel for kernel in kernels}
        return sum(count * self.kernel_ms(one_of[name])[0] for name, count in counts.items())

    def correction(self, kernels: Sequence[Kernel], sum_ms: float) -> float:
        """Return a network's time over the sum of its kernels' times."""
        if not self.residual:
            return self.scale
        return self.scale * exp(
            float(np.clip(_totals(kernels, sum_ms, self.dispatch_ms) @ np.array(self.residual), -1, 1))
        )

    def predict(self, kernels: Sequence[Kernel]) -> tuple[float, float, float]:
        """Return a network's time in ms with its interval, at `coverage`."""
        sum_ms = self.sum_ms(kernels)
        value = sum_ms * self.correction(kernels, sum_ms)
        off = self.log_half_width()
        return value, value * exp(-off), value * exp(off) if off < 50 else inf

    def log_half_width(self) -> float:
        """Return ln of the factor within which networks of unseen families are, at `coverage`; inf if nobody knows."""
        n = len(self.spread)
        return self.spread[min(ceil((n + 1) * self.coverage - 1e-9), n) - 1] if n else inf

    def features(self, kernel: Kernel) -> FloatArray:
        """Return what a kernel's time is told from ``(8,)``, or ``(9,)`` with a source, whose time is the first."""
        moved = kernel.read_bytes + kernel.written_bytes
        roof = max(kernel.macs / self.gmacs, moved / self.gbps) / 1e6 + self.dispatch_ms
        elsewhere = [] if self.source is None else [log(self.source.alike_ms(kernel))]
        return np.array([*elsewhere, log(roof), *_sizes(kernel)])

    def save(self, folder: Path) -> Path:
        """Write it as JSON into a folder.

        Raises:
            UsageError: something else lies there.
            StoreError: it cannot be written.
        """
        document = {"schema": SCHEMA, **asdict(self)}
        path = folder / FILE
        outputs.write({path: json.dumps(document).encode()}, outputs.marked(b'{"schema": ', b'"dispatch_ms": '))
        return path

    @classmethod
    def load(cls, folder: Path) -> KernelPredictor:
        """Read what `save` wrote.

        Raises:
            InputRefusedError: there is none, or it is damaged or of another schema.
        """
        path = folder / FILE
        try:
            content = path.read_bytes()
            schema = msgspec.json.decode(content, type=_Marked).schema
            if schema != SCHEMA:
                raise InputRefusedError(f"{path} is of schema {schema}; this version reads {SCHEMA}")
            found = msgspec.json.decode(content, type=cls)
        except (OSError, ValueError) as error:
            raise InputRefusedError(
                f"{folder} holds no predictor of kernels ({error}); learn one: tempograd kernels fit"
            ) from error
        if EVERY not in found.lines or found.spread != sorted(found.spread):
            raise InputRefusedError(f"{path} is damaged; learn another: tempograd kernels fit")
        return found


@dataclass
class _Marked:
    schema: int


def holds_kernels(folder: Path | None) -> bool:
    """Return whether a folder holds what was learnt of kernels, and not of whole networks."""
    return folder is not None and (folder / FILE).is_file()


def fit(
    samples: Mapping[str, Sample],
    bags: Sequence[Bag],
    *,
    fingerprint_id: str,
    dispatch_ms: float,
    source: KernelPredictor | None = None,
) -> KernelPredictor:
    """Learn kernels' times, and from networks left out, family by family, how far their sums are to be trusted.

    Args:
        samples: signature -> kernel.
        bags: whole networks.
        fingerprint_id: the device.
        dispatch_ms: what a node takes that does next to nothing.
        source: what was learnt on another device; taken where kernels held out are nearer with it.

    Raises:
        UsageError: there are fewer kernels than features.
    """
    if len(samples) < LEAST:
        raise UsageError(
            f"{len(samples)} kernels were timed; allowed: {LEAST} or more. Time those of more networks: tempograd "
            "kernels collect OTHER.onnx, into the same --store"
        )
    samples = dict(samples) | _in_context(bags)
    source = _helpful(source, samples, fingerprint_id, dispatch_ms)
    found = _learnt(samples, fingerprint_id, dispatch_ms, source)
    rates = {name: line.rates for name, line in found.lines.items()}
    family = _families(bags)
    by = "families" if len(set(family)) >= FAMILIES else "networks"
    groups = family if by == "families" else list(range(len(bags)))
    kept: list[int] = []
    totals: list[FloatArray] = []
    ratios: list[float] = []
    for group in dict.fromkeys(groups):
        inside = [n for n, g in enumerate(groups) if g == group]
        others = {k.signature for n, bag in enumerate(bags) if groups[n] != group for k in bag.kernels}
        own = {kernel.signature for n in inside for kernel in bags[n].kernels} - others
        rest = {name: sample for name, sample in samples.items() if name not in own}
        if len(rest) < 2 * FEW:
            continue
        without = _learnt(rest, fingerprint_id, dispatch_ms, source, rates)
        for n in inside:
            sum_ms = without.sum_ms(bags[n].kernels)
            kept.append(group)
            totals.append(_totals(bags[n].kernels, sum_ms, dispatch_ms))
            ratios.append(log(bags[n].ms / sum_ms))
    found.judged_by = by
    if ratios:
        _correct(found, np.array(totals), np.array(ratios), np.array(kept))
    return found


def telling(kernels: Sequence[Kernel], count: int, seed: int) -> list[int]:
    """Return the places of ``count`` kernels that tell a linear model of every family the most, those first."""
    families = sorted({kernel.family for kernel in kernels})
    rows = [[*_sizes(k), *(float(k.family == f) for f in families)] for k in kernels]
    blocks = (len(rows[0]) - len(families), len(families))
    return d_optimal(rows, min(count, len(rows)), np.random.default_rng(seed), blocks=blocks)


def _sizes(kernel: Kernel) -> list[float]:
    """Return logarithms of what a kernel computes, reads and writes, and how its channels divide: seven numbers."""
    shape = kernel.outputs[0].shape if kernel.outputs else (1,)
    channels = shape[1] if len(shape) > 1 else 1
    window = kernel.attributes.get("kernel_shape") or [1]
    return [
        log(kernel.macs + 1), log(kernel.read_bytes + 1), log(kernel.written_bytes + 1), log(float(np.prod(window))),
        float(channels % 16 == 0), float(channels % 8 == 0), log(max(channels, 1)),
    ]  # fmt: skip


def _correct(found: KernelPredictor, totals: FloatArray, ratios: FloatArray, groups: NDArray[np.int_]) -> None:
    """Set scale, residual and spread by ln of how far off sums of left-out networks were, ``(n,)``."""
    middle = float(np.median(ratios))
    found.scale, off = exp(middle), ratios - middle
    if len(off) >= MANY and len(set(groups)) >= FAMILIES:
        held_out = off.copy()
        for group in set(groups):
            others = groups != group
            held_out[~others] -= totals[~others] @ _pulled(totals[others], off[others])
        if np.abs(held_out).mean() < GAIN * np.abs(off).mean():
            found.residual, off = _pulled(totals, off).tolist(), held_out
    found.spread = sorted(float(np.abs(off[groups == group]).max()) for group in set(groups))


def _pulled(X: FloatArray, y: FloatArray) -> FloatArray:
    """Return the weights of a ridge on standardised features, for features as they are; the first is the constant."""
    mean, scale = X[:, 1:].mean(0), np.maximum(X[:, 1:].std(0), 1e-9)
    Z = (X[:, 1:] - mean) / scale
    weights = np.linalg.solve(Z.T @ Z + np.eye(Z.shape[1]), Z.T @ (y - y.mean())) / scale
    return np.append(y.mean() - mean @ weights, weights)


def _totals(kernels: Sequence[Kernel], sum_ms: float, dispatch_ms: float) -> FloatArray:
    """Return what a network's residual is told from ``(5,)``: a constant, shares of its nodes, its size, how many."""
    n = max(len(kernels), 1)
    layout = sum(kernel.family == "layout" for kernel in kernels) / n
    return np.array([1.0, n * dispatch_ms / sum_ms, layout, log(sum_ms), log(n)])


def _families(bags: Sequence[Bag]) -> list[int]:
    """Return a number for each network that those made of the same kinds of kernels share, whatever their sizes."""
    kinds = [Counter(_kind(kernel) for kernel in bag.kernels) for bag in bags]
    family = list(range(len(bags)))
    for i, one in enumerate(kinds):
        for j in range(i):
            both = sum(one[kind] * kinds[j][kind] for kind in one)
            if both >= ALIKE * (sum(v * v for v in one.values()) * sum(v * v for v in kinds[j].values())) ** 0.5:
                family = [family[j] if g == family[i] else g for g in family]
    return family


def _kind(kernel: Kernel) -> tuple[Any, ...]:
    told = kernel.attributes
    return kernel.family, kernel.op, tuple(told.get("kernel_shape") or ()), tuple(told.get("strides") or ())


def _in_context(bags: Sequence[Bag]) -> dict[str, Sample]:
    """Return kernels by the shares that the runtime tells of networks' times: what they take there, caches as they are.

    What watching costs a kernel, the time of the smallest, is taken off first; the times of a network's kernels then
    add up to what it takes unwatched.
    """
    watched = [kernel.ms for bag in bags for kernel in bag.kernels if kernel.ms > 0]
    watching_ms = float(np.quantile(watched, LOWEST)) if watched else 0.0
    told: defaultdict[str, list[float]] = defaultdict(list)
    kernel_of: dict[str, Kernel] = {}
    for bag in bags:
        own = [max(kernel.ms - watching_ms, SURE * kernel.ms) for kernel in bag.kernels]
        sum_ms = sum(own)
        for kernel, ms in zip(bag.kernels, own, strict=True):
            if ms > 0:
                told[kernel.signature].append(ms * bag.ms / sum_ms)
                kernel_of[kernel.signature] = kernel
    return {name: Sample(kernel, float(np.median(told[name]))) for name, kernel in kernel_of.items()}


def _helpful(
    source: KernelPredictor | None, samples: Mapping[str, Sample], fingerprint_id: str, dispatch_ms: float
) -> KernelPredictor | None:
    """Return the source if kernels held out are nearer with it than without."""
    if source is None:
        return None
    names, folds = list(samples), min(5, len(samples))
    errors = {True: 0.0, False: 0.0}
    for fold in range(folds):
        rest = {name: samples[name] for n, name in enumerate(names) if n % folds != fold}
        for with_it in errors:
            model = _learnt(rest, fingerprint_id, dispatch_ms, source if with_it else None)
            held_out = [samples[name] for n, name in enumerate(names) if n % folds == fold]
            errors[with_it] += sum(abs(log(model.kernel_ms(one.kernel)[0] / one.ms)) for one in held_out)
    return source if errors[True] < errors[False] else None


def _learnt(
    samples: Mapping[str, Sample],
    fingerprint_id: str,
    dispatch_ms: float,
    source: KernelPredictor | None,
    known: Mapping[str, Rates] = MappingProxyType({}),
) -> KernelPredictor:
    all_of = list(samples.values())
    rates = [one.kernel.macs / one.ms / 1e6 for one in all_of if one.kernel.macs > 1e6]
    flows = [
        (one.kernel.read_bytes + one.kernel.written_bytes) / one.ms / 1e6
        for one in all_of
        if one.kernel.family in ("elementwise", "pool", "normalisation") and one.ms > 2 * dispatch_ms
    ]
    found = KernelPredictor(
        fingerprint_id, dispatch_ms, gmacs=float(np.quantile(rates, 0.9)) if rates else 1.0,
        gbps=float(np.quantile(flows, 0.9)) if flows else 1.0,
        known={name: one.ms for name, one in samples.items()}, source=source, works=_works(all_of),
    )  # fmt: skip
    X = np.array([found.features(one.kernel) for one in all_of])
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for n, one in enumerate(all_of):
        groups[_line_of(one.kernel)].append(n)
        groups[EVERY].append(n)
    for family, rows in groups.items():
        if len(rows) >= FEW:
            ms, ops = [all_of[n].ms for n in rows], [all_of[n].kernel.op for n in rows]
            found.lines[family] = Line.of(X[rows], ms, ops, known.get(family), bends=family != EVERY)
    return found


def _line_of(kernel: Kernel) -> str:
    """Return the family that a kernel is learnt with: grouped convolutions, of which there are few, with the others."""
    return "convolution" if kernel.family == "grouped" else kernel.family


def _works(samples: Iterable[Sample]) -> dict[str, float]:
    """Return each work with the middle of the times of the kernels that do it."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for one in samples:
        work = work_of(one.kernel)
        if work is not None:
            found[work].append(one.ms)
    return {work: float(np.median(ms)) for work, ms in found.items()}
