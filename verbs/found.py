"""What the choices of a network cost that a search found: its kernels' times by the site that put them there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import TempogradError
from ..spaces.architecture import Architecture
from ..spaces.graph import FIXED, Choice
from ..spaces.saved import load_architecture
from ..spaces.space import SearchSpace


def choices_of(folder: Path, kernels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what each site's choice costs, the dearest first; nothing where the folder names no space that is known.

    Args:
        folder: Folder of a result.
        kernels: ``origin``, ``ms`` and ``share`` of each, as ``profile`` tells them.
    """
    try:
        space, architecture = load_architecture(folder)
    except TempogradError:
        return []
    return by_choice(space, architecture, kernels)


def by_choice(
    space: SearchSpace, architecture: Architecture, kernels: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return rows of ``site``, ``option``, ``ms``, ``share`` and ``kernels``, the dearest first.

    What no choice put there is a row without a site. A kernel that does the work of several counts for the first of the
    nodes that it came from.
    """
    sites = {
        f"{node.name}/": node.operation.site
        for node, _ in space.graph.walk()
        if isinstance(node.operation, Choice) and node.operation.site != FIXED
    }
    taken = {
        site.name: site.options[choice]
        for site, choice in zip(space.sites, architecture.choices, strict=True)
        if choice >= 0
    }
    rows: dict[str, dict[str, Any]] = {}
    for kernel in kernels:
        site = next(filter(None, (_site(name, sites) for name in kernel["origin"])), "")
        row = rows.setdefault(
            site, {"site": site, "option": taken.get(site, ""), "ms": 0.0, "share": 0.0, "kernels": 0}
        )
        row["ms"] += kernel["ms"]
        row["share"] += kernel["share"]
        row["kernels"] += 1
    return sorted(rows.values(), key=lambda row: -row["ms"])


def _site(name: str, sites: Mapping[str, str]) -> str:
    """Return the innermost site that a node belongs to."""
    inside = [prefix for prefix in sites if name.startswith(prefix)]
    return sites[max(inside, key=len)] if inside else ""
