"""How far two measuring processes agree on the same network: the figure that every interval is widened by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil, hypot, inf, log
from typing import Any, NamedTuple

import numpy as np

from .label import FLOOR, Estimate
from .measurement import Measurement, Verdict

SIGMAS = 4.0  # a duplicate further off than this many is no matter of chance
ENOUGH = 5  # pairs in the reference state that make the others unnecessary
PROCESSES = 3  # that a number rests on: now and then one is 10 % off throughout, by where its memory lies
AGAIN = 2  # the first replicate that is no blind duplicate: the network was measured again because it was noisy
FEW = (2.58, 2.15, 1.94, 1.82)  # sqrt(chi2 / n) at 99 %: what chance makes of a spread told by 1, 2, 3, 4 pairs
_BEST_FIRST: tuple[str, ...] = ("ok", "noisy", "hot")


class Pair(NamedTuple):
    """Two labels of one network from two processes.

    Attributes:
        key: the network.
        difference: ln of the ratio of the labels.
        sigma: its standard deviation as far as the rounds of the two explain it.
        gated: both were taken in the device's reference state.
        target: half width of the interval that their plan asks for, as a share; infinite if it is not known.
    """

    key: str
    difference: float
    sigma: float
    gated: bool
    target: float = inf


def pair_up(measurements: Iterable[Measurement]) -> list[Pair]:
    """Return labels of one network by one plan, each two in a row; those measured again for their noise are left out.

    Which networks these are depends on their first labels, so they would tell of chance and not of the device.
    """
    found: defaultdict[tuple[str, Any, Any], list[Estimate]] = defaultdict(list)
    for m in measurements:
        if m.failure is None and m.estimate is not None and m.replicate < AGAIN:
            found[m.key, m.plan.get("name"), m.plan.get("target")].append(m.estimate)
    return [
        _pair(key, target, one, other)
        for (key, _, target), labels in found.items()
        for one, other in zip(labels[::2], labels[1::2], strict=False)
    ]


def representative(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that tell how repeatable labels are: gated ones, or all if those are too few.

    A label corrected by the sentinel carries its own, larger uncertainty in its interval already.
    """
    gated = [pair for pair in pairs if pair.gated]
    return gated if len(gated) >= ENOUGH else list(pairs)


