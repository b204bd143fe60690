"""What stands in a store's file: its tables, and the rows that are more than a measurement.

A store of an older version has the same schema number: tables that came later are made by the first that needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

APPLICATION_ID = 0x74677264  # "tgrd", in the file's header
SCHEMA = 1
TABLES = """
CREATE TABLE fingerprints (
    id TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;
CREATE TABLE campaigns (
    id TEXT PRIMARY KEY,
    space TEXT NOT NULL,
    fingerprint_id TEXT NOT NULL REFERENCES fingerprints (id),
    plan TEXT NOT NULL,
    seed INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    created_s REAL NOT NULL
) STRICT;
CREATE TABLE calibrations (
    number INTEGER PRIMARY KEY,
    campaign TEXT NOT NULL REFERENCES campaigns (id),
    json TEXT NOT NULL,
    created_s REAL NOT NULL
) STRICT;
CREATE TABLE measurements (
    number INTEGER PRIMARY KEY,
    campaign TEXT NOT NULL REFERENCES campaigns (id),
    key TEXT NOT NULL,
    replicate INTEGER NOT NULL CHECK (replicate >= 0),
    space TEXT NOT NULL,
    fingerprint_id TEXT NOT NULL REFERENCES fingerprints (id),
    onnx_digest TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('ok', 'noisy', 'hot', 'censored', 'failed', 'quarantined')),
    latency_ms REAL CHECK (latency_ms > 0 AND latency_ms < 1e15),
    payload BLOB NOT NULL,
    created_s REAL NOT NULL,
    UNIQUE (campaign, key, replicate),
    CHECK (latency_ms IS NOT NULL OR verdict <> 'ok')
) STRICT;
CREATE INDEX measurements_by_device ON measurements (fingerprint_id, space);
"""
DELIVERIES = """
CREATE TABLE IF NOT EXISTS deliveries (
    key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    campaign TEXT NOT NULL REFERENCES campaigns (id),
    agent TEXT NOT NULL,
    fate TEXT NOT NULL,
    body BLOB,
    created_s REAL NOT NULL,
    PRIMARY KEY (key, sha256)
) STRICT
"""  # made by the first campaign that is timed on other machines

MODELS = """
CREATE TABLE IF NOT EXISTS models (
    key TEXT NOT NULL,
    onnx_digest TEXT NOT NULL,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    facts TEXT NOT NULL,
    created_s REAL NOT NULL,
    PRIMARY KEY (key, onnx_digest)
) STRICT
"""  # made when the first network is measured that belongs to no space

Fate = Literal["accepted", "evidence", "contradiction", "other_device", "newer"]


@dataclass(frozen=True)
class CampaignRow:
    """One campaign: a space on a device by a plan with a seed.

    Attributes:
        id: derived from all of these, so that the same command finds the same campaign again.
        purpose: ``collect`` or ``verify``.
    """

    id: str
    space: str
    fingerprint_id: str
    plan: dict[str, Any]
    seed: int
    purpose: str
    created_s: float


@dataclass(frozen=True)
class Receipt:
    """What a campaign did with a result that came from another machine.

    Attributes:
        key: names the attempt; ``sha256`` is of the bytes that came.
        agent: who sent it.
        fate: ``accepted`` (its measurement is a row), ``evidence`` (its job was done before), ``contradiction`` (of the
            same attempt, with other bytes), ``other_device`` or ``newer`` (of a version not known here).
        body: the bytes that came; None if they were accepted.
    """

    key: str
    sha256: str
    agent: str
    fate: Fate
    body: bytes | None = None


@dataclass(frozen=True)
class ModelRow:
    """A network that belongs to no space.

    Attributes:
        key: that its measurements are kept under; ``onnx_digest`` is the SHA-256 of the file that was timed.
        name: for people, unique or not; the file's name without its ending.
        source: where the file was, empty if it came from memory.
        facts: its inputs, outputs, operators and more, as `graphs.network.NetworkFacts` tells them.
    """

    key: str
    onnx_digest: str
    name: str
    source: str
    facts: dict[str, Any]
