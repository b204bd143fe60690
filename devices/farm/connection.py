"""How one reaches the farm's server: its address, the authority that is pinned, the credential, and what is refused.

Off loopback the connection is TLS from its first byte: a client that let the server announce encryption first, as the
protocol of NATS does by default, could be talked out of it by anybody between the two.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
import stat
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import DeviceError, InputRefusedError, UsageError
from .queue import Access
from .subjects import ID, inbox

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


def check_url(url: str, *, ca: Path | None = None) -> None:
    """Refuse an address that would send anything in the clear to another machine, or that holds a secret.

    Raises:
        UsageError: it is such an address, or none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("tls", "nats") or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"queue address {url!r}: allowed is tls://HOST:{PORT}, or nats://127.0.0.1:{PORT}")
    if parts.username or parts.password:
        raise UsageError(
            "queue address: a credential does not belong into it; put it into a file, and name that as key"
        )
    if parts.scheme == "nats" and not is_loopback(parts.hostname):
        raise UsageError(f"queue address {url!r}: plain text would leave this machine; use tls://{parts.netloc}")
    if parts.scheme == "nats" and ca is not None:
        raise UsageError(f"queue address {url!r}: with a ca it has to be tls://{parts.netloc}")


def read_access(path: Path) -> tuple[str, Access]:
    """Read the table ``[queue]`` of a farm's or an agent's file: the address, and how one logs in.

    Its ``ca`` and ``key`` are paths relative to that file. The name in an agent's file names its inbox.

    Raises:
        InputRefusedError: the file cannot be read or says something else, or others may read the key.
        UsageError: the address is not allowed.
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
    check_url(queue["url"], ca=files.get("ca"))
    agent = None if "name" not in tree else check_name("agent", str(tree["name"]))
    return queue["url"], Access(ca=files.get("ca"), agent=agent, **(_login(files["key"]) if "key" in files else {}))


def connect_options(url: str, access: Access) -> dict[str, Any]:
    """Return the arguments of ``nats.connect`` that say where to, to whom, and as whom.

    Raises:
        UsageError: the address is not allowed.
        InputRefusedError: others may read the nkey, or it is none.
        DeviceError: the ca or the nkey cannot be read.
    """
    check_url(url, ca=access.ca)
    options: dict[str, Any] = {"servers": [url]}
    if access.agent is not None:
        options["inbox_prefix"] = inbox(access.agent)
    if url.startswith("tls:"):
        options |= {"tls": _context(access.ca), "tls_handshake_first": True}
    if access.nkey is not None:
        options["nkeys_seed_str"] = _read_seed(access.nkey)
    elif access.user:
        options |= {"user": access.user, "password": access.password}
    return options


def _context(ca: Path | None) -> ssl.SSLContext:
    """Return a context that believes ``ca`` and nobody else; those of the system only if there is none."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise DeviceError(f"{ca}: not a readable PEM file of an authority ({error})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _login(path: Path) -> dict[str, Any]:
    match _read_private(path):
        case [seed] if seed.startswith("SU"):
            return {"nkey": path}
        case [user, password]:
            return {"user": user, "password": password}
        case _:
            raise InputRefusedError(f"{path}: neither an nkey's seed (SU...) nor a name and a password")


def _read_seed(path: Path) -> str:
    words = _read_private(path)
    if len(words) != 1 or not words[0].startswith("SU"):
        raise InputRefusedError(f"{path}: no nkey's seed (SU...)")
    return words[0]


def _read_private(path: Path) -> list[str]:
    try:
        mode, words = path.stat().st_mode, path.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path}: the credential cannot be read ({error})") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InputRefusedError(f"{path}: others may read this credential; allowed is mode 0600: chmod 600 {path}")
    return words
