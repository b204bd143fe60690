"""The exchange format: a folder with one Parquet file, a card for people, and checksums.

Any Parquet reader opens it without code of ours. Reading it here is all or nothing: a file that is not exactly what was
written is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .. import outputs
from ..errors import InputRefusedError, StoreError, UsageError
from ..measurement.fingerprint import Fingerprint
from ..scratch import Scratch
from ..spaces.space import SearchSpace
from .card import card
from .dataset import LatencyDataset, Row

SCHEMA = 3
DATA, CARD, SUMS = "data.parquet", "README.md", "SHA256SUMS"
GROUP_ROWS = 10_000

_METADATA = b"tempograd"
_MS = pa.float64()
_STATISTICS = ("wall_median_ms", "wall_q05_ms", "wall_min_ms", "cpu_median_ms", "p90_ms", "p99_ms")
_BESIDE_TIME = ("energy_mj", "memory_bytes")
_SINCE = dict.fromkeys(_STATISTICS, 2) | dict.fromkeys(_BESIDE_TIME, 3)  # the schema that brought a column
_COLUMNS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("latency_ms", _MS),
        pa.field("low_ms", _MS),
        pa.field("high_ms", _MS),
        pa.field("weight", pa.float64()),
        pa.field("path", pa.string(), nullable=False),
        pa.field("rounds", pa.int32(), nullable=False),
        pa.field("gated", pa.int32(), nullable=False),
        pa.field("values_ms", pa.list_(_MS), nullable=False),
        pa.field("sentinels_ms", pa.list_(_MS), nullable=False),
        pa.field("cause", pa.string(), nullable=False),
        pa.field("above_ms", _MS),
    ]
    + [pa.field(name, _MS) for name in _STATISTICS]
    + [pa.field(name, pa.float64()) for name in _BESIDE_TIME]
)


class _Header(BaseModel):
    """What the file says of itself, as JSON in its metadata."""

    model_config = ConfigDict(extra="ignore", strict=True)

    schema_: int
    version: str
    space: str
    fingerprint: dict[str, Any]
    repeatability: float | None
    pairs: int
    left_out: dict[str, int]


def export(dataset: LatencyDataset, folder: Path | str, *, space: SearchSpace | None = None, note: str = "") -> Path:
    """Write a data set as a folder that appears whole or not at all.

    Args:
        dataset: all its rows are written, also those without a latency. ``low_ms`` and ``high_ms`` in the file are
            without the part between processes, which is in the metadata; ``weight`` includes it.
        folder: must not exist, or be empty.
        space: adds a column of option indices for every site.
        note: a paragraph for the card.

    Returns:
        The folder.

    Raises:
        UsageError: the folder holds something.
        MismatchError: the space is another one.
        StoreError: it cannot be written.
    """
    folder = Path(folder)
    check_place(folder)
    target = Path(os.path.realpath(folder))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Scratch(target.parent) as scratch:
            partial = Path(scratch, target.name)
            partial.mkdir()
            table = _table(dataset, space)
            pq.write_table(
                table, partial / DATA, compression="zstd", row_group_size=GROUP_ROWS, write_page_checksum=True
            )  # fmt: skip
            (partial / CARD).write_text(card(dataset, note), encoding="utf-8")
            sums = "".join(f"{_digest(partial / name)}  {name}\n" for name in (CARD, DATA))
            (partial / SUMS).write_text(sums, encoding="utf-8")
            partial.rename(target)  # onto an empty folder, or none
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; free the disk or choose another place") from error
    return folder


def check_place(folder: Path) -> None:
    """Refuse a folder that a data set cannot be written as.

    Raises:
        UsageError: it holds something, or is no folder.
        StoreError: it may not be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; name a folder that does not exist yet")
    outputs.check([folder / DATA], outputs.never)


