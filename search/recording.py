"""Passes recorded once and replayed on a CUDA device, where a small network's time goes into launching its kernels."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..spaces.network import Network


@contextmanager
def recorded(network: Network, images: Tensor) -> Generator[None]:
    """Replay a network's training passes while the context lasts; elsewhere than on a CUDA device change nothing.

    Evaluation runs as ever, and what is replayed is what ran: weights and statistics are read and written in place.

    Args:
        network: in training mode, without choices.
        images: on its device, of the shape that every step will have.
    """
    if images.device.type != "cuda":
        yield
        return
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.cuda.make_graphed_callables(network, (images,))  # it puts a forward of its own on the module
    network.load_state_dict(before)  # recording ran it, and statistics moved
    try:
        yield
    finally:
        del network.forward
