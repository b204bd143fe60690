"""``agent``: lend this machine's device to a farm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from .. import registry
from ..devices.agent.settings import Settings
from ..devices.agent.spool import Spool
from ..devices.agent.supervisor import Agent
from ..devices.agent.supply import Supply
from ..devices.device import Device
from ..devices.farm.queue import Terms, open_queue
from ..devices.places.farm import EMBEDDED
from ..errors import UsageError
from ..profiler.service import Service


def agent(
    settings: Settings,
    *,
    idle_exit_s: float | None = None,
    release: bool = False,
    terms: Terms | None = None,
    tell: Callable[[str], None] = lambda line: None,
    stop: threading.Event | None = None,
) -> None:
    """Take jobs of a class from a queue, time them on this machine's device, and deliver the results, until stopped.

    Args:
        settings: who it is; see `Settings`.
        idle_exit_s: end after so long without anything to do.
        release: forget that the device was quarantined.
        terms: of leases, where the queue is a file.
        tell: called with a line for a person when something changes.
        stop: set it to end: the pass under way is finished, the rest is given back.

    Raises:
        UsageError: a setting that is not allowed.
        DeviceError: the device is not there.
        StoreError: the spool cannot be written, or another agent has it.
        InputRefusedError: jobs are of a newer version than this agent.
    """
    device: Device = registry.create("device", settings.device)
    with Spool(settings.spool, cap_bytes=settings.spool_bytes) as spool:
        if release:
            spool.note("breaker", {})
        id_ = device.fingerprint.id
        service = Service(batch_size=settings.batch_size, remembered=spool.noted("device", {}).get(id_))

        def measure(lent: Device, supply: Supply) -> None:
            try:
                service(lent, supply)
            finally:
                spool.note("device", {id_: service.record()})

        with open_queue(settings.url, access=settings.access, terms=terms, patience_s=2.0) as queue:
            running = Agent(settings, device, measure, queue, spool, tell=tell, idle_exit_s=idle_exit_s)
            if stop is not None:
                running.stop = stop
            tell(f"agent {settings.name}, class {settings.device_class}, device {id_}, {settings.url}")
            running.run()


def settings_of(
    *,
    config: Path | None,
    name: str | None = None,
    device_class: str | None = None,
    queue: str | None = None,
    device: str | None = None,
    spool: Path | None = None,
) -> Settings:
    """Return an agent's settings from its file and from what is given beside it.

    Raises:
        UsageError: neither a file nor a class.
        InputRefusedError: the file says something else.
    """
    if config is not None:
        return Settings.read(config, name=name, device_class=device_class, url=queue, device=device, spool=spool)
    if device_class is None:
        raise UsageError("an agent needs --class KIND, or --config agent.toml as written by: tempograd farm add-agent")
    name = name or f"agent-{device_class}"[:40]
    return Settings(
        name=name, device_class=device_class, url=queue or EMBEDDED, device=device or "local",
        spool=spool or Path(f"{name}-spool"),
    )  # fmt: skip
