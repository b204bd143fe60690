"""Files of weights, read as data: safetensors, or what ``torch.load`` reads with ``weights_only``, running no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputRefusedError

_HOLDERS = ("state_dict", "model")  # under which training scripts put the weights beside other things
_PARALLEL = "module."  # before all names of a network that was trained in parallel
_COUNTED = "num_batches_tracked"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises:
        InputRefusedError: it cannot be read, holds code, or something else than tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InputRefusedError(f"cannot read {path} ({error}); name a file of weights") from error
    except (SafetensorError, OSError) as error:
        raise InputRefusedError(f"{path} is damaged or incomplete ({error}); name a whole file of weights") from error
    except Exception as error:  # of torch's unpickler, one for each damage, and for code: to run it is its advice
        raise InputRefusedError(
            f"{path} is damaged, or no file of tensors alone, and nothing in it was run; save its state_dict as "
            "safetensors"
        ) from error
    for holder in _HOLDERS:
        if isinstance(found, dict) and isinstance(found.get(holder), dict):
            found = found[holder]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputRefusedError(f"{path} holds {type(found).__name__}, not tensors by name; save a state_dict")
    parallel = all(str(name).startswith(_PARALLEL) for name in found)
    return {str(name).removeprefix(_PARALLEL if parallel else ""): value for name, value in found.items()}


def load_weights(network: nn.Module, path: Path) -> None:
    """Set the weights of a module to those of its checkpoint.

    Raises:
        InputRefusedError: the file cannot be read, holds code, or is of another network; the message names the first
            weight that differs, with its shapes.
    """
    found, own = read_tensors(path), network.state_dict()
    if not own.keys() & found.keys():  # its own part may be called what a parallel network puts before all names
        found = {_PARALLEL + name: value for name, value in found.items()}
    found = {name: value for name, value in own.items() if name.endswith(_COUNTED)} | found  # old files have none
    for name, value in own.items():
        if name not in found:
            wrong = f"it has no {name} {tuple(value.shape)}"
        elif found[name].shape != value.shape:
            wrong = f"its {name} is {tuple(found[name].shape)}, the network's {tuple(value.shape)}"
        else:
            continue
        raise InputRefusedError(f"{path} is of another network than {type(network).__name__}: {wrong}")
    if more := [name for name in found if name not in own]:
        raise InputRefusedError(
            f"{path} is of another network than {type(network).__name__}, which has no {more[0]} "
            f"{tuple(found[more[0]].shape)}"
        )
    network.load_state_dict(found)
