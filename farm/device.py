"""Other machines: networks are timed by agents that take them from a queue.

It has a fingerprint, that of its agents, and brings an engine of its own: no measuring process is opened here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ..arguments import Seconds
from ..errors import DeviceError, UsageError
from ..measurement.fingerprint import Fingerprint
from ..profiler.plan import Items, Plan
from ..profiler.timer import CampaignSink
from .address import EMBEDDED, check_name
from .campaign import FarmEngine
from .connection import open_queue, read_access
from .queue import Access, Queue, QueueAwayError, Seen

CONFIG = Path("farm.toml")
LIVE_S = 60.0  # an agent says every 15 s how it is


class FarmDevice:
    """The devices of one class of a farm.

    Args:
        kind: the class, as agents announce it; it may be written without its name: ``farm:pi5-ort-cpu4``.
        queue: address of the queue; by default that in ``config``.
        config: ``farm.toml``; by default the one in the working directory. Without any, the queue is a file there.
        fingerprint: id of the fingerprint that is wanted, where agents of the class have several.
        ahead_s: how much work the queue may hold.
        patience_s: how long nobody may be there to do the work before a campaign gives up.

    Raises:
        UsageError: a name or a time that is not allowed.
        InputRefusedError: the file says something else.
    """

    bare: ClassVar[str] = "kind"
    elsewhere: ClassVar[str] = "devices of other machines: farm:KIND, lent there with: tempograd agent --class KIND"

    def __init__(
        self,
        kind: str,
        *,
        queue: str | None = None,
        config: Path | str | None = None,
        fingerprint: str | None = None,
        ahead_s: Seconds = 600.0,
        patience_s: Seconds = 600.0,
    ) -> None:
        if ahead_s <= 0 or patience_s <= 0:
            raise UsageError(f"ahead_s={ahead_s}, patience_s={patience_s}; both must be positive")
        self.kind, self.ahead_s, self.patience_s = check_name("class", str(kind)), ahead_s, patience_s
        self._asked = None if fingerprint is None else str(fingerprint)
        self.url, self._access = _address(queue, config)

    def connect(self) -> Queue:
        """Open the queue; the caller closes it.

        Raises:
            UsageError: an address that is not allowed.
        """
        return open_queue(self.url, access=self._access, patience_s=min(30.0, self.patience_s))

    def live(self, queue: Queue) -> list[Seen]:
        """Return the agents of this class that were seen in the last minute."""
        return [
            seen
            for seen in queue.agents()
            if seen.age_s < LIVE_S and any(device.device_class == self.kind for device in seen.state.devices)
        ]

    @property
    def fingerprint(self) -> Fingerprint:
        """What the agents of this class say that they are.

        Raises:
            DeviceError: none has said so, or they differ and none was asked for.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        until_s = time.monotonic() + min(self.patience_s, 60.0)
        while True:
            try:
                with self.connect() as queue:
                    queue.declare(f"class-{self.kind}"[:40], [self.kind])  # a new server has no room for agents' states
                    found = self._announced(queue)
            except QueueAwayError as error:
                if time.monotonic() >= until_s:
                    raise DeviceError(f"no queue at {self.url} ({error}); start it, then run again") from error
                found = {}
            if found:
                return self._chosen(found)
            if time.monotonic() >= until_s:
                raise DeviceError(
                    f"no agent of class {self.kind!r} has announced itself at {self.url}; start one: tempograd agent "
                    f"--class {self.kind} --queue {self.url}"
                )
            time.sleep(0.25)

    @property
    def batch(self) -> int:
        """Inputs per inference."""
        return int(self.fingerprint.options.get("batch", 1))

    def environment(self) -> dict[str, Any]:
        """Return that other machines' clocks count; each result brings its own environment."""
        return {"farm": self.kind, "virtual_clock": True}

    def engine(
        self, items: Items, plan: Plan, *, seed: int, sink: CampaignSink, stop: threading.Event | None
    ) -> FarmEngine:
        """Return what has networks timed by the agents of this class."""
        return FarmEngine(self, items, plan, seed=seed, sink=sink, stop=stop)

    def _announced(self, queue: Queue) -> dict[str, list[Fingerprint]]:
        """Return fingerprint id -> what each agent that was ever seen with it says of it; live agents go first."""
        seen = self.live(queue) or queue.agents()
        found: dict[str, list[Fingerprint]] = {}
        for one in seen:
            for device in one.state.devices:
                if device.device_class == self.kind:
                    known = queue.environment(one.state.agent, device.environment_sha256)
                    if known is not None:
                        fingerprint = Fingerprint(**known.fingerprint)
                        if fingerprint.id == device.fingerprint_id:
                            found.setdefault(fingerprint.id, []).append(fingerprint)
        return found

    def _chosen(self, found: dict[str, list[Fingerprint]]) -> Fingerprint:
        agents = Counter({id_: len(each) for id_, each in found.items()})
        if self._asked is not None:
            if self._asked not in found:
                raise DeviceError(
                    f"no agent of class {self.kind!r} has fingerprint {self._asked}; there are {_counted(agents)}"
                )
            return found[self._asked][0]
        if len(found) > 1:
            raise DeviceError(
                f"agents of class {self.kind!r} are not alike: {_counted(agents)}. Their numbers are not comparable; "
                f"name one, farm:{self.kind},fingerprint={agents.most_common(1)[0][0]}, or give the others a class of "
                "their own"
            )
        return next(iter(found.values()))[0]


def _counted(agents: Counter[str]) -> str:
    return ", ".join(f"{id_} of {n}" for id_, n in agents.most_common())


def _address(queue: str | None, config: Path | str | None) -> tuple[str, Access]:
    path = CONFIG if config is None else Path(config)
    if config is not None or path.is_file():
        url, access = read_access(path)
        return queue or url, access if queue in (None, url) else Access()
    return queue or EMBEDDED, Access()


DEVICE = FarmDevice
