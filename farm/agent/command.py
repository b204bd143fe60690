"""``tempograd agent``: lend this machine's device to a farm.

An agent runs on boards where neither torch nor the command line's libraries are installed, so its command is read here,
by the standard library.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ... import registry
from ...devices.device import Device
from ...errors import TempogradError, UsageError
from ..address import EMBEDDED
from ..connection import open_queue
from ..queue import Terms
from .settings import Settings
from .spool import Spool
from .supervisor import Agent

EXAMPLES = """\
examples:
  a queue in a file of the working directory, no server:
    tempograd agent --class laptop
  a server of this machine, and two threads:
    tempograd agent --class laptop \\
      --device local:threads=2 --queue nats://127.0.0.1:4222
  as written by tempograd farm add-agent:
    tempograd agent --config agent.toml
  a key made here; then: tempograd farm add-agent --key U...
    tempograd agent --new-key agent.nk

exit codes: 0 stopped or drained, 2 usage, 4 device or key
  not there, 5 file refused or jobs of a newer version,
  7 spool unusable, 130 stopped twice. What it holds and has
  not delivered is kept in the spool.
"""


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
        terms: Terms of leases, where the queue is a file.
        tell: called with a line for a person when something changes.
        stop: set it to end: the pass under way is finished, the rest is given back.

    Raises:
        UsageError: a setting that is not allowed, or a device that opens no measuring process here.
        DeviceError: the device is not there.
        StoreError: the spool cannot be written, or another agent has it.
        InputRefusedError: jobs are of a newer version than this agent.
    """
    device = _lendable(settings.device)
    with Spool(settings.spool, cap_bytes=settings.spool_bytes) as spool:
        if release:
            spool.note("breaker", {})
        with open_queue(settings.url, access=settings.access, terms=terms, patience_s=2.0) as queue:
            running = Agent(settings, device, queue, spool, tell=tell, idle_exit_s=idle_exit_s)
            if stop is not None:
                running.stop = stop
            tell(
                f"agent {settings.name}, class {settings.device_class}, device {device.fingerprint.id}, {settings.url}"
            )
            running.run()


def _lendable(spec: str) -> Device:
    place = registry.create("device", spec)
    if not callable(getattr(place, "open", None)):  # isinstance would wait for its fingerprint
        raise UsageError(
            f"device {spec!r} cannot be lent to a farm: it opens no measuring process on this machine; lend one that "
            "does, as tempograd devices lists them"
        )
    return place


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


def run(arguments: Sequence[str]) -> int:
    """Run ``tempograd agent`` and return its exit code."""
    given = _parser().parse_args(arguments)
    if given.new_key is not None:
        return _new_key(given.new_key)
    stop = threading.Event()

    def interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        tell("finishing the pass under way; once more to stop now")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, interrupt)
    try:
        settings = settings_of(
            config=given.config, name=given.name, device_class=given.device_class, queue=given.queue,
            device=given.device, spool=given.spool,
        )  # fmt: skip
        agent(settings, idle_exit_s=given.idle_exit, release=given.release, tell=tell, stop=stop)
    except TempogradError as error:
        tell(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        tell("stopped; what was kept is delivered when it starts again")
        return 130
    return 0


def _new_key(path: Path) -> int:
    """Write a new key, say its public half, and return the exit code."""
    from ..server.credentials import new_seed, public_key, write_private

    try:
        seed = new_seed()
        write_private(path, seed + "\n")
    except TempogradError as error:
        tell(str(error))
        return error.exit_code
    sys.stdout.write(public_key(seed) + "\n")
    return 0


def tell(line: str) -> None:
    """Write a line for a person to standard error."""
    sys.stderr.write(f"tempograd agent: {line}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tempograd agent",
        description="Lend this machine's device to a farm: take networks from\nits queue, time them, deliver results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="agent.toml; what is given beside it goes first")
    parser.add_argument("--class", dest="device_class", help="class of the jobs that it takes, e.g. pi5-ort-cpu4")
    parser.add_argument("--queue", help="embedded:PATH, nats://127.0.0.1:4222 or tls://HOST:4222")
    parser.add_argument("--device", help="device that it lends, e.g. local:threads=2 (the default is local)")
    parser.add_argument("--name", help="id within the farm; by default that in the file, or agent-CLASS")
    parser.add_argument("--spool", type=Path, help="folder for what must survive; by default NAME-spool")
    parser.add_argument("--idle-exit", type=float, metavar="SECONDS", help="end after so long without work")
    parser.add_argument("--new-key", type=Path, metavar="FILE", help="make a key, print its public half, and end")
    parser.add_argument("--release", action="store_true", help="forget that the device was quarantined")
    return parser
