"""Answers of an audit, and the statistics of its A/A test: whether labels of the same networks agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, hypot, log

import numpy as np
from scipy.stats import binomtest

from ..measurement.label import Estimate
from ..measurement.repeatability import facing

COVERAGE = 0.95
MISS = 0.01  # how often a sound device and store may fail one check
MOST_DIFFERENCE = 0.05  # median difference of labels told twice, above which wide intervals are no excuse


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        check: its name.
        passed: None if it could not be asked; ``reason`` says why.
        found: what was seen.
        allowed: what would have passed.
        reason: why it failed or was skipped, else empty.
    """

    check: str
    passed: bool | None
    found: str = ""
    allowed: str = ""
    reason: str = ""


def skipped(names: Sequence[str], reason: str) -> list[Check]:
    """Return checks of these names that could not be asked, and why."""
    return [Check(name, None, reason=reason) for name in names]


def compare(
    pairs: Sequence[tuple[Estimate, Estimate]], asked: int, *, repeatability: float, target: float
) -> list[Check]:
    """Judge labels of the same networks from two times.

    Args:
        pairs: stored and new label of every network that has both.
        asked: networks that were timed again; one without a label counts as one outside.
        repeatability: relative standard deviation between processes; it is part of both intervals.
        target: half width at which a new label is reliable; drift is told from such labels only.

    Returns:
        ``aa.coverage``: fails if fewer labels agree than 95 % intervals allow, by a binomial test at 1 %, or if half of
        them moved by more than 5 %, however wide their intervals;
        ``aa.drift``: fails if labels moved one way (sign test at 1 %), and by more than the repeatability limit of
        ISO 5725: what two processes may differ by, 1.96 x sqrt(2) x their standard deviation.
    """
    limit = 1.96 * 2**0.5 * repeatability
    differences = [log(new.latency_ms / old.latency_ms) for old, new in pairs]
    within = sum(abs(d) <= hypot(facing(*pair), limit) for d, pair in zip(differences, pairs, strict=True))
    p = float(binomtest(within, asked, COVERAGE, alternative="less").pvalue)
    size = float(np.median(np.abs(differences))) if differences else float("nan")
    reasons = [f"too few agree (p = {p:.2g})"] if p < MISS else []
    if size > MOST_DIFFERENCE:
        reasons.append("labels differ by more than they are useful for: quiet the device, then collect again")
    coverage = Check(
        "aa.coverage", not reasons, f"{within} of {asked} within their interval; median difference {size:.1%}",
        f"{COVERAGE:.0%}, p >= {MISS:g}; at most {MOST_DIFFERENCE:.0%}", "; ".join(reasons),
    )  # fmt: skip
    moved = [d for d, (_, new) in zip(differences, pairs, strict=True) if new.precision <= target and d]
    least = 1 - log(MISS, 2)  # fewer can never reach the test's level
    if len(moved) < least:
        why = f"{len(moved)} reliable labels, fewer than {ceil(least)}: take a larger --count, or a quieter hour"
        return [coverage, Check("aa.drift", None, reason=why)]
    sign = float(binomtest(sum(d > 0 for d in moved), len(moved)).pvalue)
    shift = exp(float(np.median(moved))) - 1
    drifted = sign < MISS and abs(shift) > limit
    reason = "the device is slower or faster than it was" if drifted else ""
    text = f"{shift:+.1%} over {len(moved)} reliable labels (sign test p = {sign:.2g})"
    return [coverage, Check("aa.drift", not drifted, text, f"{limit:.1%} if p < {MISS:g}", reason)]
