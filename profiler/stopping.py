"""When a network is done, asked between passes: another round, the end, or a later batch.

References:
    Abedi and Brecht, ICPE 2017 (interleaved trials); Maricq et al., OSDI 2018 (order-statistic intervals);
    Kalibera and Jones, ISMM 2013 (repeat at the level where the variance is).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ..measurement.label import MIN_GATED, Estimate
from .plan import Plan

Step = Literal["go on", "close", "wait"]


def should_close(estimate: Estimate | None, plan: Plan, rounds: int) -> bool:
    """Return whether a network is done after this many valid rounds.

    At the last check always, at an earlier one if the interval is narrow enough; never between two checks, where a
    look would cost coverage.
    """
    if rounds >= plan.checks[-1]:
        return True
    return rounds in plan.checks and estimate is not None and estimate.precision <= plan.target


def next_step(label: Callable[[], Estimate | None], plan: Plan, *, valid: int, taken: int, waited: bool) -> Step:
    """Return what happens to a network now: another round, the end, or a later batch.

    Args:
        label: gives its label so far; asked only where the plan looks.
        plan: the plan.
        valid: its valid rounds.
        taken: all its rounds: twice the plan's last check ends it too, so that no network is timed for ever.
        waited: it is in its later batch already; there it gets as many rounds as the plan's first check, and one look.
    """
    cap = plan.checks[-1]
    if waited:
        more = cap + plan.checks[0]
        return "close" if valid >= more or taken >= 2 * more else "go on"
    spent = valid >= cap or taken >= 2 * cap
    if not spent and valid not in plan.checks:
        return "go on"
    estimate = label()
    if not spent and not should_close(estimate, plan, valid):
        return "go on"
    reached = estimate is not None and (estimate.gated >= MIN_GATED or estimate.precision <= plan.target)
    return "close" if reached or not plan.requeue else "wait"
