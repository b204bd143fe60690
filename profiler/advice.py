"""What to try first, from where a network's time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..graphs.kernels import Kernel
from .roofline import Rates

BLOCK = 16  # channels that vector units of servers work on at once; laptops and phones on 8 or 4
LITTLE = 0.03  # share of the time below which nothing is said


@dataclass(frozen=True)
class Advice:
    """One thing to try.

    Attributes:
        gain_ms: what could be gained at the very best.
        text: what, and why.
    """

    gain_ms: float
    text: str


def advise(kernels: Sequence[Kernel], ms: Sequence[float], rates: Rates) -> list[Advice]:
    """Return what could be tried, what promises most first; nothing that could gain less than 3 %.

    Args:
        kernels: Kernels of a network.
        ms: how long each takes, undisturbed.
        rates: Rates of the device.
    """
    whole = sum(ms)
    told = [advice for advice in _all(kernels, ms, rates) if advice.gain_ms >= LITTLE * whole]
    return sorted(told, key=lambda advice: -advice.gain_ms)


def _all(kernels: Sequence[Kernel], ms: Sequence[float], rates: Rates) -> Iterator[Advice]:
    pairs = list(zip(kernels, ms, strict=True))
    whole = sum(ms)

    layout = sum(t for k, t in pairs if k.family == "layout")
    copies = sum(t for k, t in pairs if k.op.startswith("nchwc.Reorder"))
    yield Advice(
        layout,
        f"{layout / whole:.0%} of the time goes into moving data about (transposes, reshapes, concatenations; "
        f"{copies / whole:.0%} into the runtime's own reordering): keep one layout throughout, and channels that "
        f"{BLOCK} divides",
    )
    small = [(k, t) for k, t in pairs if rates.bound(k)[0] == "dispatch"]
    wasted = sum(t for _, t in small)
    yield Advice(
        wasted,
        f"{len(small)} of {len(kernels)} kernels are too small to matter but for being there ({wasted / whole:.0%} of "
        "the time): fewer, wider layers, operators that fuse, or a larger batch",
    )
    yield from _convolutions(pairs, whole, rates)
    arithmetic = [(k, t) for k, t in pairs if rates.bound(k)[0] == "arithmetic"]
    best = sum(rates.bound(k)[1] for k, _ in arithmetic)
    spent = sum(t for _, t in arithmetic)
    if spent > 0 and best > 0.5 * spent:
        yield Advice(
            0.5 * spent,
            f"{spent / whole:.0%} of the time is arithmetic at {best / spent:.0%} of the best this device showed: only "
            "less of it helps: fewer channels, a smaller input, --precision int8-static, or more threads",
        )
    moved = sum(
        t for k, t in pairs if rates.bound(k)[0] == "bandwidth" and k.family in ("elementwise", "normalisation")
    )
    yield Advice(
        moved,
        f"{moved / whole:.0%} of the time goes into element-wise and normalising kernels that only read and write: "
        "fuse them into what comes before (fold BatchNorm, use activations that the runtime fuses)",
    )


def _convolutions(pairs: Sequence[tuple[Kernel, float]], whole: float, rates: Rates) -> Iterator[Advice]:
    """Yield what is to be said of convolutions that are far from the device's best."""
    for family, why in (
        ("depthwise", "depthwise convolutions compute little for what they read: larger kernels cost almost nothing, "),
        ("grouped", "grouped convolutions have no fast code in many runtimes: "),
    ):
        mine = [(k, t) for k, t in pairs if k.family == family]
        spent = sum(t for _, t in mine)
        gain = spent - sum(rates.bound(k)[1] for k, _ in mine)
        if mine and gain > 0.5 * spent:
            yield Advice(gain, f"{why}and these take {spent / whole:.0%} of the time; try dense ones of fewer channels")
    odd = [(k, t) for k, t in pairs if k.family in ("convolution", "pointwise") and _is_odd(k)]
    spent = sum(t for _, t in odd)
    gain = spent - sum(rates.bound(k)[1] for k, _ in odd)
    yield Advice(
        gain,
        f"{len(odd)} convolutions, {spent / whole:.0%} of the time, have channels that {BLOCK} does not divide, and "
        "run in slower code: round them",
    )


def _is_odd(kernel: Kernel) -> bool:
    weights = kernel.inputs[1].shape if len(kernel.inputs) > 1 else ()
    return len(weights) > 1 and (weights[0] % BLOCK > 0 or (weights[1] % BLOCK > 0 and weights[1] > 4))
