"""``farm``: set up the server of a farm, let agents in and out, start it, and see how it is."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..devices.farm import server
from ..devices.farm.connection import PORT, is_loopback
from ..devices.farm.folder import Farm
from ..devices.packages import NotInstalledError, UnusableError
from .outcome import Outcome

UNREACHABLE = 4


def init(folder: Path, *, hosts: Sequence[str] = (), port: int = PORT, plain: bool = False) -> Outcome:
    """Make a farm's folder: configuration, authority, certificate, the campaign's credential.

    Args:
        folder: new or empty.
        hosts: names and addresses under which other machines reach the server; without any, only this machine does.
        port: of the server.
        plain: without TLS, for trials on this machine.
    """
    version = None
    with suppress(NotInstalledError):  # the server may run elsewhere, and then it is a current one
        version = server.server_version(server.find_server())
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


def add_agent(
    folder: Path, name: str, device_classes: Sequence[str], *, key: str | None = None, password: bool = False
) -> Outcome:
    """Let an agent in; a server that runs here hears of it at once, and nobody is cut off.

    Args:
        folder: of the farm.
        name: of the agent.
        device_classes: of the jobs that it may take.
        key: its public key, made on the device; None makes one here.
        password: a password in place of a key.
    """
    farm = Farm(folder)
    carried = farm.add(name, device_classes, key=key, password=password)
    told = _tell(farm)
    document = {
        "agent": name, "device_classes": list(device_classes), "folder": str(carried), "reloaded": told == "told",
        "key": farm.agents[name].key or None,
    }  # fmt: skip
    secret = "" if key is not None else "; it holds the agent's secret, delete it here once it is there"
    text = f"agent {name} may take jobs of {', '.join(device_classes)}\ncarry {carried} to it{secret}\n{_SAID[told]}"
    return Outcome(document, text, UNREACHABLE if told == "elsewhere" else 0)


def revoke(folder: Path, name: str) -> Outcome:
    """Shut an agent out; a server that runs here cuts it off at once, and nobody else."""
    farm = Farm(folder)
    agent = farm.revoke(name)
    told = _tell(farm)
    document = {"agent": agent.name, "key": agent.key or None, "reloaded": told == "told"}
    return Outcome(document, f"agent {name} is shut out\n{_SAID[told]}", UNREACHABLE if told == "elsewhere" else 0)


def up(folder: Path) -> tuple[Outcome, subprocess.Popen[bytes]]:
    """Start the server of a farm; return once it answers. Who calls this ends it, or leaves it running.

    Raises:
        NotInstalledError: there is no server here.
        UnusableError: it is too old to be reached by other machines.
        DeviceError: it does not start.
    """
    farm = Farm(folder)
    program = server.find_server()
    version = server.server_version(program)
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


def next_after_up(folder: Path) -> str:
    """Return the command that follows on a server that is up."""
    farm = shlex.quote(str(folder))
    return (
        f"tempograd farm status {farm}"
        if Farm(folder).agents
        else (f"tempograd farm add-agent NAME --class CLASS --farm {farm}")
    )


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
