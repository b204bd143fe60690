"""The names that arguments of verbs take where no folder lists them; they stand apart so that ``--help`` is light."""

from __future__ import annotations

from ..errors import UnknownNameError, UsageError
from ..measurement.quantities import ENERGY, MEMORY

COUNTERS = {"flops": "macs", "parameters": "parameters"}
"""What counts a network, and the counter's name in the space's circuit."""

HEADS = (ENERGY, MEMORY)
"""Quantities that are no times, for which a predictor may have a head."""

COSTS = ("predictor", "kernels", "table", *COUNTERS, *HEADS)
"""What prices networks in a search."""

SAMPLINGS = ("random", "d_optimal")
"""How an evaluation chooses the rows that it learns from."""


def shares_of(spec: str) -> dict[str, float]:
    """Return the weights of the costs that a spec names.

    >>> shares_of("table")
    {'table': 1.0}
    >>> shares_of("0.7*predictor+0.3*flops")
    {'predictor': 0.7, 'flops': 0.3}

    Raises:
        UnknownNameError: no such cost.
        UsageError: weights that are no shares of 1.
    """
    found: dict[str, float] = {}
    for part in spec.split("+"):
        weight, star, name = part.strip().rpartition("*")
        if name not in COSTS:
            raise UnknownNameError("cost", name, COSTS)
        if name in found:
            raise UsageError(f"--cost {spec} names {name} twice; give it once, with its whole share")
        try:
            found[name] = float(weight) if star else 1.0
        except ValueError:
            raise UsageError(f"cannot read {part!r} in --cost {spec}; write WEIGHT*NAME, such as 0.5*table") from None
    if not (min(found.values()) > 0 and abs(sum(found.values()) - 1) <= 1e-6):  # NaN is neither
        raise UsageError(f"--cost {spec}: all costs are in ms, so their weights must be above 0 and add up to 1")
    return found
