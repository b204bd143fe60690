"""Kernels' times learnt: a family at a time, ridge on the logarithm, beside what was measured of the very kernel.

Features are logarithms of arithmetic and traffic, the time by the roofline of the kernels seen, and how channels
divide. A network's time is the sum of its kernels', scaled by what sums of left-out networks were off; its interval is
conformal over left-out networks, not rows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, exp, inf, log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import outputs
from ..errors import InputRefusedError, UsageError
from ..graphs.kernels import Kernel

SCHEMA = 1
FILE = "kernels.json"
COVERAGE = 0.95
FEW = 5  # kernels of a family below which all families are learnt together
NEAR = 2.0  # times the range seen within which a feature counts as seen
RIDGE = 1e-2
EVERY = "every family"

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One kernel, timed alone: its time in ms without what a session costs that does nothing."""

    kernel: Kernel
    ms: float


@dataclass(frozen=True)
class Bag:
    """One whole network: how often each kernel occurs in it, and its time as measured."""

    name: str
    kernels: tuple[str, ...]
    ms: float


@dataclass
class _Line:
    """One family's model: standardised features, and the range that they were seen in."""

    mean: list[float]
    scale: list[float]
    weights: list[float]
    low: list[float]
    high: list[float]
    rows: int


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
        spread: ln of how far networks that were left out were off, sorted.
    """

    fingerprint_id: str
    dispatch_ms: float
    gmacs: float = 1.0
    gbps: float = 1.0
    known: dict[str, float] = field(default_factory=dict[str, float])
    lines: dict[str, _Line] = field(default_factory=dict[str, _Line])
    scale: float = 1.0
    spread: list[float] = field(default_factory=list[float])

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
        line = self.lines.get(kernel.family) or self.lines[EVERY]
        x = self.features(kernel)
        z = (x - np.array(line.mean)) / np.array(line.scale)
        value = exp(float(np.clip(np.append(1.0, z) @ np.array(line.weights), -20, 20)))
        seen = kernel.family in self.lines and bool(
            np.all(x >= np.array(line.low) - log(NEAR)) and np.all(x <= np.array(line.high) + log(NEAR))
        )
        return max(value, self.dispatch_ms / 2), "predicted" if seen else "out_of_support"

    def predict(self, kernels: Sequence[Kernel]) -> tuple[float, float, float]:
        """Return a network's time in ms with its interval, at `coverage`."""
        value = self.scale * sum(self.kernel_ms(kernel)[0] for kernel in kernels)
        n = len(self.spread)
        place = min(ceil((n + 1) * self.coverage), n)
        off = self.spread[place - 1] if n else inf
        return value, value * exp(-off), value * exp(off) if off < 50 else inf

    def features(self, kernel: Kernel) -> FloatArray:
        """Return what a kernel's time is told from ``(8,)``."""
        moved = kernel.read_bytes + kernel.written_bytes
        roof = max(kernel.macs / self.gmacs, moved / self.gbps) / 1e6 + self.dispatch_ms
        shape = kernel.outputs[0].shape if kernel.outputs else (1,)
        channels = shape[1] if len(shape) > 1 else 1
        window = kernel.attributes.get("kernel_shape") or [1]
        return np.array([
            log(roof), log(kernel.macs + 1), log(kernel.read_bytes + 1), log(kernel.written_bytes + 1),
            log(float(np.prod(window))), float(channels % 16 == 0), float(channels % 8 == 0), log(channels),
        ])  # fmt: skip

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
            told: dict[str, Any] = json.loads(path.read_text())
            if told.pop("schema") != SCHEMA:
                raise InputRefusedError(f"{path} is of another schema; this version reads {SCHEMA}")
            lines = {name: _Line(**line) for name, line in told.pop("lines").items()}
            return cls(**told, lines=lines)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputRefusedError(f"{folder} holds no predictor of kernels ({error}); write one first") from error


def fit(
    samples: Mapping[str, Sample], bags: Sequence[Bag], *, fingerprint_id: str, dispatch_ms: float
) -> KernelPredictor:
    """Learn kernels' times, and from networks left out one at a time how far their sums are to be trusted.

    Args:
        samples: signature -> kernel.
        bags: whole networks made of such kernels.
        fingerprint_id: the device.
        dispatch_ms: what a node takes that does next to nothing.

    Raises:
        UsageError: there are fewer kernels than features.
    """
    if len(samples) < 2 * FEW:
        raise UsageError(f"{len(samples)} kernels were timed; at least {2 * FEW} are needed: collect of more networks")
    ratios: list[float] = []
    for bag in bags:
        own = set(bag.kernels) - {s for other in bags if other is not bag for s in other.kernels}
        rest = {name: sample for name, sample in samples.items() if name not in own}
        if len(rest) < 2 * FEW or not all(name in samples for name in bag.kernels):
            continue
        without = _learnt(rest, fingerprint_id, dispatch_ms)
        ratios.append(log(bag.ms / sum(without.kernel_ms(samples[name].kernel)[0] for name in bag.kernels)))
    found = _learnt(samples, fingerprint_id, dispatch_ms)
    middle = float(np.median(ratios)) if ratios else 0.0
    found.scale = exp(middle)
    found.spread = sorted(abs(ratio - middle) for ratio in ratios)
    return found


def _learnt(samples: Mapping[str, Sample], fingerprint_id: str, dispatch_ms: float) -> KernelPredictor:
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
        known={name: one.ms for name, one in samples.items()},
    )  # fmt: skip
    groups: defaultdict[str, list[Sample]] = defaultdict(list)
    for one in all_of:
        groups[one.kernel.family].append(one)
        groups[EVERY].append(one)
    for family, mine in groups.items():
        if len(mine) >= FEW:
            found.lines[family] = _line(np.array([found.features(one.kernel) for one in mine]), [s.ms for s in mine])
    return found


def _line(X: FloatArray, ms: Iterable[float]) -> _Line:
    """Fit ridge to logarithms of times; the first feature, the roofline's own time, is pulled to 1 and not to 0."""
    y = np.log(np.fromiter(ms, float))
    mean, scale = X.mean(0), X.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    Z = np.column_stack([np.ones(len(X)), (X - mean) / scale])
    prior = np.zeros(Z.shape[1])
    prior[1] = scale[0]
    penalty = RIDGE * len(X) * np.eye(Z.shape[1])
    penalty[0, 0] = 0.0
    weights = np.linalg.solve(Z.T @ Z + penalty, Z.T @ y + penalty @ prior)
    return _Line(mean.tolist(), scale.tolist(), weights.tolist(), X.min(0).tolist(), X.max(0).tolist(), len(X))
