"""What is timed, and how long each; which networks those are is chosen in ``choose``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UnknownNameError, UsageError

if TYPE_CHECKING:  # a farm's agents time by a plan and know no spaces
    from ..spaces.architecture import Architecture
    from ..spaces.space import SearchSpace

Build = Callable[[str, Path], tuple[Path, str]]

OPERATIONS = "#operations"  # what the rows of single operations are kept under, after the space's name


@dataclass(frozen=True)
class Plan:
    """How a network is timed, and when it is enough.

    Attributes:
        name: for people.
        burst_ms: length of one round's burst.
        checks: valid rounds after which the interval is looked at; at the last a network is closed whatever it says.
        target: half width of the interval, as a share of the latency, that closes a network with verdict ``ok``.
        coverage: Coverage of the interval at each look: with four looks at 0.985 all of them hold together with 96 %
            (measurement by order statistics: 8, 11, 15, 20 rounds miss 0.8, 1.2, 0.7, 1.2 %).
        requeue: a network without enough gated rounds waits once for a later batch.
    """

    name: str
    burst_ms: float
    checks: tuple[int, ...]
    target: float
    coverage: float
    requeue: bool

    def __post_init__(self) -> None:
        if not self.checks or list(self.checks) != sorted(set(self.checks)) or self.checks[0] < 1:
            raise UsageError(f"checks={self.checks}; allowed: rising numbers of rounds, the first at least 1")
        for name, top in (("burst_ms", 1e6), ("target", 1), ("coverage", 1)):
            value = getattr(self, name)
            if not 0 < value < top:
                raise UsageError(f"{name}={value!r}; allowed: above 0 and below {top:g}")

    def record(self, seed: int) -> dict[str, Any]:
        """Return the fields with the seed, as every measurement keeps them."""
        return asdict(self) | {"checks": list(self.checks), "seed": seed}


QUICK = Plan("quick", burst_ms=10, checks=(6,), target=0.05, coverage=0.95, requeue=True)
STANDARD = Plan("standard", burst_ms=10, checks=(8, 11, 15), target=0.02, coverage=0.985, requeue=True)
PRECISE = Plan("precise", burst_ms=20, checks=(8, 11, 15, 20), target=0.01, coverage=0.985, requeue=True)
PLANS = {plan.name: plan for plan in (QUICK, STANDARD, PRECISE)}


def named(name: str) -> Plan:
    """Return the plan of this name.

    Raises:
        UnknownNameError: no such plan.
    """
    if name not in PLANS:
        raise UnknownNameError("plan", name, PLANS)
    return PLANS[name]


@dataclass(frozen=True)
class Items:
    """What is measured: keys of one space, and how the network of a key is built.

    Attributes:
        space: text identity under which the rows are kept.
        keys: all different, in the order in which they are measured.
        build: ``(key, directory) -> (path of the ONNX file, its SHA-256)``; called in a background thread.
        own_batch: see `devices.device.Model`.
    """

    space: str
    keys: tuple[str, ...]
    build: Build
    own_batch: bool = False

    @classmethod
    def of(cls, space: SearchSpace, architectures: Sequence[Architecture], *, batch: int = 1, seed: int = 0) -> Items:
        """Return architectures of a space, built for ``batch`` inputs with weights from ``seed``."""

        def build(key: str, directory: Path) -> tuple[Path, str]:
            return space.write_onnx(space.from_key(key), directory, batch=batch, seed=seed)

        return cls(space.spec, tuple(dict.fromkeys(a.key for a in architectures)), build)

    @classmethod
    def operations(cls, space: SearchSpace, *, batch: int = 1, seed: int = 0) -> Items:
        """Return every block that a choice can put into a network, each built as a network of its own.

        Their keys are those of the space's cost circuit; their rows are kept under its name and ``#operations``.
        """
        from ..spaces.export import WeightPool, write_model

        def build(key: str, directory: Path) -> tuple[Path, str]:
            pool = WeightPool.of(space.graph, seed)
            return write_model(space.operations[key], directory, pool, batch=batch, metadata={"operation": key})

        return cls(space.spec + OPERATIONS, tuple(space.operations), build)


def duplicates(count: int) -> list[int]:
    """Return the positions that are measured twice: 2.5 % of a large campaign, more of a small one.

    A spread needs some 50 pairs to be known to 10 %; so their number is n / 40 + 0.8 sqrt(n), rounded down: 5 of 30,
    21 of 300, 50 of 1000, 330 of 10,000.
    """
    return [n for n in range(count) if _pairs(n + 1) > _pairs(n)]


def _pairs(count: int) -> int:
    return (isqrt(64_000_000 * count) + 250 * count) // 10000  # whole numbers: the same on every machine
