"""What a campaign makes on a server: the streams and the consumers that must exist, as the server is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import subjects
from ..queue import Terms

MAX_ACK_PENDING = 20_000  # the server's 1000 would starve 100 agents that hold 64 jobs each
MAX_JOBS = 200_000
KEYS_BYTES = 10**9  # of states, environments and exhausted jobs, each
DUPLICATES_S = 120


@dataclass(frozen=True)
class Room:
    """What the server may keep, in bytes."""

    jobs: int = 2 * 10**9
    results: int = 20 * 10**9
    models: int = 5 * 10**9


def _stream(name: str, *names: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "subjects": list(names), "storage": "file", "num_replicas": 1, "allow_direct": True,
        "discard": "new", "duplicate_window": int(DUPLICATES_S * 1e9),
    } | more  # fmt: skip


def streams(room: Room) -> list[dict[str, Any]]:
    """Return the configurations of all streams."""
    latest = {"max_msgs_per_subject": 1, "allow_rollup_hdrs": True, "deny_delete": True, "max_bytes": KEYS_BYTES}
    return [
        _stream(subjects.EXHAUSTED, subjects.exhausted("*"), discard="old", max_msgs=MAX_JOBS, max_bytes=KEYS_BYTES),
        _stream(
            subjects.JOBS, subjects.job("*", "*"), retention="workqueue", max_msgs=MAX_JOBS, max_bytes=room.jobs,
            max_msgs_per_subject=1, discard_new_per_subject=True,
        ),
        _stream(subjects.RESULTS, subjects.result("*", "*"), retention="workqueue", max_bytes=room.results),
        _stream(
            subjects.MODELS_STREAM, subjects.model(">"), subjects.model_meta(">"), max_bytes=room.models,
            allow_rollup_hdrs=True,
        ),
        _stream(subjects.AGENTS_STREAM, subjects.agent(">"), **latest),
        _stream(subjects.ENVIRONMENTS_STREAM, subjects.environment("*", "*"), **latest),
    ]  # fmt: skip


def _consumer(name: str, subject: str, terms: Terms, max_deliver: int) -> dict[str, Any]:
    return {
        "durable_name": name, "filter_subject": subject, "ack_policy": "explicit", "deliver_policy": "all",
        "replay_policy": "instant", "ack_wait": int(terms.ack_wait_s * 1e9), "max_deliver": max_deliver,
        "max_ack_pending": MAX_ACK_PENDING,
    }  # fmt: skip


def job_consumer(name: str, terms: Terms) -> dict[str, Any]:
    """Return the configuration of the consumer of a class's jobs."""
    return _consumer(name, subjects.job(name, "*"), terms, terms.max_deliver)


def result_consumer(name: str, terms: Terms) -> dict[str, Any]:
    """Return the configuration of the consumer of a campaign's results."""
    return _consumer(name, subjects.result(name, "*"), terms, -1)
