"""Weights of AutoFormer's released supernets, as those of a supernet of the space ``vit``.

The published layout keeps the rows of queries, keys and values in turns, so that a narrower network takes every third
row from the first; here each has a matrix of its own, and a narrower network the first rows. The bias of all three is
taken by its first numbers, then cut in three, there as here: what a head adds depends on how many heads there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputRefusedError

if TYPE_CHECKING:
    from torch import Tensor

    from .network import Network
    from .space import SearchSpace
    from .zoo.vit import VisionTransformer

_FAMILIES = {256: "tiny", 448: "small", 640: "base"}  # by the embedding of the whole supernet

_LAYER = {  # of a layer: where its parameters stand, and their published names
    "attention/norm": "attn_layer_norm",
    "perceptron/norm": "ffn_layer_norm",
    "perceptron/wider": "fc1",
    "perceptron/back": "fc2",
}
_ONCE = {
    "embed/patches/weight": "patch_embed_super.proj.weight",
    "embed/patches/bias": "patch_embed_super.proj.bias",
    "embed/class/bias": "cls_token",
    "embed/positions/bias": "pos_embed",
    "head/norm/weight": "norm.weight",
    "head/norm/bias": "norm.bias",
    "head/linear/weight": "head.weight",
    "head/linear/bias": "head.bias",
}
_ATTENTION: dict[str, tuple[str, int | None]] = {  # published name, and the first of every third row
    "q_weight": ("qkv.weight", 0),
    "k_weight": ("qkv.weight", 1),
    "v_weight": ("qkv.weight", 2),
    "in_bias": ("qkv.bias", None),
    "out_weight": ("proj.weight", None),
    "out_bias": ("proj.bias", None),
}
_TABLES = {"rows": "v", "columns": "h"}


def spec_of(weights: Mapping[str, Tensor], path: Path) -> str:
    """Return the space of the supernet that weights are of.

    Raises:
        InputRefusedError: they are of none that was released; the message has the first name and shape that tell.
    """
    names = ("patch_embed_super.proj.weight", "pos_embed", "head.weight")
    absent = next((name for name in names if name not in weights), None)
    if absent is not None:
        raise InputRefusedError(f"{path} is of another network: it has no {absent}; allowed: supernets of AutoFormer")
    embed, positions, head = (tuple(weights[name].shape) for name in names)
    if (len(embed), len(positions), len(head)) != (4, 3, 2) or embed[0] not in _FAMILIES or positions[1] < 2:
        allowed = ", ".join(f"{wide} wide ({family})" for wide, family in _FAMILIES.items())
        raise InputRefusedError(f"{path}: {names[0]} is {embed}, {names[1]} {positions}; allowed: embeddings {allowed}")
    layers = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    size = isqrt(positions[1] - 1) * embed[-1]
    family, shape = _FAMILIES[embed[0]], f"patch={embed[-1]},size={size},channels={embed[1]}"
    return f"vit:family={family},layers={len(layers)},classes={head[0]},{shape}"


def supernet_of(space: SearchSpace, weights: Mapping[str, Tensor], path: Path) -> Network:
    """Return the supernet of a space ``vit`` with released weights.

    Raises:
        InputRefusedError: another space, or weights of another network; the message has the first name and shape.
    """
    from .zoo.vit import VisionTransformer

    if not isinstance(space, VisionTransformer):
        raise InputRefusedError(f"{path} is for the space vit, not for {space.spec}")
    supernet = space.supernet()
    try:
        supernet.load_state_dict(read_autoformer(weights, space))
    except InputRefusedError as error:
        raise InputRefusedError(f"{path}: {error}") from error
    return supernet.eval()


def read_autoformer(state: Mapping[str, Tensor], space: VisionTransformer) -> dict[str, Tensor]:
    """Return the weights of ``space.supernet()``, by the names of its ``state_dict``, out of a released file.

    Args:
        state: State of the file, by the published names: ``blocks.0.attn.qkv.weight`` and so on.
        space: Space of the file's family, with relative attention. Its largest network is a part of the file's.

    Raises:
        InputRefusedError: a weight is missing, or smaller than the space's; the message has its published name.

    Example:
        ``supernet.load_state_dict(read_autoformer(torch.load(file, weights_only=True)["model"], space))``
    """
    found: dict[str, Tensor] = {}
    for name, own in space.supernet().state_dict().items():
        published, rows = _published(name.removeprefix("shared.net/"))
        if published not in state:
            raise InputRefusedError(
                f"{published} is missing: no supernet of AutoFormer with relative positions, or one of fewer layers "
                f"than {space.spec}"
            )
        value = state[published][rows] if state[published].ndim else state[published]
        value = value.reshape(value.shape[value.ndim - own.ndim :]) if value.ndim > own.ndim else value
        exact = published == "pos_embed" or "rel_pos" in published  # their rows are places
        few = value.ndim != own.ndim or any(have < want for have, want in zip(value.shape, own.shape, strict=True))
        if few or (exact and value.shape[0] != own.shape[0]):
            raise InputRefusedError(
                f"{published} is {tuple(state[published].shape)}, {space.spec} needs {tuple(own.shape)} of it; set its "
                "family, layers, patch, size and classes to those of the file"
            )
        found[name] = value[tuple(map(slice, own.shape))].clone()
    return found


def _published(place: str) -> tuple[str, slice]:
    """Return the published name of a parameter, and which of its rows are meant."""
    every = slice(None)
    if place in _ONCE:
        return _ONCE[place], every
    _, layer, inner, parameter = place.replace("/attention/attention/", "/attention/").split("/", 3)
    block = f"blocks.{layer}"
    part, _, what = parameter.rpartition("/")
    if part:
        return f"{block}.{_LAYER[f'{inner}/{part}']}.{what}", every
    if what in _ATTENTION:
        name, first = _ATTENTION[what]
        return f"{block}.attn.{name}", every if first is None else slice(first, None, 3)
    side, _, way = what.partition("_")
    return f"{block}.attn.rel_pos_embed_{side}.embeddings_table_{_TABLES[way]}", every
