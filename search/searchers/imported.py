"""A supernet that others trained, as the file of a supernet that serves every target: nothing is left to train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ... import outputs
from ...errors import MismatchError
from ...spaces.digest import identity_of
from ...spaces.space import SearchSpace
from .checkpoint import is_checkpoint

_NAME = "supernet/"


def write_imported(path: Path, space: SearchSpace, supernet: nn.Module, source: str) -> None:
    """Write a supernet's weights, with the space that they are of and where they came from.

    Raises:
        UsageError: something else is there.
        StoreError: the disk refuses.
    """
    state = {"imported": {"space": identity_of(space), "source": source}}
    tensors = {_NAME + key: value.detach().cpu().contiguous() for key, value in supernet.state_dict().items()}
    outputs.write({path: save(tensors, metadata={"state": json.dumps(state)})}, is_checkpoint)


def imported(path: Path) -> dict[str, Any] | None:
    """Return what an imported supernet's file says of itself; None for any other file, broken ones too."""
    try:
        with safe_open(path, framework="pt") as file:
            told: dict[str, Any] | None = json.loads((file.metadata() or {})["state"]).get("imported")
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    return told


def load_imported(path: Path, space: SearchSpace, supernet: nn.Module) -> None:
    """Give a supernet the weights of an imported file.

    Raises:
        MismatchError: the file is of another space.
    """
    told = imported(path) or {}
    if told.get("space") != space.spec:
        raise MismatchError(f"{path} holds weights of {told.get('space')}, not of {space.spec}; search that space")
    with safe_open(path, framework="pt") as file:
        supernet.load_state_dict({key.removeprefix(_NAME): file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