def usual(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the representative pairs but for outliers: what repeatability is taken from, wherever it is told."""
    doubtful = outliers(pairs)
    return representative([pair for pair in pairs if pair.key not in doubtful])


def spread(pairs: Sequence[Pair]) -> float:
    """Return the relative standard deviation of a label between processes; NaN if there are no pairs."""
    if not pairs:
        return float("nan")
    return float(np.sqrt(np.mean([pair.difference**2 for pair in pairs]) / 2))


def worse_than(repeatability: float, pairs: int, target: float) -> bool:
    """Return whether labels differ more between processes than a plan asks for, beyond the chance of few pairs.

    >>> [worse_than(*told, 0.05) for told in ((0.06, 5), (0.06, 1), (0.26, 1), (float("nan"), 0))]
    [True, False, True, False]
    """
    return pairs > 0 and repeatability > target * (FEW[pairs - 1] if pairs < ENOUGH else 1.0)


def process_sd(pairs: Sequence[Pair]) -> float:
    """Return the standard deviation between processes with which 95 % of pairs agree: what their rounds do not tell.

    It is the least that makes the joint 95 % intervals of so many pairs hold their differences, as ranks of a sample
    promise it (all of them, if fewer than 19), and never below 0.5 %: so much differs by where a process' memory lies.
    With fewer than five pairs nothing more is known.
    """
    if len(pairs) < ENOUGH:
        return FLOOR
    missing = sorted((pair.difference / 1.96) ** 2 - pair.sigma**2 for pair in pairs)
    rank = min(ceil(0.95 * (len(missing) + 1)), len(missing))
    return max(FLOOR, (max(missing[rank - 1], 0.0) / 2) ** 0.5)


def agree(processes: Iterable[Measurement], more: int = 0) -> bool:
    """Return whether three quarters or more of the processes that are ``ok`` agree with the fastest of them.

    Two agree whose labels are no further apart than two intervals as wide as the plan allows, with the 0.5 % by which
    processes always differ: 6 % by ``standard``. What disturbs a process only adds time, so a slow one may be left
    out and a fast one never: not one either that is not ``ok`` itself, where its whole interval is below theirs.

    Args:
        processes: all of one network by one plan.
        more: processes that are still timed, counted as if they agreed.
    """
    timed = [m for m in processes if m.failure is None and m.estimate is not None]
    ok = _ok(timed)
    low_ms = min((m.estimate.low_ms for m in ok if m.estimate), default=0.0)
    if any(m.estimate is not None and m.estimate.high_ms < low_ms for m in timed):
        return False
    return 4 * (len(_alike(ok)) + more) >= 3 * (len(ok) + more)


def counted(processes: Iterable[Measurement]) -> list[Measurement]:
    """Return the processes that are ``ok``, fastest first, but for the few slower ones that the others leave out."""
    ok = _ok(processes)
    return _alike(ok) if agree(ok) else ok


def verdict_across(told: Measurement, processes: Iterable[Measurement]) -> Verdict:
    """Return the verdict of a number that rests on processes: ``noisy`` where the one told is ``ok`` and they are not.

    Args:
        told: the one whose label is told.
        processes: all measurements of the same network by the same plan.
    """
    return "noisy" if told.verdict == "ok" and not bear(processes) else told.verdict


def bear(processes: Iterable[Measurement]) -> bool:
    """Return whether a number can rest on processes: they agree, and three say as the fastest that is ``ok``, or all.

    What is not ``ok`` by itself can say the same.
    """
    processes = list(processes)
    timed = [m for m in processes if m.failure is None and m.estimate is not None]
    ok = _ok(timed)
    alike = [m for m in timed if ok and abs(log(m.latency_ms / ok[0].latency_ms)) <= _apart(ok[0])]
    return len(alike) >= min(PROCESSES, len(processes)) and agree(processes)


def _ok(processes: Iterable[Measurement]) -> list[Measurement]:
    return sorted((m for m in processes if m.verdict == "ok"), key=lambda m: m.latency_ms)


def _alike(ok: Sequence[Measurement]) -> list[Measurement]:
    """Return those of an ordered sequence that agree with the fastest."""
    if not ok:
        return []
    return [m for m in ok if log(m.latency_ms / ok[0].latency_ms) <= _apart(ok[0])]


def _apart(m: Measurement) -> float:
    """Return how far apart, in ln, labels by a process' plan may lie that agree."""
    return 2 * (float(m.plan.get("target", inf)) + 1.96 * FLOOR)


def across(told: Measurement, processes: Iterable[Measurement], repeatability: float) -> Estimate | None:
    """Return the label of a measurement with an interval that covers what differs between measuring processes.

    It is widened by the larger of the repeatability and the standard deviation of the processes' own labels, and
    reaches to each of these.

    Args:
        told: the one whose label is told.
        processes: all measurements of the same network by the same plan; those that are `counted` count, or all if the
            number cannot rest on them.
        repeatability: relative standard deviation between processes, from blind duplicates; NaN if it is not known,
            which leaves what the label was closed with.
    """
    own, processes = told.estimate, list(processes)
    if own is None:
        return None
    known = [m for m in processes if m.failure is None and m.estimate is not None]
    latencies_ms = [m.latency_ms for m in (counted(known) if bear(processes) else known)]
    between = float(np.std(np.log(latencies_ms), ddof=1)) if len(latencies_ms) > 1 else 0.0
    own = own.between(max(between, own.process_sd if np.isnan(repeatability) else repeatability))
    low_ms, high_ms = min(own.low_ms, *latencies_ms, own.latency_ms), max(own.high_ms, *latencies_ms, 0.0)
    return replace(own, low_ms=low_ms, high_ms=high_ms)


def facing(one: Estimate, other: Estimate) -> float:
    """Return how far apart, in ln, two labels may lie by their rounds alone: by the sides that face each other."""
    below, above = sorted((one.between(0.0), other.between(0.0)), key=lambda label: label.latency_ms)
    return hypot(log(below.high_ms / below.latency_ms), log(above.latency_ms / max(above.low_ms, 1e-9)))


def settled(verdicts: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], str]:
    """Return (key, replicate) -> verdict with one entry a job: measured again, a network has its best verdict."""
    found: dict[tuple[str, int], str] = {}
    for (key, replicate), verdict in verdicts.items():
        job = (key, 0 if replicate >= AGAIN else replicate)
        if job not in found or _rank(verdict) < _rank(found[job]):
            found[job] = verdict
    return found


def outliers(pairs: Sequence[Pair]) -> set[str]:
    """Return the networks whose two labels lie further apart than four sigmas.

    Sigma is that of most pairs (from the median), so that one wrong label cannot hide behind the spread that it makes,
    and what the pair's own intervals explain. Too few pairs to know the former are held to what their plan asks for.
    """
    usual = [abs(pair.difference) for pair in representative(pairs)]
    sigma = max(1.4826 * float(np.median(usual)), FLOOR * 2**0.5) if usual else 0.0
    known = len(usual) >= ENOUGH

    def beyond(pair: Pair) -> bool:
        of_most = sigma if known else min(sigma, 2**0.5 * pair.target / 1.96)
        return abs(pair.difference) > SIGMAS * hypot(of_most, pair.sigma)

    return {pair.key for pair in pairs if beyond(pair)}


def _rank(verdict: str) -> int:
    return _BEST_FIRST.index(verdict) if verdict in _BEST_FIRST else len(_BEST_FIRST)


def _pair(key: str, target: float | None, one: Estimate, other: Estimate) -> Pair:
    difference = log(other.latency_ms / one.latency_ms)
    gated = one.path == other.path == "gated"
    return Pair(key, difference, facing(one, other) / 1.96, gated, inf if target is None else target)
