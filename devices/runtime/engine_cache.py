"""TensorRT's engines and timing caches on disk: executable code, so only what this machine wrote itself is read again.

Each file is an HMAC over its key and content, then the content; the secret never leaves the folder, which only its
owner may enter. What does not match is deleted and built anew.

References:
    CVE-2026-24188 and others: an engine file can write out of bounds, or load code, when it is opened.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

_MAC_BYTES = 32


class EngineCache:
    """A folder of files by key.

    Args:
        folder: created for its owner alone; by default in the user's cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or user_cache_path("tempograd") / "tensorrt"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)

    def read(self, key: str) -> bytes | None:
        """Return what was written under this key, None if nothing was, or if it is not what was written."""
        path = self._path(key)
        try:
            whole = path.read_bytes()
        except OSError:
            return None
        mac, content = whole[:_MAC_BYTES], whole[_MAC_BYTES:]
        if hmac.compare_digest(mac, self._mac(key, content)):
            return content
        path.unlink(missing_ok=True)
        return None

    def write(self, key: str, content: bytes) -> None:
        """Keep content under this key; another process sees the old content or the new, never a part."""
        path = self._path(key)
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_bytes(self._mac(key, content) + content)
        partial.chmod(0o600)
        partial.replace(path)

    def _path(self, key: str) -> Path:
        return self._folder / sha256(key.encode()).hexdigest()[:32]

    def _mac(self, key: str, content: bytes) -> bytes:
        # the key's length parts the two: no other pair of key and content gives the same bytes
        return hmac.digest(self._secret(), f"{len(key)}:{key}".encode() + content, "sha256")

    def _secret(self) -> bytes:
        path = self._folder / "secret"
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
        return path.read_bytes()
