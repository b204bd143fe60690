"""The price of a space none of whose networks was ever timed: by their kernels, which other networks share.

Sampled networks are built, the device's runtime says which kernels it makes of each, and what was learnt of kernels
adds them up. A line over the space's counts, learnt from these sums, gives every other network and the slope of gates.
Nothing is timed for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..devices.device import Model, Place, TellsKernels
from ..errors import InputRefusedError, MismatchError, UsageError
from ..graphs.kernels import Kernel
from ..predictor.interval import COVERAGE, Conformal
from ..predictor.kernels import KernelPredictor
from ..predictor.learn import LINE, learn
from ..predictor.modules import ScaledModule
from ..profiler.choose import choose
from ..scratch import Scratch
from ..search.cost import PredictorCost
from ..search.price import Price
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace

NETWORKS = 200  # whose kernels are added up: sums have no noise, and are nearly a line in counts
LITTLE = 0.02  # mean share of the time from which kernels unlike all that were timed are told of
NAMED = 5  # of them, the dearest


@dataclass(frozen=True)
class Sums:
    """Sampled networks of a space, by the sums of their kernels.

    Attributes:
        ms: key -> ms.
        outside: kernel that is unlike all that were timed -> its mean share of a network's time.
    """

    ms: dict[str, float]
    outside: dict[str, float]

    @property
    def named(self) -> list[str]:
        """Return the dearest kernels that are unlike all that were timed, if they matter."""
        if sum(self.outside.values()) < LITTLE:
            return []
        return sorted(self.outside, key=lambda name: -self.outside[name])[:NAMED]


def sums(space: SearchSpace, device: Place, kept: KernelPredictor, *, seed: int = 0) -> Sums:
    """Return sampled networks by the sums of their kernels.

    Raises:
        UsageError: the device tells no kernels.
        MismatchError: the predictor is of another device.
        InputRefusedError: the runtime refuses a network of the space, or nobody can see through it.
    """
    if device.fingerprint.id != kept.fingerprint_id:
        raise MismatchError(f"these kernels are of device {kept.fingerprint_id}, not of {device.fingerprint.id}")
    if not isinstance(device, TellsKernels):
        raise UsageError(
            "--cost kernels: the device tells none; allowed: local, runtime=onnxruntime, openvino or litert"
        )
    count = space.at_most(NETWORKS)
    networks = [one for one in choose(space, count, seed=seed) if space.is_connected(one)]
    ms: dict[str, float] = {}
    outside: defaultdict[str, float] = defaultdict(float)
    for network, kernels in zip(networks, _kernels(space, device, networks), strict=True):
        ms[network.key] = kept.predict(kernels)[0]
        told = [(kernel, *kept.kernel_ms(kernel)) for kernel in kernels]
        whole = sum(one for _, one, _ in told)
        for kernel, one, how in told:
            if how == "out_of_support":
                outside[_name(kernel)] += one / whole / len(networks)
    return Sums(ms, dict(outside))


def _kernels(
    space: SearchSpace, device: TellsKernels, networks: Sequence[Architecture]
) -> Iterator[tuple[Kernel, ...]]:
    with Scratch() as folder:
        batch = device.batch if isinstance(device, Place) else 1
        written = (Model(one.key, *space.write_onnx(one, Path(folder), batch=batch)) for one in networks)
        for network, told in zip(networks, device.profiles(written), strict=True):
            if isinstance(told, InputRefusedError):
                raise InputRefusedError(f"--cost kernels: of {network.key} no kernels are known: {told}") from told
            yield told.kernels


def _name(kernel: Kernel) -> str:
    shape = "x".join(map(str, kernel.outputs[0].shape)) if kernel.outputs else "?"
    window = "x".join(map(str, kernel.attributes.get("kernel_shape") or ()))
    return f"{kernel.op}{f' {window}' if window else ''} to {shape}"


@dataclass(frozen=True)
class _Interval:
    """The interval of a price: a factor either way."""

    cost: PredictorCost
    factor: float

    def __call__(self, architectures: Sequence[Architecture]) -> tuple[NDArray[Any], NDArray[Any]]:
        value = Price(self.cost, self.cost.space).predict(architectures)
        return value / self.factor, value * self.factor


def by_kernels(space: SearchSpace, kept: KernelPredictor, told: Sums, *, upper_bound: bool, seed: int = 0) -> Price:
    """Return the price of a space's networks by the kernels of sampled ones.

    Its residuals are those of whole networks of families that were left out of the learning, and what the line is off.

    Raises:
        UsageError: the upper end is asked for, and no whole network says where it is.
    """
    networks = [space.from_key(key) for key in told.ms]
    counts = space.sparing_encoding
    learnt = learn(
        {counts.name: space.encode(networks, counts.name).astype(float)}, np.array(list(told.ms.values())), None,
        space.groups(networks), model=LINE, blocks={counts.name: counts.blocks(space)}, seed=seed,
    )  # fmt: skip
    line_off = learnt.conformal.log_half_width(min(COVERAGE, len(networks) / (len(networks) + 1)))
    half = kept.log_half_width() + line_off
    if upper_bound and not isfinite(half):
        raise UsageError(
            "--upper-bound: no whole network says how far sums of kernels are off; collect kernels of some"
        )
    module = ScaledModule(learnt.module, exp(half)) if upper_bound else learnt.module
    conformal = Conformal(tuple(one + line_off for one in kept.spread)) if kept.spread and not upper_bound else None
    interval = None
    if isfinite(half) and kept.coverage >= COVERAGE:
        interval = _Interval(PredictorCost(learnt.module, space, learnt.encoding), exp(half))
    about: Mapping[str, Any] = {
        "model": "kernels", "encoding": learnt.encoding, "rows": len(networks), "line": asdict(learnt.scores),
        "kernels": len(kept.known), "families_left_out": len(kept.spread), "coverage": kept.coverage,
        "interval_pct": 100 * (exp(half) - 1) if isfinite(half) else None,
        "out_of_support": told.named, "out_of_support_share": sum(told.outside.values()),
    }  # fmt: skip
    return Price(module, space, learnt.encoding, interval, conformal, dict(about))
