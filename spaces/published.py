"""Weights that others published, by the names of a supernet here: Once-for-All's ``ofa_mbv3_d234_e346_k357``.

A file is read as data: safetensors, or what ``torch.load`` reads with ``weights_only``, which runs no code. Every name
and shape is compared before a weight is taken over.

References:
    Cai et al., *Once-for-All*, arXiv:1908.09791.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import InputRefusedError
from .network import Network
from .space import SearchSpace
from .tensors import read_tensors

LAYERS = 4  # of a stage
_TWICE = re.compile(r"\b(conv|bn|linear)\.\1\b")
_PARTS = {
    "expand/conv": "inverted_bottleneck.conv", "expand/bn": "inverted_bottleneck.bn",
    "depthwise/conv": "depth_conv.conv", "depthwise/bn": "depth_conv.bn",
    "squeeze/reduce": "depth_conv.se.fc.reduce", "squeeze/expand": "depth_conv.se.fc.expand",
    "project/conv": "point_linear.conv", "project/bn": "point_linear.bn",
}  # fmt: skip
_ENDS = {
    "stem/conv_3x3/conv": "first_conv.conv", "stem/conv_3x3/bn": "first_conv.bn",
    "head/conv_1x1/conv": "final_expand_layer.conv", "head/conv_1x1/bn": "final_expand_layer.bn",
    "classifier/classifier/mix0": "feature_mix_layer.conv", "classifier/classifier/linear": "classifier.linear",
}  # fmt: skip
_WIDTHS = {16: 1.0, 24: 1.2}  # by channels of the first convolution


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file under the names that the newest files of Once-for-All have, none doubled.

    Raises:
        InputRefusedError: it cannot be read, holds code, or something else than tensors.
    """
    return {plain_name(name): value for name, value in read_tensors(path).items()}


def plain_name(name: str) -> str:
    """Return a name as the newest files have it, with nothing doubled.

    >>> plain_name("blocks.1.mobile_inverted_conv.depth_conv.bn.bn.weight")
    'blocks.1.conv.depth_conv.bn.weight'
    """
    return _TWICE.sub(r"\1", name.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv."))


def their_name(key: str) -> str | None:
    """Return the published name of a weight of our supernet; None for counts of batches, which are none.

    >>> their_name("shared.s1l2/depthwise/conv/stride=1,dilation=1,groups=each/7to5_matrix")
    'blocks.7.conv.depth_conv.conv.7to5_matrix'
    >>> their_name("layers.s1l2/k3_se/expand/bn.running_var")
    'blocks.7.conv.inverted_bottleneck.bn.running_var'
    """
    group, _, rest = key.partition(".")
    rest = rest.removeprefix("net/")
    node, _, part = rest.rpartition("/" if group == "shared" else ".")
    if part == "num_batches_tracked":
        return None
    if group == "shared":
        node = node.rpartition("/")[0]  # without what kind of layer shares
    if node in _ENDS:
        return f"{_ENDS[node]}.{part}"
    if node.startswith("first/"):
        return f"blocks.0.conv.{_PARTS[node.removeprefix('first/k3_e1/')]}.{part}"
    stage, layer, inside = re.fullmatch(r"s(\d+)l(\d+)/(?:k\d\w*/)?(.+)", node).groups()  # type: ignore[union-attr]
    return f"blocks.{1 + LAYERS * int(stage) + int(layer)}.conv.{_PARTS[inside]}.{part}"


def spec_of(weights: Mapping[str, Tensor], path: Path) -> str:
    """Return the space of the supernet that weights are of, at 224 pixels.

    Raises:
        InputRefusedError: they are of no width that was published.
    """
    first, last = weights.get("first_conv.conv.weight"), weights.get("classifier.linear.weight")
    if first is None or last is None:
        name = "first_conv.conv.weight" if first is None else "classifier.linear.weight"
        raise InputRefusedError(f"{path} is of another network: it has no {name}; allowed: ofa_mbv3_d234_e346_k357")
    if len(first) not in _WIDTHS:
        raise InputRefusedError(
            f"{path}: first_conv.conv.weight has {tuple(first.shape)}; allowed: 16 channels (width 1.0) or 24 (1.2)"
        )
    return f"mbconv:family=ofa_mbv3,size=224,classes={len(last)},width={_WIDTHS[len(first)]}"


def supernet_of(space: SearchSpace, weights: Mapping[str, Tensor], path: Path) -> Network:
    """Return the space's supernet with published weights; statistics of BatchNorm are the file's for every option.

    Args:
        space: ``mbconv:family=ofa_mbv3`` in full.
        weights: as `read_weights` gives them.
        path: for errors.

    Raises:
        InputRefusedError: they are of another network; the message has the first name and shape that differ.
    """
    network = space.supernet()
    taken: dict[str, Tensor] = {}
    names: set[str] = set()
    for key, own in network.state_dict().items():
        name = their_name(key)
        if name is None:
            taken[key] = own
            continue
        names.add(name)
        theirs = weights.get(name)
        if theirs is None or theirs.shape != own.shape:
            there = "is not there" if theirs is None else f"is {tuple(theirs.shape)}"
            raise InputRefusedError(
                f"{path} is of another network than {space.spec}: {name} {there}, expected {tuple(own.shape)}"
            )
        taken[key] = theirs.to(own.dtype)
    more = sorted(name for name in weights.keys() - names if not name.endswith("num_batches_tracked"))
    if more:
        raise InputRefusedError(
            f"{path} is of another network than {space.spec}: {more[0]} {tuple(weights[more[0]].shape)} has no place "
            "there"
        )
    network.load_state_dict(taken)
    return network.eval()
