"""How far two measuring processes agree, from a store's blind duplicates: one definition, wherever it is told.

A blind duplicate is a network that one campaign times twice, in two processes, unaware that it is the same. Networks
that an audit or a search times again are none: these were chosen, and lie hours apart. Labels are those of a data set,
under the reference state of the time around them, not those that were closed with what was known then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..measurement.measurement import Measurement
from ..measurement.reference import in_hindsight
from ..measurement.repeatability import Pair, pair_up, usual
from ..measurement.rounds import Round
from .store import Store


def usual_duplicates(store: Store, space: str, fingerprint_id: str, campaign: str | None = None) -> list[Pair]:
    """Return the pairs that repeatability is taken from, outliers left out: those of `blind_duplicates`."""
    return usual(blind_duplicates(store, space, fingerprint_id, campaign))


def blind_duplicates(store: Store, space: str, fingerprint_id: str, campaign: str | None = None) -> list[Pair]:
    """Return every network that was timed twice.

    Args:
        store: the store.
        space: full spec.
        fingerprint_id: Id of the device's fingerprint.
        campaign: only duplicates of this campaign; by default those of all, each within its own.
    """
    found = in_hindsight(light(m) for m in store.measurements(space=space, fingerprint_id=fingerprint_id))
    blind = store.blind_campaigns(space, fingerprint_id)
    return paired(found, [one if campaign in (None, one) else "" for one in blind])


def paired(measurements: Sequence[Measurement], blind: Sequence[str]) -> list[Pair]:
    """Return the pairs within each campaign.

    Args:
        measurements: in the order of a store.
        blind: for each, the campaign whose blind duplicates it is one of, or nothing; see `Store.blind_campaigns`.
    """
    campaigns = dict.fromkeys(one for one in blind if one)
    return [
        pair
        for campaign in campaigns
        for pair in pair_up(m for m, one in zip(measurements, blind, strict=True) if one == campaign)
    ]


def light(m: Measurement) -> Measurement:
    """Return the measurement with one sample a round: the label is the same, the memory a hundredth."""

    def less(r: Round) -> Round:
        value_ms = r.value_ms(m.clock)
        return replace(
            r,
            sentinel_before_ms=(min(r.sentinel_before_ms),),
            sentinel_after_ms=(min(r.sentinel_after_ms),),
            wall_ms=(value_ms,),
            gpu_ms=(value_ms,) if r.gpu_ms else (),
            cpu_ms=(value_ms,),
            run_queue_wait_ms=r.run_queue_wait_ms * value_ms / sum(r.wall_ms),  # still the same share of the burst
        )

    return replace(m, rounds=tuple(less(r) for r in m.rounds), environment={})
