"""``audit``: whether the numbers in a store, and this device, can be believed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from shlex import quote

from .. import registry
from ..arguments import Count, Seed
from ..arguments import check as check_arguments
from ..data.store import Store
from ..devices.device import Device, opens
from ..errors import MismatchError, UsageError
from ..measurement.fingerprint import Fingerprint
from ..profiler.audit import WORK, Audit
from ..profiler.check import Check
from ..profiler.plan import named
from .fitting import spec_in
from .outcome import (
    UNRELIABLE,
    Outcome,
    Progress,
    among,
    device_of,
    device_spec_of,
    held_spaces,
    plain,
    silent,
    stored_space,
    table,
)

_OF_ANOTHER = "provenance.device"  # the check that fails where the store is of another device
_RESULT = {True: "passed", False: "FAILED", None: "skipped"}


def audit(
    store: Path,
    *,
    space: str | None = None,
    device: str = "local",
    count: Count = 8,
    plan: str = "standard",
    seed: Seed = 0,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Check a store against its device as it is now: outputs, caching, labels, providers, provenance, the run itself.

    ``count`` networks with verdict ok are loaded, compared with torch, and timed again; these rows are kept.

    Raises:
        UsageError: the store holds no usable row, or several spaces and none was named.
        MismatchError: the rows come from another kind of device.
    """
    check_arguments(audit, locals())
    timing, place = named(plan), device_of(device)
    if not opens(place):
        raise UsageError(
            f"--device {device}: it gives back times, not outputs to compare; copy {store} to the agent's machine "
            "and audit it there with the agent's own --device"
        )
    with Store(store) as opened:
        chosen = stored_space(_space(opened, space))
        fingerprint = _stored(opened, chosen.spec, place)
        which = among(opened, chosen.spec, fingerprint.id)
    with Store(store, write=True) as opened:
        asked = Audit(place, _larger(device, place), chosen, opened, fingerprint, count, timing, seed)
        checks = asked.run(lambda done, total: progress("auditing", done, total), stop)
        networks = list(asked.sampled)
    failed = [check.check for check in checks if check.passed is False]
    document = plain({
        "store": str(store), "space": chosen.spec, "device": fingerprint.id, "plan": plan, "seed": seed,
        "networks": networks, "passed": not failed, "failed": failed, "checks": [asdict(check) for check in checks],
    })  # fmt: skip
    following = f"tempograd fit --store {quote(str(store))}{which} --out predictor/"
    if failed:
        following = "tempograd doctor"
    if _OF_ANOTHER in failed and (own := device_spec_of(fingerprint)) is not None:
        only = f" --space {quote(registry.typed('space', chosen.spec))}" if space is not None else ""
        following = f"tempograd audit --store {quote(str(store))}{only} --device {quote(own)}"
    return Outcome(document, _text(checks), UNRELIABLE if failed else 0, following)


def _space(store: Store, asked: str | None) -> str:
    held = held_spaces(store)
    if asked is not None:
        spec = spec_in(store, asked)
        if spec not in held:
            raise UsageError(f"{store.path} holds no networks of {spec}; it holds {', '.join(held) or 'none'}")
        return str(spec)
    if not held and store.models():
        raise UsageError(
            f"{store.path} holds networks of no space only, and audit cannot build them; time them anew: "
            f"tempograd measure MODEL.onnx --again --store {quote(str(store.path))}"
        )
    if not held:
        raise UsageError(
            f"{store.path} holds no networks; measure some into it: tempograd collect --space SPACE --store "
            f"{quote(str(store.path))}"
        )
    if len(held) > 1:
        raise UsageError(f"{store.path} holds several spaces ({', '.join(held)}); name one with --space")
    return held[0]


def _stored(store: Store, space: str, device: Device) -> Fingerprint:
    """Return the device's fingerprint if the store has rows of it, else the most similar one of the same place.

    Raises:
        MismatchError: none is of the same place.
    """
    now = device.fingerprint
    ids = {id_ for held, id_ in store.sets() if held == space}
    found = [fingerprint for id_, fingerprint in store.fingerprints().items() if id_ in ids]
    alike = [fingerprint for fingerprint in found if fingerprint.place == now.place]
    if not alike:
        places = ", ".join(sorted({f"{device_spec_of(f) or f.place} ({f.id})" for f in found}))
        raise MismatchError(
            f"the rows of {space} come from {places}, not from {now.place} ({now.id}); name their device with --device"
        )
    return min(alike, key=lambda fingerprint: (len(fingerprint.difference(now)), fingerprint.id))


def _larger(spec: str, device: Device) -> Device | None:
    """Return the same device with a larger batch, None if it takes none."""
    name, arguments = registry.parse_spec(spec)
    factory = registry.load("device", name)
    if "batch" not in signature(factory).parameters:
        return None
    return factory(**(arguments | {"batch": WORK * device.batch}))


def _text(checks: Sequence[Check]) -> str:
    rows = [(_RESULT[c.passed], c.check, c.found, c.allowed) for c in checks]
    lines = [table(("", "check", "found", "allowed"), rows)]
    lines += [f"{c.check}: {c.reason}" for c in checks if c.reason]
    counts = {result: sum(_RESULT[c.passed] == result for c in checks) for result in _RESULT.values()}
    lines.append(", ".join(f"{n} {result.lower()}" for result, n in counts.items() if n))
    return "\n".join(lines)
