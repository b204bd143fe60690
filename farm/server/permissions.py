"""What an agent may do on the server, and nothing else may be done: the one place where it is written down.

Two layers hold it. Each agent has a list of subjects to which it may publish and subscribe. But the server does not ask
whether one may publish to the subject that a request names for its *reply*: with permissions alone an agent that may
read models could have the reply sent to ``$JS.API.STREAM.PURGE...``, and a stream would be empty. So agents live in an
account of their own, which holds no stream and takes from the campaign's account just these services: replies
are delivered in the account that asked, where they reach nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import subjects

CAMPAIGNS, AGENTS = "CAMPAIGNS", "AGENTS"  # the two accounts
MAX_WAIT_S = 300  # for how long an agent may wait for jobs with one request


@dataclass(frozen=True)
class Permissions:
    """Subjects, with the server's wildcards, to which one may publish and subscribe; every other is denied."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def agent_permissions(agent: str, device_class: str) -> Permissions:
    """Return the permissions of an agent that takes the jobs of a class.

    It may ask for jobs of its class and say what became of them, read models, and write its own results, state,
    environments and progress. It can offer nothing, read no results, and neither create, change, purge nor delete.
    """
    publish = (
        f"$JS.API.CONSUMER.MSG.NEXT.{subjects.JOBS}.{device_class}", f"$JS.ACK.{subjects.JOBS}.{device_class}.>",
        f"$JS.API.DIRECT.GET.{subjects.MODELS_STREAM}", f"$JS.API.DIRECT.GET.{subjects.MODELS_STREAM}.>",
        subjects.result("*", agent), subjects.event(agent), subjects.agent(agent), subjects.environment(agent, "*"),
    )  # fmt: skip
    subscribe = (f"{subjects.inbox(agent)}.>", subjects.control(agent), subjects.control(subjects.EVERY_AGENT))
    return Permissions(publish, subscribe)


def accounts(campaign: dict[str, Any], agents: Sequence[tuple[dict[str, Any], Permissions]]) -> dict[str, Any]:
    """Return the accounts as the server's configuration has them.

    Args:
        campaign: how the campaign's user is known: ``nkey``, or ``user`` and ``password``.
        agents: how each agent is known, and what it may do.
    """
    exports: list[dict[str, str]] = [{"service": subject} for subject in agent_permissions("*", "*").publish]
    # One request brings many jobs. The server remembers where they go for so long, some 0.7 kB a request.
    exports[0] |= {"response_type": "stream", "response_threshold": f"{MAX_WAIT_S}s"}
    exports.append({"stream": subjects.control("*")})
    imports = [
        {kind: {"account": CAMPAIGNS, "subject": e[kind]}}
        for e in exports
        for kind in ("service", "stream")
        if kind in e
    ]
    users = [
        who | {"permissions": {"publish": {"allow": may.publish}, "subscribe": {"allow": may.subscribe}}}
        for who, may in agents
    ]
    return {
        CAMPAIGNS: {"jetstream": "enabled", "users": [campaign], "exports": exports},
        AGENTS: {"users": users, "imports": imports},
    }
