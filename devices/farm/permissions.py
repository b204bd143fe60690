"""What an agent may do on the server, and nothing else may be done: the one place where it is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import subjects


@dataclass(frozen=True)
class Permissions:
    """Subjects, with the server's wildcards, to which one may publish and subscribe; every other is denied."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def as_user(self) -> dict[str, dict[str, dict[str, tuple[str, ...]]]]:
        """Return them as the server's configuration has them."""
        return {"permissions": {"publish": {"allow": self.publish}, "subscribe": {"allow": self.subscribe}}}


def agent_permissions(agent: str, device_classes: Sequence[str]) -> Permissions:
    """Return the permissions of an agent that takes the jobs of these classes.

    It may ask for jobs of its classes and say what became of them, read models, and write its own results, state,
    environments and progress. It can offer nothing, read no results, and neither create, change, purge nor delete.
    """
    publish: list[str] = []
    for device_class in device_classes:
        publish += [
            f"$JS.API.CONSUMER.MSG.NEXT.{subjects.JOBS}.{device_class}",
            f"$JS.ACK.{subjects.JOBS}.{device_class}.>",
        ]
    publish += [
        f"$JS.API.DIRECT.GET.{subjects.MODELS_STREAM}",
        f"$JS.API.DIRECT.GET.{subjects.MODELS_STREAM}.>",
        subjects.result("*", agent),
        subjects.event(agent),
        subjects.agent(agent),
        subjects.environment(agent, "*"),
    ]
    subscribe = (f"{subjects.inbox(agent)}.>", subjects.control(agent), subjects.control(subjects.EVERY_AGENT))
    return Permissions(tuple(publish), subscribe)
