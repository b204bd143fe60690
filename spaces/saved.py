"""A network on disk: ``architecture.json`` and ``weights.safetensors``, and back, without the search that found it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from ..errors import InputRefusedError
from ..registry import create
from .architecture import Architecture
from .network import Network
from .space import SearchSpace
from .written import graph_json, graph_of

Values = TypeVar("Values", bound=Any)

ARCHITECTURE, WEIGHTS = "architecture.json", "weights.safetensors"


def is_own(spec: str) -> bool:
    """Return whether a spec is of a space of the user's own, ``NAME@DIGEST:ARGUMENTS``."""
    return "@" in spec.partition(":")[0]


def architecture_json(space: SearchSpace, architecture: Architecture) -> dict[str, Any]:
    """Return what ``architecture.json`` holds: all that is needed to build the network anew."""
    told = {"space": space.spec, "choices": list(architecture.choices), "text": space.format(architecture)}
    if not is_own(space.spec):
        return told
    return told | {"graph": graph_json(space.network_graph(architecture)), "affine": space.affine}


def load_architecture(folder: Path | str) -> tuple[SearchSpace, Architecture]:
    """Return the space and the architecture of a folder's ``architecture.json``.

    Raises:
        InputRefusedError: it is missing, or is none.
    """
    with _read(folder) as told:
        space: SearchSpace = create("space", str(told["space"]))
        return space, space.architecture(told["choices"])


def load_network(folder: Path | str, *, trained: bool = True) -> Network:
    """Return the network of a result folder in eval mode: ``(b, C, H, W) -> (b, classes)``.

    Args:
        folder: with ``architecture.json`` and, if trained, ``weights.safetensors``. Of a space of the user's own the
            first holds the whole graph, so that neither the space nor his file is needed.
        trained: with the folder's weights; else with random ones, where a search trained none.

    Raises:
        InputRefusedError: a file is missing, malformed, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    network = _built(folder)
    path = Path(folder) / WEIGHTS
    if trained:
        try:
            arrays = by_node(load_file(path))
        except (OSError, SafetensorError) as error:
            raise InputRefusedError(
                f"cannot read {path} ({error}); pass trained=False for a network with random weights"
            ) from error
        if {k: v.shape for k, v in arrays.items()} != {k: v.shape for k, v in network.arrays().items()}:
            raise InputRefusedError(f"{path} holds the weights of another network than {ARCHITECTURE} names")
        network.load_arrays(arrays)
    return network.eval()


@contextmanager
def _read(folder: Path | str) -> Generator[dict[str, Any]]:
    """Read a folder's ``architecture.json``; what is wrong with it is told with its path."""
    path = Path(folder) / ARCHITECTURE
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputRefusedError(f"{path} holds no architecture ({error}); name a folder that search wrote") from error


def _built(folder: Path | str) -> Network:
    """Return the network that a folder describes, with weights that mean nothing."""
    with _read(folder) as told:
        if "graph" in told:
            return Network(graph_of(told["graph"]), affine=bool(told["affine"]))
        space, architecture = load_architecture(folder)
        return space.to_torch(architecture)


def state_arrays(network: Network) -> dict[str, NDArray[Any]]:
    """Return the weights under the module's own keys: ``network.load_state_dict`` takes them as they are."""
    return {key: value.cpu().numpy().copy() for key, value in network.state_dict().items()}


def by_node(arrays: Mapping[str, Values]) -> dict[str, Values]:
    """Return weights as ``node.weight -> values``, of a file of the module's own keys, or of an earlier one of these.

    >>> import numpy as np
    >>> list(by_node({"layers.head/linear.bias": np.zeros(2), "layers.bn.num_batches_tracked": np.zeros(())}))
    ['head/linear.bias']
    """
    return {key.removeprefix("layers."): value for key, value in arrays.items() if value.ndim}


def rebuild_line(folder: Path | str, *, trained: bool = True) -> str:
    """Return the line of Python that builds the network of a folder.

    >>> rebuild_line("result")
    "from tempograd.spaces.saved import load_network; network = load_network('result')"
    """
    extra = "" if trained else ", trained=False"
    return f"from tempograd.spaces.saved import load_network; network = load_network({str(folder)!r}{extra})"
