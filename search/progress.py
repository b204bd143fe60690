"""How a search tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with a stage (``feasibility``, ``search``, ``repair``, ``train``, ``random``), how much is done, of how much,
and numbers."""


NETWORKS = frozenset({"candidates", "inherited", "queries", "random"})
"""Stages that count networks where trainings in them tell their losses; the others count epochs."""


def silent(stage: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
    """Say nothing."""
