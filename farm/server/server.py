"""The server's program, ``nats-server``: where it is, how old it is, and starting it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from ...devices.runtime.packages import NotInstalledError
from ...errors import DeviceError
from ..address import PORT

Version = tuple[int, int, int]

FLOOR = "2.12.12, or 2.14.3 and newer"
INSTALL = (
    "get it from https://github.com/nats-io/nats-server/releases, or: docker run nats:2.14; "
    "for trials on this machine alone: apt-get install nats-server"
)
START_S = 20.0


def find_server() -> tuple[Path, Version]:
    """Return the program and its version: of the one on the path and the one beside this interpreter, the newer.

    Raises:
        NotInstalledError: there is none.
        DeviceError: one of them does not run.
    """
    beside = str(Path(sys.executable).parent)
    found = {Path(path) for path in (shutil.which("nats-server"), shutil.which("nats-server", path=beside)) if path}
    if not found:
        raise NotInstalledError("nats-server", INSTALL)
    versions = {program: server_version(program) for program in found}
    newest = max(versions, key=lambda program: versions[program])
    return newest, versions[newest]


def server_version(program: Path) -> Version:
    """Return the version of a program.

    Raises:
        DeviceError: it does not run, or says none.
    """
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=START_S, check=True
        ).stdout
        return parse_version(said)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise DeviceError(f"{program} does not say its version ({error}); {INSTALL}") from error


def parse_version(text: str) -> Version:
    """Return the first version in a text.

    Raises:
        ValueError: there is none.
    """
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    if found is None:
        raise ValueError(f"no version in {text[:80]!r}")
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def shown(version: Version) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def address_of(url: str) -> tuple[str, int]:
    """Return host and port in a server's address."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or PORT


def has_known_fixes(version: Version) -> bool:
    """Return whether a server is new enough to be reached by other machines: `FLOOR`."""
    return version >= (2, 14, 3) or (2, 12, 12) <= version < (2, 13, 0)


def knows_sync_interval(version: Version) -> bool:
    """Return whether a server can be told to write through to the disk before it acknowledges."""
    return version >= (2, 10, 0)


def knows_min_version(version: Version) -> bool:
    """Return whether a server can be told the oldest TLS that it takes; others take 1.2."""
    return version >= (2, 12, 0)


def check_configuration(program: Path, configuration: Path) -> None:
    """Ask the server whether it would take a configuration.

    Raises:
        DeviceError: it would not; its own words are in the message.
    """
    done = subprocess.run(
        [program, "-t", "-c", configuration], capture_output=True, text=True, timeout=START_S, check=False
    )
    if done.returncode:
        said = " ".join((done.stderr + done.stdout).split())[-500:]
        raise DeviceError(f"nats-server refuses {configuration}: {said}")


def start(program: Path, configuration: Path, address: tuple[str, int], *, log: Path) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own and wait until it answers.

    Args:
        program: Path of the server's program.
        configuration: its file.
        address: host and port on which it will answer.
        log: file to which it appends what it says.

    Raises:
        DeviceError: the address is taken, or it ended or did not answer within 20 s; its last words are in the message.
    """
    if answers(address):
        raise DeviceError(f"something answers at {address[0]}:{address[1]} already; stop it, or take another port")
    process = subprocess.Popen(
        [program, "-c", configuration, "-l", log], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + START_S
    while not answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
            raise DeviceError(f"nats-server did not start; {''.join(last)[-300:] or 'it said nothing'} (log: {log})")
        time.sleep(0.05)
    return process


def answers(address: tuple[str, int]) -> bool:
    """Return whether something listens there."""
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def running(pid_file: Path, program: str = "nats-server") -> int | None:
    """Return the process number in a server's file, if that process is such a server."""
    try:
        pid = int(pid_file.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if words and os.fsdecode(words[0]).endswith(program) else None


def reload(pid: int) -> None:
    """Let a server read its configuration again: new users may come, removed ones are cut off."""
    os.kill(pid, signal.SIGHUP)
