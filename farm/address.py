"""Names and addresses that a farm allows."""

from __future__ import annotations

import ipaddress
import re

from ..errors import UsageError
from .subjects import ID

PORT = 4222
EMBEDDED = "embedded:tempograd-farm.db"  # without a server: a file in the working directory
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
