"""Reads foreign networks in a limited child process, before they travel: parsing them is a risk in itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ...errors import InputRefusedError
from ..worker import foreign, isolation

_MEMORY_BYTES = 8 * 2**30


def main() -> None:
    """Answer one request from standard input: for each network its files of external weights, or why it is refused."""
    isolation.confine(int(sys.argv[1]), _MEMORY_BYTES)
    request = json.load(sys.stdin)
    found = {
        key: _read(Path(path), digest, None if own_batch else request["batch"])
        for key, path, digest, own_batch in request["models"]
    }
    sys.stdout.write(json.dumps(found))


def _read(path: Path, digest: str, batch: int | None) -> list[str] | str:
    try:
        return foreign.check(foreign.read(path, digest), path.parent, batch)
    except InputRefusedError as error:
        return " ".join(str(error).split())[:500]


if __name__ == "__main__":
    main()
