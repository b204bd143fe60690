"""``farm``: set up the server of a farm, let agents in and out, start it, and see how it is."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..devices.runtime.packages import NotInstalledError, UnusableError
from ..errors import UnknownNameError
from ..farm.address import PORT, is_loopback
from ..farm.connection import open_queue
from ..farm.messages import State
from ..farm.queue import QueueAwayError, Seen
from ..farm.server import server
from ..farm.server.doctor import examine
from ..farm.server.folder import Farm
from ..farm.server.overview import Overlook, Overview
from ..farm.subjects import EVERY_AGENT, Command
from ..shown import counted
from .outcome import UNRELIABLE, Outcome, table

UNREACHABLE = 4
ANSWER_S = 30.0  # for an agent to do what it is told: a pass under way is finished first
OFFLINE_S = 60.0  # without a word from an agent, which speaks every 15 s


def init(folder: Path, *, hosts: Sequence[str] = (), port: int = PORT, plain: bool = False) -> Outcome:
    """Make a farm's folder: configuration, authority, certificate, the campaign's credential.

    Args:
        folder: new or empty.
        hosts: names and addresses under which other machines reach the server; without any, only this machine does.
        port: Port of the server.
        plain: without TLS, for trials on this machine.
    """
    version = None
    with suppress(NotInstalledError):  # the server may run elsewhere, and then it is a current one
        _, version = server.find_server()
    farm = Farm.create(folder, hosts=hosts, port=port, plain=plain, version=version)
    url, access = farm.access
    document = {
        "folder": str(farm.folder), "url": url, "tls": access.ca is not None, "listen": "{}:{}".format(*farm.listen),
        "server": None if version is None else server.shown(version), "campaign_key": farm.campaign_key,
    }  # fmt: skip
    reach = "other machines reach it" if not is_loopback(farm.listen[0]) else "only this machine reaches it"
    text = f"farm in {folder}: {url}, {reach}, {'TLS with its own authority' if access.ca else 'not encrypted'}"
    if version is None:
        text += f"\nnats-server is not on this machine: {server.INSTALL}"
    return Outcome(document, text)


def add_agent(folder: Path, name: str, device_class: str, *, key: str | None = None, password: bool = False) -> Outcome:
    """Let an agent in; a server that runs here learns of it at once, and nobody is cut off.

    Args:
        folder: Folder of the farm.
        name: Name of the agent.
        device_class: Class of the jobs that it may take.
        key: its public key, made on the device; None makes one here.
        password: a password in place of a key.
    """
    farm = Farm(folder)
    carried = farm.add(name, device_class, key=key, password=password)
    told = _tell(farm)
    document = {
        "agent": name, "device_class": device_class, "folder": str(carried), "reloaded": told == "told",
        "key": farm.agents[name].key or None,
    }  # fmt: skip
    secret = "" if key is not None else "; it holds the agent's secret, delete it here once it is there"
    text = f"agent {name} may take jobs of {device_class}; {_SAID[told]}\ncarry {carried} to it{secret}"
    text += f"\nand run there: tempograd agent --config {name}/agent.toml"
    return Outcome(document, text, UNREACHABLE if told == "elsewhere" else 0)


def revoke(folder: Path, name: str) -> Outcome:
    """Shut an agent out; a server that runs here cuts it off at once, and nobody else."""
    farm = Farm(folder)
    agent = farm.revoke(name)
    told = _tell(farm)
    document = {"agent": agent.name, "key": agent.key or None, "reloaded": told == "told"}
    return Outcome(document, f"agent {name} is shut out; {_SAID[told]}", UNREACHABLE if told == "elsewhere" else 0)


def up(folder: Path) -> tuple[Outcome, subprocess.Popen[bytes]]:
    """Start the server of a farm; return once it answers. Who calls this ends it, or leaves it running.

    Raises:
        NotInstalledError: there is no server here.
        UnusableError: it is too old to be reached by other machines.
        DeviceError: it does not start.
    """
    farm = Farm(folder)
    program, version = server.find_server()
    host, port = farm.listen
    if not is_loopback(host) and not server.has_known_fixes(version):
        raise UnusableError(
            f"{program} is {server.shown(version)}, and other machines would reach it; the oldest with the fixes "
            f"known here is {server.FLOOR}",
            server.INSTALL,
        )
    farm.refresh()
    server.check_configuration(program, farm.configuration)
    answering = host if is_loopback(host) else "127.0.0.1"
    process = server.start(program, farm.configuration, (answering, port), log=farm.log)
    url, access = farm.access
    document = {
        "url": url, "tls": access.ca is not None, "server": server.shown(version), "program": str(program),
        "pid": process.pid, "log": str(farm.log), "agents": sorted(farm.agents),
    }  # fmt: skip
    text = f"nats-server {server.shown(version)} at {url}, process {process.pid}, log in {farm.log}"
    if not server.knows_sync_interval(version):
        text += "\nit acknowledges before it writes to the disk: a power cut may cost repeated work, never a result"
    return Outcome(document, text), process


def watch(folder: Path, every_s: float = 2.0) -> Generator[Outcome]:
    """Yield how the farm is, again and again; the server is asked when the next one is taken.

    Raises:
        QueueAwayError: the server does not answer the first time; later it is waited for.
    """
    farm = Farm(folder)
    with Overlook(*farm.access) as overlook:
        last = _shown(overlook.look(), farm)
        while True:
            yield last
            time.sleep(every_s)
            try:
                last = _shown(overlook.look(), farm)
            except QueueAwayError as error:
                document = last.document | {"error": str(error)}
                last = Outcome(document, f"{last.text.partition(_AWAY)[0]}{_AWAY}{error}; trying again")


def status(folder: Path) -> Outcome:
    """Return how the farm is: agents, jobs by class, the server."""
    watching = watch(folder)
    try:
        return next(watching)
    finally:
        watching.close()


def tell(folder: Path, name: str, word: Command, *, wait_s: float = ANSWER_S) -> Outcome:
    """Tell an agent, or ``all``, to pause, resume, drain or be released from quarantine; wait until it has done so.

    Commands are not kept: an agent that is not there never gets them.

    Raises:
        UnknownNameError: the farm knows no such agent.
        QueueAwayError: the server does not answer.
    """
    farm = Farm(folder)
    if name not in {*farm.agents, EVERY_AGENT}:
        raise UnknownNameError("agent", name, {*farm.agents, EVERY_AGENT})
    asked = set(farm.agents) if name == EVERY_AGENT else {name}
    url, access = farm.access
    with open_queue(url, access=access) as queue:

        def states() -> dict[str, State]:
            seen = (s for s in queue.agents() if s.age_s <= OFFLINE_S and s.state.agent in asked)
            return {s.state.agent: s.state.state for s in seen}

        now = states()
        queue.command(name, word)
        end = time.monotonic() + wait_s
        while (waiting := [n for n, state in now.items() if not _DONE[word](state)]) and time.monotonic() < end:
            time.sleep(0.5)
            now = states()
    document = {"word": word, "agents": now, "not_there": sorted(asked - now.keys()), "waiting": waiting}
    lines = [
        f"agent {n} is {state.replace('_', ' ')}" + (", not done yet" if n in waiting else "")
        for n, state in now.items()
    ]
    if document["not_there"]:
        away = ", ".join(document["not_there"])
        lines.append(f"not there: {away}; commands are not kept, say it again when they are")
    return Outcome(
        document, "\n".join(lines) or "no agents yet", UNREACHABLE if len(now) < len(asked) or waiting else 0
    )


_DONE: dict[Command, Callable[[State], bool]] = {
    "pause": lambda state: state in ("paused", "draining", "breaker_open", "quarantined"),
    "resume": lambda state: state != "paused",
    "drain": lambda state: state == "draining",
    "release": lambda state: state not in ("quarantined", "breaker_open"),
}


def doctor(folder: Path) -> Outcome:
    """Return what would make the farm safer or surer; unreliable if something is a problem."""
    findings = examine(Farm(folder))
    rows = [(f.level, f.topic, f.found, f.remedy) for f in findings]
    code = UNRELIABLE if any(f.level == "problem" for f in findings) else 0
    return Outcome({"findings": [vars(f) for f in findings]}, table(("", "topic", "found", "to do"), rows), code)


def next_after_up(folder: Path) -> str:
    """Return the command that follows on a server that is up."""
    farm = shlex.quote(str(folder))
    return (
        f"tempograd farm status {farm}"
        if Farm(folder).agents
        else (f"tempograd farm add-agent NAME --class CLASS --farm {farm}")
    )


_AWAY = "\n\nas it was before the server went away: "
_SAID = {
    "told": "the running server knows it already",
    "off": "no server runs yet; it will know when it starts",
    "elsewhere": "a server answers that this machine did not start from this folder; until it reads its configuration "
    "again nothing changes: nats-server --signal reload, or docker kill --signal HUP NAME",
}


def _tell(farm: Farm) -> str:
    """Let the server read its users again; say whether it was ``told``, is ``off``, or is ``elsewhere``."""
    if farm.reload():
        return "told"
    url, _ = farm.access
    host, port = server.address_of(url)
    return "elsewhere" if server.answers((host, port)) else "off"


def _shown(overview: Overview, farm: Farm) -> Outcome:
    synced = farm.syncs
    rows: list[dict[str, Any]] = [_agent(seen) for seen in overview.agents]
    heard = {row["agent"] for row in rows}
    for name, agent in sorted(farm.agents.items()):
        if name not in heard:
            rows.append(_NEVER | {"agent": name, "device_classes": [agent.device_class]})
    document = asdict(overview) | {"agents": rows, "sync_every_write": synced}
    head = ("agent", "class", "state", "rate/h", "good", "in hand", "spooled", "seen", "")
    text = table(head, [_cells(row) for row in rows]) if rows else "no agents yet"
    jobs = [f"{j.device_class}: {j.queued:,} queued, {j.leased:,} leased" for j in overview.jobs]
    text += "\njobs: " + ("; ".join(jobs) or "none") + f"; {counted(overview.results, 'result')} to be stored"
    if overview.exhausted:
        text += f"; {overview.exhausted:,} given out too often"
    text += f"\nserver: {overview.server}, {'TLS' if overview.encrypted else 'this machine only, not encrypted'}, "
    text += (
        f"{'synced every write' if synced else 'not synced every write'}, {overview.stored_bytes / 1e6:,.0f} MB on disk"
    )
    return Outcome(document, text)


_NEVER: dict[str, Any] = {
    "state": "never seen", "reason": "", "rate_per_hour": None, "good": None, "in_hand": None, "spooled": None,
    "seen_s": None,
}  # fmt: skip


def _agent(seen: Seen) -> dict[str, Any]:
    """Return an agent's state as a row; its rate is that since it started, by its own clock."""
    state, offline = seen.state, seen.age_s > OFFLINE_S
    running_s = time.time() - seen.age_s - state.started_unix_ms / 1e3
    reason = state.reason
    if offline and state.in_hand:
        reason = f"back to the queue: {counted(state.in_hand, 'job')}"
    return {
        "agent": state.agent, "device_classes": [device.device_class for device in state.devices],
        "state": "offline" if offline else state.state, "reason": reason,
        "rate_per_hour": state.delivered / running_s * 3600 if running_s >= 1 and not offline else None,
        "good": 1 - state.failed / state.delivered if state.delivered else None,
        "in_hand": state.in_hand, "spooled": state.spooled, "seen_s": seen.age_s,
    }  # fmt: skip


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    rate, good, seen_s = row["rate_per_hour"], row["good"], row["seen_s"]
    return (
        row["agent"], ",".join(row["device_classes"]), row["state"], "-" if rate is None else f"{rate:,.0f}",
        "-" if good is None else f"{good:.0%}",
        *("-" if row[name] is None else f"{row[name]:,}" for name in ("in_hand", "spooled")),
        "-" if seen_s is None else _ago(seen_s), _printable(row["reason"]),
    )  # fmt: skip


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"


def _printable(text: str) -> str:
    """Return what an agent wrote without what would move a terminal's cursor."""
    return "".join(filter(str.isprintable, text))[:80]
