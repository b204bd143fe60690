"""The store: every measurement, raw, in one SQLite file that survives being killed at any moment.

A measurement exists when ``append`` has returned: one transaction, written ahead and synced. Rows are never changed and
never deleted. One process writes at a time; any number may read meanwhile.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from math import isfinite
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, Self

from .. import outputs
from ..errors import InputRefusedError, StoreError, TempogradError, UsageError
from ..locks import Lock
from ..measurement.calibration import Calibration
from ..measurement.fingerprint import Fingerprint
from ..measurement.measurement import Measurement
from .database import Database, Run, code_of
from .measurement_json import RESTORE, pack, unpack
from .schema import APPLICATION_ID, DELIVERIES, MODELS, SCHEMA, TABLES, CampaignRow, ModelRow, Receipt

TABULAR = {".csv", ".tsv", ".txt", ".parquet", ".gz", ".xlsx"}  # what people have networks' latencies in
PARTS = {".json", ".safetensors", ".npz", ".html", ".md"}  # what the folders that tempograd writes hold beside
CHECKED_BYTES = 64 * 2**20  # a file up to this size is checked whenever it is opened


def campaign_id(
    space: str, fingerprint: Fingerprint, plan: dict[str, Any], seed: int, *, purpose: str = "collect"
) -> str:
    """Return the id by which a store knows a campaign, begun or not."""
    identity = json.dumps([space, fingerprint.id, plan, seed, purpose], sort_keys=True)
    return sha256(identity.encode()).hexdigest()[:12]


class Store:
    """A store file, opened to read or, by one process at a time, to write.

    Args:
        path: the file; created if ``write`` and absent.
        write: take the writer's lock.

    Raises:
        UsageError: the path is a folder, a pipe or a device.
        InputRefusedError: not a store, damaged, or of a newer schema.
        StoreError: held by another process, or the disk does not obey.
    """

    def __init__(self, path: Path | str, *, write: bool = False) -> None:
        self.path = Path(path)
        self.write = write
        self._lock: Lock | None = None
        if self.path.exists() and not self.path.is_file():
            raise UsageError(f"--store {self.path} is no regular file; allowed: a file such as run.db, there or new")
        if not write and not self.path.is_file():
            raise InputRefusedError(f"no store at {self.path}; name an existing file, or measure into a new one")
        if write:
            self._lock = self._hold()
        try:
            self._database = Database(self.path, told=self._told, write=write)
            try:
                self._database.admit(TABLES, application_id=APPLICATION_ID, schema=SCHEMA, refusal=self._refusal)
                if self.path.stat().st_size <= CHECKED_BYTES:
                    self.check()
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._release(forget=True)
            raise

    def close(self) -> None:
        """Close the file and let the lock go; closing twice is allowed."""
        if self.write:
            # the log goes into the file, so that a copy of the file alone has every row; where it cannot, it is kept
            with suppress(TempogradError):
                self._database.read("PRAGMA wal_checkpoint(TRUNCATE)")
        self._database.close()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- writing -------------------------------------------------------------------------------------------------

    def add_fingerprint(self, fingerprint: Fingerprint) -> None:
        """Keep a device's fingerprint; rows may refer to it from now on."""
        with self._transaction() as run:
            run("INSERT OR IGNORE INTO fingerprints VALUES (?, ?)", fingerprint.id, fingerprint.to_json())

    def begin(
        self, space: str, fingerprint: Fingerprint, plan: dict[str, Any], seed: int, *, purpose: str = "collect"
    ) -> str:
        """Begin a campaign, or find it again; return its id."""
        self.add_fingerprint(fingerprint)
        id_ = campaign_id(space, fingerprint, plan, seed, purpose=purpose)
        row = (id_, space, fingerprint.id, json.dumps(plan, sort_keys=True), seed, purpose, time.time())
        with self._transaction() as run:
            run("INSERT OR IGNORE INTO campaigns VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
        return id_

    def append(self, campaign: str, *measurements: Measurement, receipts: Sequence[Receipt] = ()) -> None:
        """Keep measurements, and what became of results from other machines, all or none; on the disk on return.

        Raises:
            StoreError: a row of the same key and replicate is there already, or the disk does not obey.
            UsageError: a measurement without a usable latency that does not say why.
        """
        rows = [_row(campaign, m) for m in measurements]
        marks = ", ".join("?" * 10)
        columns = (
            "campaign, key, replicate, space, fingerprint_id, onnx_digest, verdict, latency_ms, payload, created_s"
        )
        with self._transaction() as run:
            for row in rows:
                run(f"INSERT INTO measurements ({columns}) VALUES ({marks})", *row)
            if receipts:
                run(DELIVERIES)
            for r in receipts:
                row = (r.key, r.sha256, campaign, r.agent, r.fate, r.body, time.time())
                run("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?)", *row)

    def add_calibration(self, campaign: str, calibration: Calibration) -> None:
        """Keep a calibration of the device as it was found."""
        text = json.dumps(asdict(calibration), allow_nan=False)
        with self._transaction() as run:
            run("INSERT INTO calibrations (campaign, json, created_s) VALUES (?, ?, ?)", campaign, text, time.time())

    def add_model(self, model: ModelRow) -> None:
        """Keep what is known of a network that belongs to no space, its newest name."""
        row = (model.key, model.onnx_digest, model.name, model.source, json.dumps(model.facts), time.time())
        with self._transaction() as run:
            run(MODELS)
            run("INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?)", *row)

    # -- reading -------------------------------------------------------------------------------------------------

    def fingerprint(self, id_: str) -> Fingerprint:
        """Return a fingerprint by its id.

        Raises:
            UsageError: no such fingerprint in this store.
        """
        found = self.fingerprints()
        if id_ not in found:
            raise UsageError(f"no fingerprint {id_!r} in {self.path}; allowed: {', '.join(found) or 'none'}")
        return found[id_]

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Return every fingerprint by its id.

        Raises:
            InputRefusedError: one is damaged: its id is a digest of it.
        """
        found: dict[str, Fingerprint] = {}
        for id_, text in self._database.read("SELECT id, json FROM fingerprints"):
            with self._whole("a fingerprint"):
                found[id_] = Fingerprint.from_json(text)
                if found[id_].id != id_:
                    raise ValueError("its id is that of another")
        return found

    def campaigns(self) -> list[CampaignRow]:
        """Return every campaign, the oldest first."""
        rows = self._database.read(
            "SELECT id, space, fingerprint_id, plan, seed, purpose, created_s FROM campaigns ORDER BY created_s, id"
        )
        with self._whole("a campaign"):
            return [CampaignRow(i, space, f, json.loads(plan), *rest) for i, space, f, plan, *rest in rows]

    def done(self, campaign: str) -> set[tuple[str, int]]:
        """Return the (key, replicate) pairs that this campaign has, failed ones too."""
        return set(self._database.read("SELECT key, replicate FROM measurements WHERE campaign = ?", campaign))

    def counts(self, campaign: str | None = None) -> dict[str, int]:
        """Return verdict -> number of rows, of one campaign or of all."""
        where, values = _where(campaign=campaign)
        return dict(self._database.read(f"SELECT verdict, count(*) FROM measurements{where} GROUP BY verdict", *values))

    def sets(self) -> dict[tuple[str, str], int]:
        """Return (space, fingerprint id) -> number of rows.

        Raises:
            InputRefusedError: an index is damaged.
        """
        query = "SELECT space, fingerprint_id, count(*) FROM measurements GROUP BY space, fingerprint_id"
        rows = self._database.read(query)
        known = {row[0] for row in self._database.read("SELECT id FROM fingerprints")}
        if lost := [row for row in rows if row[1] not in known or not isinstance(row[0], str)]:
            raise InputRefusedError(
                f"{self.path} is damaged: rows of no device that it knows ({lost[0][1]!r}). {RESTORE}"
            )
        return {(row[0], row[1]): row[2] for row in rows}

    def measurements(
        self,
        *,
        campaign: str | None = None,
        space: str | None = None,
        fingerprint_id: str | None = None,
        key: str | None = None,
        newest: int | None = None,
    ) -> Iterator[Measurement]:
        """Yield measurements in the order they were kept, those that fit all filters.

        Args:
            campaign: only rows of this campaign.
            space: only rows of this space.
            fingerprint_id: only rows of this device.
            key: only rows of this network.
            newest: only the last so many of them.

        Raises:
            InputRefusedError: a row is damaged.
        """
        where, values = _where(campaign=campaign, space=space, fingerprint_id=fingerprint_id, key=key)
        query = f"SELECT number, key, replicate, space, fingerprint_id, payload FROM measurements{where}"
        if newest is not None:
            query = f"SELECT * FROM ({query} ORDER BY number DESC LIMIT {int(newest)})"
        for number, *named, payload in self._database.read(f"{query} ORDER BY number", *values):
            found = unpack(payload, f"row {number} of {self.path}")
            if [found.key, found.replicate, found.space, found.fingerprint_id] != named:
                raise InputRefusedError(f"row {number} of {self.path} is damaged: it does not name itself. {RESTORE}")
            yield found

    def blind_campaigns(self, space: str, fingerprint_id: str) -> list[str]:
        """Return, for each measurement of a space on a device in their order, the campaign that timed it blindly twice.

        Empty where none did: without a duplicate, measured again for its noise, or chosen by an audit or a search.
        """
        query = (
            "SELECT CASE WHEN m.replicate < 2 AND p.purpose = 'collect' AND EXISTS (SELECT 1 FROM measurements d WHERE "
            "d.campaign = m.campaign AND d.key = m.key AND d.replicate = 1) THEN m.campaign ELSE '' END "
            "FROM measurements m JOIN campaigns p ON p.id = m.campaign "
            "WHERE m.space = ? AND m.fingerprint_id = ? ORDER BY m.number"
        )
        return [row[0] for row in self._database.read(query, space, fingerprint_id)]

    def calibrations(self, fingerprint_id: str) -> list[Calibration]:
        """Return the calibrations of a device, the oldest first."""
        query = (
            "SELECT c.json FROM calibrations c JOIN campaigns p ON p.id = c.campaign "
            "WHERE p.fingerprint_id = ? ORDER BY c.number"
        )
        with self._whole("a calibration"):
            return [Calibration(**json.loads(row[0])) for row in self._database.read(query, fingerprint_id)]

    def labels(self, campaign: str) -> dict[tuple[str, int], tuple[str, float | None]]:
        """Return (key, replicate) -> (verdict, latency_ms or None) as they were written beside the raw rows."""
        query = "SELECT key, replicate, verdict, latency_ms FROM measurements WHERE campaign = ?"
        return {(row[0], row[1]): (row[2], row[3]) for row in self._database.read(query, campaign)}

    def receipts(self, campaign: str) -> list[Receipt]:
        """Return what became of this campaign's results from other machines, in the order in which they came."""
        if not self._database.read("SELECT 1 FROM sqlite_schema WHERE name = 'deliveries'"):
            return []
        query = "SELECT key, sha256, agent, fate, body FROM deliveries WHERE campaign = ? ORDER BY rowid"
        return [Receipt(*row) for row in self._database.read(query, campaign)]

    def models(self) -> list[ModelRow]:
        """Return the networks that belong to no space, the oldest first."""
        if not self._database.read("SELECT 1 FROM sqlite_schema WHERE name = 'models'"):
            return []
        rows = self._database.read("SELECT key, onnx_digest, name, source, facts FROM models ORDER BY created_s, rowid")
        return [ModelRow(key, digest, name, source, json.loads(facts)) for key, digest, name, source, facts in rows]

    def check(self, *, thorough: bool = False) -> None:
        """Check the whole file; thoroughly, that its indexes agree with its tables, too.

        Raises:
            InputRefusedError: it is damaged.
        """
        for query in ("PRAGMA integrity_check" if thorough else "PRAGMA quick_check", "PRAGMA foreign_key_check"):
            found = [row for row in self._database.read(query) if row[0] != "ok"]
            if found:
                raise InputRefusedError(f"{self.path} is damaged ({found[0][0]}). {RESTORE}")

    # -- the file ------------------------------------------------------------------------------------------------

    def _hold(self) -> Lock:
        """Take the writer's lock."""
        lock = Lock(self._file)
        if not lock.take():
            raise StoreError(f"{self.path} is held by {lock.holder()}; wait for it, stop it, or use another file")
        try:
            self._check_alone()
        except BaseException:
            lock.release(forget=True)
            raise
        return lock

    def _check_alone(self) -> None:
        """Refuse a file whose write-ahead log is, or may be, under another name, where SQLite would not look for it."""
        try:
            names = self._file.stat().st_nlink
        except FileNotFoundError:
            outputs.check([self._beside("-wal"), self._beside("-journal")], outputs.never)
            return
        if names > 1:
            raise StoreError(
                f"{self.path} has {names} names (hard links), and two writers would not see each other; nothing lost. "
                "Copy it and measure into the copy, or leave it one name"
            )

    @property
    def _file(self) -> Path:
        """The file itself: whatever links lead to it, it has one lock."""
        return Path(os.path.realpath(self.path))

    def _beside(self, suffix: str) -> Path:
        return self._file.with_name(self._file.name + suffix)

    def _release(self, *, forget: bool = False) -> None:
        if self._lock is not None:
            self._lock.release(forget=forget)
            self._lock = None

    def _transaction(self) -> AbstractContextManager[Run]:
        if not self.write:
            raise StoreError(f"{self.path} was opened to read; open it with write=True")
        return self._database.transaction()

    def _refusal(self, application: int, schema: int) -> str:
        if application != APPLICATION_ID:
            return f"{self.path} is a database, but no tempograd store; name another file"
        return (
            f"{self.path} has schema {schema}; this version reads schema {SCHEMA}. Nothing was changed; "
            "upgrade with: pip install --upgrade tempograd"
        )

    @contextmanager
    def _whole(self, what: str) -> Generator[None]:
        """Refuse a text that is not what was written."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise InputRefusedError(f"{self.path} is damaged: {what} cannot be read ({error}). {RESTORE}") from error

    def _told(self, error: Exception) -> TempogradError | None:
        """Return what an error is to be raised as: it says what is lost (nothing) and what to do."""
        if isinstance(error, UnicodeDecodeError):
            return InputRefusedError(f"{self.path} is damaged: a text cannot be read ({error}). {RESTORE}")
        if not isinstance(error, sqlite3.Error):
            return None
        code = code_of(error)
        if isinstance(error, sqlite3.ProgrammingError):
            return StoreError(f"{self.path} is closed; open it again. ({error})")
        if isinstance(error, sqlite3.IntegrityError):
            return StoreError(f"{self.path} refused a row: {error}; nothing of it was kept")
        if code == sqlite3.SQLITE_NOTADB and self.path.suffix.lower() in TABULAR:
            name = quote(str(self.path))
            return InputRefusedError(
                f"{self.path} is a table, and no store of measurements. Learn from it: tempograd fit {name} --out DIR; "
                f"judge predictors: tempograd evaluate {name} --space SPACE --column COLUMN; search: --latency "
                f"table:{name}:COLUMN"
            )
        if code == sqlite3.SQLITE_NOTADB and self.path.suffix.lower() == ".onnx":
            return InputRefusedError(
                f"{self.path} is a network, and no store of measurements. Measure it: tempograd measure "
                f"{quote(str(self.path))}"
            )
        if code == sqlite3.SQLITE_NOTADB and self.path.suffix.lower() in PARTS:
            return InputRefusedError(
                f"{self.path} is no store of measurements. If it is part of a predictor, a data set or a result, give "
                f"the folder: {self.path.parent}"
            )
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return InputRefusedError(f"{self.path} is no readable store ({error}). {RESTORE}")
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"disk full at {self.path}; nothing lost; free space and run again")
        if code == sqlite3.SQLITE_IOERR:
            return StoreError(
                f"I/O error at {self.path} ({error}); nothing lost: every acknowledged row was synced before. "
                "Check the disk, then run again"
            )
        return StoreError(f"cannot use {self.path}: {error}; nothing lost. Check path and rights, then run again")


def _row(campaign: str, m: Measurement) -> tuple[Any, ...]:
    if m.failure is None and not m.rounds:
        raise UsageError(f"the measurement of {m.key!r} has neither rounds nor a failure; measure it again")
    latency_ms = m.estimate.latency_ms if m.failure is None and m.estimate is not None else None
    if latency_ms is not None and not (isfinite(latency_ms) and latency_ms > 0):
        raise UsageError(
            f"latency_ms={latency_ms!r} for {m.key!r}; allowed: a finite number above 0. The burst was below the "
            "clock's resolution or the clock is broken: measure with longer bursts"
        )
    ids = (campaign, m.key, m.replicate, m.space, m.fingerprint_id, m.onnx_digest)
    return (*ids, m.verdict, latency_ms, pack(m), time.time())


def _where(**filters: str | None) -> tuple[str, list[str]]:
    given = {name: value for name, value in filters.items() if value is not None}
    conditions = " AND ".join(f"{name} = ?" for name in given)
    return (f" WHERE {conditions}" if given else ""), list(given.values())
