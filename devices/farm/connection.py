"""How one reaches the farm's server, as the files of a farm and of its agents say it."""

from __future__ import annotations

import ipaddress
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from ...errors import DeviceError, InputRefusedError, UsageError
from .queue import Access
from .subjects import ID

PORT = 4222
_NAME = re.compile(ID)


def check_name(what: str, name: str) -> str:
    """Return a name that may become part of a subject.

    Raises:
        UsageError: it has other characters, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{what} {name!r}: allowed are 1 to 40 of a-z, 0-9 and '-'")
    return name


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine can reach, or be, that host; names are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_access(path: Path) -> tuple[str, Access]:
    """Read the table ``[queue]`` of a farm's or an agent's file: the address, and how one logs in.

    Its ``ca`` and ``key`` are paths relative to that file. The name in an agent's file names its inbox.

    Raises:
        InputRefusedError: the file cannot be read or says something else, or others may read the key.
        UsageError: the agent's name is not allowed.
        DeviceError: the key cannot be read.
    """
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
        queue = tree["queue"]
    except (OSError, ValueError, KeyError) as error:
        raise InputRefusedError(f"{path}: no readable table [queue] in it ({error})") from error
    allowed = {"url", "ca", "key"}
    if not isinstance(queue, dict) or not set(queue) <= allowed or not all(isinstance(v, str) for v in queue.values()):
        raise InputRefusedError(f"{path}: allowed in [queue] are texts for {', '.join(sorted(allowed))}")
    if "url" not in queue:
        raise InputRefusedError(f'{path}: [queue] has no url, such as "tls://farm.lan:{PORT}"')
    files = {name: path.parent / queue[name] for name in ("ca", "key") if name in queue}
    agent = None if "name" not in tree else check_name("agent", str(tree["name"]))
    return queue["url"], Access(ca=files.get("ca"), agent=agent, **(_login(files["key"]) if "key" in files else {}))


def _login(path: Path) -> dict[str, Any]:
    match _read_private(path):
        case [seed] if seed.startswith("SU"):
            return {"nkey": path}
        case [user, password]:
            return {"user": user, "password": password}
        case _:
            raise InputRefusedError(f"{path}: neither an nkey's seed (SU...) nor a name and a password")


def _read_private(path: Path) -> list[str]:
    try:
        mode, words = path.stat().st_mode, path.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path}: the credential cannot be read ({error})") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InputRefusedError(f"{path}: others may read this credential; allowed is mode 0600: chmod 600 {path}")
    return words
