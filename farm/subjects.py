"""Names on the server: streams, subjects, consumers and buckets, all in this one place.

A class, a campaign and an agent are ids (``[a-z0-9-]{1,40}``), so that none of them can hold a dot or a wildcard.
"""

from __future__ import annotations

from typing import Literal, get_args

JOBS = "TG_JOBS"  # stream, work queue: tg.job.<class>.<job id>; a durable consumer for each class, named as the class
RESULTS = "TG_RESULTS"  # stream, work queue: tg.result.<campaign>.<agent>; a durable consumer for each campaign
EXHAUSTED = "TG_EXHAUSTED"  # stream: what the server says of jobs delivered too often
MODELS = "tg_models"  # object store: bytes under their SHA-256
MODELS_STREAM = f"OBJ_{MODELS}"
AGENTS = "tg_agents"  # key-value: <agent> -> its latest state
AGENTS_STREAM = f"KV_{AGENTS}"
ENVIRONMENTS = "tg_environments"  # key-value: <agent>.<SHA-256> -> environment
ENVIRONMENTS_STREAM = f"KV_{ENVIRONMENTS}"

ID = r"[a-z0-9-]{1,40}"  # of a class, a campaign, an agent

Command = Literal["drain", "pause", "resume", "release"]
COMMANDS: tuple[Command, ...] = get_args(Command)
EVERY_AGENT = "all"  # in the place of an agent's id, in commands; no agent may be called so


def job(device_class: str, job_id: str) -> str:
    """Return the subject of a job; ``*`` as ``job_id`` matches all jobs of a class."""
    return f"tg.job.{device_class}.{job_id}"


def result(campaign: str, agent: str) -> str:
    """Return the subject of an agent's results for a campaign; ``*`` as either matches all."""
    return f"tg.result.{campaign}.{agent}"


def exhausted(device_class: str) -> str:
    """Return the subject under which the server says that a job was delivered too often; ``*`` matches every class."""
    return f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{JOBS}.{device_class}"


def model(digest: str) -> str:
    """Return the subject of a model's bytes, in chunks."""
    return f"$O.{MODELS}.C.{digest}"


def model_meta(name: str) -> str:
    """Return the subject of the object that says how large a model is; ``name`` is URL-safe base64 of its digest."""
    return f"$O.{MODELS}.M.{name}"


def agent(name: str) -> str:
    """Return the subject of an agent's state."""
    return f"$KV.{AGENTS}.{name}"


def environment(agent: str, digest: str) -> str:
    """Return the subject of an environment."""
    return f"$KV.{ENVIRONMENTS}.{agent}.{digest}"


def control(agent: str) -> str:
    """Return the subject of commands to an agent, or to ``EVERY_AGENT``."""
    return f"tg.control.{agent}"


def event(agent: str) -> str:
    """Return the subject of an agent's progress, which nobody stores."""
    return f"tg.event.{agent}"


def inbox(agent: str) -> str:
    """Return the prefix of an agent's own inbox."""
    return f"_INBOX_{agent}"
