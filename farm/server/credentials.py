"""Credentials of those who connect: an nkey, of which the server knows the public half, or a password, kept hashed."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Any

from ...devices.runtime.packages import NotInstalledError
from ...errors import StoreError, UsageError


def new_seed() -> str:
    """Return the seed of a new nkey, ``SU...``: secret."""
    nkeys = _nkeys()
    return nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER).decode()


def public_key(seed: str) -> str:
    """Return the public key, ``U...``, of a seed."""
    return _nkeys().from_seed(bytearray(seed.encode())).public_key.decode()


def _nkeys() -> Any:
    """Return the library, which needs PyNaCl: not every board has that."""
    try:
        import nkeys
    except ImportError as error:
        raise NotInstalledError("the library of keys, nkeys", "pip install 'tempograd[farm]'") from error
    return nkeys


def check_public_key(key: str) -> str:
    """Return a public nkey of a user.

    Raises:
        UsageError: it is none: of another kind, truncated, or with a wrong checksum.
    """
    try:
        raw = base64.b32decode(key + "=" * (-len(key) % 8))
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != 35 or not key.startswith("U") or binascii.crc_hqx(raw[:33], 0) != int.from_bytes(raw[33:], "little"):
        shown = "that begins with S, a secret seed" if key.startswith("S") else repr(key[:60])
        raise UsageError(
            f"key {shown}: allowed is the public key of a user, U and 55 more; see: tempograd agent --new-key FILE"
        )
    return key


def new_password() -> tuple[str, str]:
    """Return a random password of 256 bits, and its bcrypt hash for the server."""
    try:
        import bcrypt
    except ImportError as error:
        raise NotInstalledError("the library of password hashes, bcrypt", "pip install 'tempograd[farm]'") from error
    password = secrets.token_urlsafe(32)
    # The password is random: a costly hash would protect nothing, and every reconnect of the farm would pay for it.
    return password, bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4, prefix=b"2a")).decode()


def write_private(path: Path, text: str, *, replace: bool = False) -> None:
    """Write a file that only its owner may read, whole or not at all.

    Raises:
        UsageError: it exists, and is not to be replaced.
        StoreError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            if replace:
                partial.replace(path)
            else:
                os.link(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{path} exists, and is not overwritten: choose another folder, or move it away") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
