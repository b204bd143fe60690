"""How one reaches the farm's server, as the files of a farm and of its agents say it."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

from ..errors import DeviceError, InputRefusedError, UsageError
from .address import PORT, check_name
from .queue import Access, Queue, Terms


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


def open_queue(
    url: str, *, access: Access | None = None, terms: Terms | None = None, patience_s: float = 30.0
) -> Queue:
    """Open a queue by its address.

    Args:
        url: ``embedded:PATH`` (a file, shared by the processes of one machine), ``tls://host:4222``, or
            ``nats://127.0.0.1:4222``, without encryption, on loopback only.
        access: certificates and login.
        terms: Terms of leases; on a server, those of the campaign that declares a class first hold.
        patience_s: how long a call tries before it raises `QueueAwayError`.

    Raises:
        UsageError: an address that is not allowed, or a library that is missing.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "embedded" and rest:
        from .queues.embedded import EmbeddedQueue

        return EmbeddedQueue(Path(rest), terms=terms or Terms())
    if scheme in ("nats", "tls"):
        from .queues.jetstream import JetStreamQueue

        return JetStreamQueue(url, access=access or Access(), terms=terms or Terms(), patience_s=patience_s)
    raise UsageError(f"queue {url!r}; allowed: embedded:PATH, tls://HOST:4222, or nats://127.0.0.1:4222 on loopback")