def load(folder: Path | str) -> LatencyDataset:
    """Read what `export` wrote.

    Raises:
        InputRefusedError: a file is missing, damaged, foreign, or of a newer schema; nothing was read of it then.
    """
    folder = Path(folder)
    path = folder / DATA
    _check_sums(folder)
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        header = _header(table.schema.metadata or {}, path)
        names = [name for name in _COLUMNS.names if header.schema_ >= _SINCE.get(name, 1)]
        rows = _rows(table.select(names).to_pylist(), path)
        fingerprint = Fingerprint(**header.fingerprint)
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise InputRefusedError(f"{path} is no data set of tempograd: {error}. Export it again") from error
    known = float("nan") if header.repeatability is None else header.repeatability
    return LatencyDataset(header.space, fingerprint, rows, known, header.pairs, header.left_out)


def _table(dataset: LatencyDataset, space: SearchSpace | None) -> pa.Table:
    weights = dict(zip(dataset.keys, dataset.weight.tolist(), strict=True))
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS.names}
    for row in dataset.rows:
        for name in _COLUMNS.names:
            value = weights.get(row.key) if name == "weight" else getattr(row, name)
            columns[name].append(None if value != value else value)  # NaN is not equal to itself
    header = _Header(
        schema_=SCHEMA,
        version=_version(),
        space=dataset.space,
        fingerprint=json.loads(dataset.fingerprint.to_json()),
        repeatability=None if dataset.repeatability != dataset.repeatability else dataset.repeatability,
        pairs=dataset.pairs,
        left_out=dataset.left_out,
    )
    schema = _COLUMNS.with_metadata({_METADATA: header.model_dump_json().encode()})
    table = pa.table(columns, schema=schema)
    if space is not None:
        dataset.encode(space)  # refuses another space
        choices = [space.from_key(row.key).choices for row in dataset.rows]
        for index, site in enumerate(space.sites):
            column = pa.array([choice[index] for choice in choices], pa.int16())
            table = table.append_column(pa.field(f"site.{site.name}", pa.int16()), column)
    return table


def _header(metadata: dict[bytes, bytes], path: Path) -> _Header:
    text = metadata.get(_METADATA)
    if text is None:
        raise InputRefusedError(f"{path} is Parquet, but no data set of tempograd; read it with tempograd.data.table")
    try:
        header = _Header.model_validate_json(text)
    except ValidationError as error:
        raise InputRefusedError(f"{path}: its metadata are not as written ({error.errors()[0]['msg']})") from error
    if header.schema_ not in range(1, SCHEMA + 1):
        raise InputRefusedError(
            f"{path} has schema {header.schema_}, written by tempograd {header.version}; this version reads schema "
            f"1 to {SCHEMA}. Upgrade with: pip install --upgrade tempograd"
        )
    return header


def _rows(found: Sequence[dict[str, Any]], path: Path) -> tuple[Row, ...]:
    for row in found:
        row.pop("weight")
        for name, value in row.items():
            if value is None:
                row[name] = float("nan")
    try:
        rows = TypeAdapter(tuple[Row, ...]).validate_python(found)
    except ValidationError as error:
        raise InputRefusedError(f"{path}: a row is not as written: {error.errors()[0]['msg']}") from error
    bad = [
        row.key for row in rows if row.latency_ms <= 0 or (row.verdict == "ok" and not row.latency_ms < float("inf"))
    ]
    if bad:
        raise InputRefusedError(f"{path}: latency_ms of {bad[0]!r} is no finite number above 0")
    if len({row.key for row in rows}) != len(rows):
        raise InputRefusedError(f"{path}: a key is there twice")
    return rows


def _check_sums(folder: Path) -> None:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        wrong = [name for name in (CARD, DATA) if expected.get(name) != _digest(folder / name)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputRefusedError(f"{folder} is no data set of tempograd: {error}") from error
    if wrong:
        detail = f", first bad row group: {_first_bad_group(folder / DATA)}" if DATA in wrong else ""
        raise InputRefusedError(
            f"{folder}: {', '.join(wrong)} is not what was written{detail}. Nothing was read; copy the folder again"
        )


def _first_bad_group(path: Path) -> str:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                try:
                    file.read_row_group(number)
                except (pa.ArrowException, OSError, UnicodeDecodeError):
                    return f"{number} of {file.num_row_groups}"
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return "none can be read, the footer is damaged"
    return "none, only the metadata differ"


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _version() -> str:
    from importlib.metadata import version

    return version("tempograd")
