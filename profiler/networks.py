"""Time networks that belong to no space: each in several processes, so that the number is not one process's luck."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from pathlib import Path
from typing import Any

from ..data.schema import ModelRow
from ..data.store import Store
from ..devices.device import Place
from ..errors import UsageError
from ..graphs.network import MODELS
from ..measurement.label import Estimate
from ..measurement.measurement import Measurement, Verdict
from ..measurement.repeatability import PROCESSES, across, agree, counted, verdict_across
from .plan import Items, Plan
from .repeat import Found, repeat
from .verify import TRIES


@dataclass(frozen=True)
class Network:
    """A file that can be timed.

    Attributes:
        key: what its measurements are kept under.
        name: for people.
        path: the file; external weights lie beside it.
        digest: SHA-256 of the file.
        source: where it came from, empty if from memory.
        facts: what the file says of itself.
    """

    key: str
    name: str
    path: Path
    digest: str
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def row(self) -> ModelRow:
        """Return what a store keeps of it."""
        return ModelRow(self.key, self.digest, self.name, self.source, dict(self.facts))


def items_of(networks: Sequence[Network]) -> Items:
    """Return networks as what is to be timed.

    Raises:
        UsageError: two have one key.
    """
    known = {network.key: network for network in networks}
    if len(known) < len(networks):
        names = ", ".join(network.name for network in networks)
        raise UsageError(f"of {names} two are one network but for weights; they take the same time: give one of them")

    def build(key: str, _: Path) -> tuple[Path, str]:
        return known[key].path, known[key].digest

    return Items(MODELS, tuple(known), build, own_batch=True)


@dataclass(frozen=True)
class Told:
    """What is told of one network: the middle one of several processes, with what differs between them.

    Attributes:
        measurement: whose label is told.
        estimate: its label with an interval that covers the other processes; None if it failed.
        processes: all measurements of this network by this plan.
        measured: how many of them this call added.
    """

    measurement: Measurement
    estimate: Estimate | None
    processes: tuple[Measurement, ...]
    measured: int

    @property
    def verdict(self) -> Verdict:
        """Return how far the number can be trusted: ``noisy`` also where processes disagree."""
        return verdict_across(self.measurement, self.processes)


def measure_networks(
    device: Place,
    networks: Sequence[Network],
    plan: Plan,
    store: Store,
    *,
    seed: int = 0,
    again: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: threading.Event | None = None,
) -> dict[str, Told]:
    """Time each network until three processes are ``ok`` and agree, in six at the most; return key -> what is told.

    Args:
        device: where.
        networks: all of different keys; those of one process are timed in turn, round by round.
        plan: how long in each process.
        store: open to write; every process is kept in it, and processes of the same plan that it has are counted.
        seed: Seed of the orders of rounds.
        again: count only processes of this call.
        progress: called with processes done and how many there will be if all are ``ok``.
        stop: set it to end after the pass under way; a network without any process is then missing from the result.

    Raises:
        UsageError: two networks have one key.
        DeviceError: the device cannot be reached, or fails network after network. A network that fails is no error.
        StoreError: the store cannot be written.
    """
    items_of(networks)
    for network in networks:
        store.add_model(network.row)
    known = {n.key: [] if again else _known(store, device, plan, seed, n) for n in networks}

    def wants(new: Found, entered: Mapping[str, int]) -> list[str]:
        return [key for key, rows in known.items() if _wants(rows, new.get(key, ()), entered[key])]

    def tell(new: Found) -> bool:
        done = max(map(len, new.values()), default=0)
        progress(done, max(PROCESSES, done + 1))
        return False

    new: Found = {}
    if wants({}, dict.fromkeys(known, 0)):
        progress(0, PROCESSES)
        new = repeat(device, items_of(networks), plan, store, wants, ended=tell, seed=seed, stop=stop)
    rows_of = {key: [*rows, *new.get(key, ())] for key, rows in known.items()}
    return {key: _told(rows, len(new.get(key, ()))) for key, rows in rows_of.items() if rows}


def _wants(before: Sequence[Measurement], new: Sequence[Measurement], entered: int) -> bool:
    """Return whether a network needs another process; one that failed was tried twice already.

    Args:
        before: processes that were known.
        new: Processes of this call that are done.
        entered: All processes of this call: those under way are counted as good.
    """
    rows = [*before, *new]
    under_way = entered - len(new)
    enough = sum(m.verdict == "ok" for m in rows) + under_way >= PROCESSES and agree(rows, under_way)
    tried = bool(rows) or not entered  # one that ends its process does not end another meanwhile
    return tried and entered < TRIES and not enough and not any(m.failure for m in rows)


def _known(store: Store, device: Place, plan: Plan, seed: int, network: Network) -> list[Measurement]:
    """Return the processes of this network, file and plan in a store; failures are tried again."""
    rows = store.measurements(space=MODELS, fingerprint_id=device.fingerprint.id, key=network.key)
    asked = plan.record(seed)
    return [m for m in rows if m.failure is None and m.onnx_digest == network.digest and m.plan == asked]


def _told(rows: Sequence[Measurement], measured: int) -> Told:
    ok = counted(rows)
    timed = [m for m in rows if m.failure is None and m.estimate is not None]
    if not timed:
        return Told(rows[-1], None, tuple(rows), measured)
    told = ok[len(ok) // 2] if ok else min(timed, key=lambda m: m.estimate.half_width if m.estimate else inf)
    return Told(told, across(told, timed, nan), tuple(rows), measured)
