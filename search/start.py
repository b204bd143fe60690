"""Weights that a training begins with: random ones, the supernet's, or those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputRefusedError, UsageError
from ..spaces.digest import of_tensors
from ..spaces.network import Network
from ..spaces.saved import WEIGHTS, by_node
from .training import INHERITED

Begin = Callable[[Network], Network]
"""Gives a network the weights of the supernet it is part of."""


@dataclass(frozen=True)
class Started:
    """What a training began with.

    Attributes:
        source: ``random``, ``inherited``, or a path.
        digest: tells these weights from others; empty for random ones, which a seed tells.
        left: names of weights that the file has not, or in another shape, so that they began at random.
    """

    source: str = "random"
    digest: str = ""
    left: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it, JSON-ready."""
        return {"source": self.source, "random": list(self.left)}


def started(network: Network, start: str, begin: Begin | None = None) -> Started:
    """Give a network the weights that a recipe starts with.

    Args:
        network: on the CPU, with random weights.
        start: What the recipe says: empty, ``inherited``, or the path of a safetensors file of ``node.weight``, or of a
            folder with one.
        begin: gives it the supernet's.

    Raises:
        UsageError: there is no supernet.
        InputRefusedError: the file cannot be read, or holds no weight of this network.
    """
    if not start:
        return Started()
    if start == INHERITED:
        if begin is None:
            raise UsageError(
                "start=inherited: no supernet of these very networks was trained here; use a method that trains one, "
                "without --proxy, or start with a file"
            )
        return Started(INHERITED, of_tensors(begin(network).state_dict().items()))
    found = read_weights(start)
    own = {name.removeprefix("layers."): value for name, value in network.state_dict().items() if value.ndim}
    taken = [name for name, value in own.items() if name in found and found[name].shape == value.shape]
    if not taken:
        raise InputRefusedError(
            f"{start} holds no weight of this network, by name and shape; its own begin with {', '.join(list(own)[:3])}"
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(found[name])
    return Started(str(start), of_tensors(found.items()), tuple(name for name in own if name not in taken))


def read_weights(start: str) -> dict[str, Tensor]:
    """Return the weights of a safetensors file, or of a folder with one, by name.

    Raises:
        InputRefusedError: the file cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(start) / WEIGHTS if Path(start).is_dir() else Path(start)
    try:
        return by_node(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputRefusedError(
            f"cannot read the weights {path} to start with ({error}); allowed: a safetensors file, a result folder, or "
            f"{INHERITED}"
        ) from error
