"""Who imports whom: the rooms (folders) of the package, the arrows between them, circles of files, and sizes.

    python benchmarks/rooms.py [REVISION ...] [--table]

Revisions of the repository are read from git. An arrow leads from one room to another where some file imports one of
the other's. Imports for type checkers only and ``__init__`` files do not count. grimp, which import-linter is built on,
reads the files; nothing of them is run.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grimp
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
PACKAGE = "tempograd"  # the repository's root is the package
NOT_SHIPPED = {"benchmarks", "build", "docs", "examples", "tests"}


def rooms_of(revision: str, repository: Path = ROOT) -> dict[str, Any]:
    """Return what the package was like at a revision, ready for JSON."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / PACKAGE
        _extract(repository, revision, place)
        lines = {file.relative_to(place): len(file.read_text().splitlines()) for file in sorted(place.rglob("*.py"))}
        graph = _graph(Path(folder))
    files = {f"{PACKAGE}.{'.'.join(file.with_suffix('').parts)}" for file in lines if file.stem != "__init__"}
    by_room: Counter[str] = Counter()
    for file, count in lines.items():
        by_room[file.parts[0] if len(file.parts) > 1 else "(root)"] += count
    rooms = {name for name in by_room if name != "(root)"}
    imports = [(a, b) for a in sorted(files) for b in graph.find_modules_directly_imported_by(a) if b in files]
    pairs = {(_room(a), _room(b)) for a, b in imports}
    arrows = sorted((a, b) for a, b in pairs if a != b and {a, b} <= rooms)
    largest = max(lines, key=lines.__getitem__)
    return {
        "revision": _git(repository, "rev-parse", "--short", revision).decode().strip(),
        "date": _git(repository, "log", "-1", "--format=%cs", revision).decode().strip(),
        "files": len(lines),
        "lines": sum(lines.values()),
        "rooms": len(rooms),
        "arrows between rooms": len(arrows),
        "arrows both ways": [f"{a} <-> {b}" for a, b in arrows if a < b and (b, a) in arrows],
        "circles of files": _circles(imports),
        "largest room": max(rooms, key=by_room.__getitem__),
        "share of the largest room": round(max(by_room[name] for name in rooms) / sum(lines.values()), 3),
        "largest file": f"{largest} ({lines[largest]})",
        "files above 450 lines": sum(count > 450 for count in lines.values()),
        "lines by room": dict(by_room.most_common()),
        "imports of each room": {name: [b for a, b in arrows if a == name] for name in sorted(rooms)},
    }


def _room(module: str) -> str:
    return module.split(".")[1]


def _circles(imports: list[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of files that import each other, at once or through others."""
    names = sorted({name for pair in imports for name in pair})
    number = {name: n for n, name in enumerate(names)}
    ends = np.array([(number[a], number[b]) for a, b in imports]).reshape(-1, 2).T
    matrix = coo_array((np.ones(len(imports)), (ends[0], ends[1])), shape=(len(names), len(names)))
    _, group = connected_components(matrix, connection="strong")
    return [[names[i] for i in np.flatnonzero(group == g)] for g, n in Counter(group.tolist()).items() if n > 1]


def _graph(folder: Path) -> grimp.ImportGraph:
    sys.path.insert(0, str(folder))
    try:
        return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    finally:
        sys.path.remove(str(folder))


def _extract(repository: Path, revision: str, place: Path) -> None:
    place.mkdir()
    with tarfile.open(fileobj=io.BytesIO(_git(repository, "archive", "--format=tar", revision))) as archive:
        for member in archive:
            top = member.name.split("/")[0]
            if member.name.endswith(".py") and top not in NOT_SHIPPED and not top.startswith("."):
                archive.extract(member, place, filter="data")


def _git(repository: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", repository, *words], check=True, capture_output=True).stdout


def _cell(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else str(value)


def table(found: list[dict[str, Any]]) -> str:
    """Return a column a revision, in Markdown; lists are counted, and rooms have a row each."""
    plain = [name for name, value in found[0].items() if not isinstance(value, dict)]
    rows = [[name, *(_cell(one[name]) for one in found)] for name in plain]
    every = sorted({room for one in found for room in one["lines by room"]})
    rows += [[f"lines of {room}", *(str(one["lines by room"].get(room, "-")) for one in found)] for room in every]
    rows.insert(1, ["---"] * (1 + len(found)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("revisions", nargs="*", default=["HEAD"], help="of the repository, such as HEAD or a commit")
    parser.add_argument("--table", action="store_true", help="print a table in place of JSON")
    arguments = parser.parse_args()
    found = [rooms_of(revision) for revision in arguments.revisions]
    print(table(found) if arguments.table else json.dumps(found, indent=2))
