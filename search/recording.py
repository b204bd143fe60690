"""Passes recorded once and replayed on a CUDA device, where a small network's time goes into launching its kernels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..spaces.network import Network


@contextmanager
def recorded(network: Network, images: Tensor) -> Generator[None]:
    """Replay a network's training passes while the context lasts; elsewhere than on a CUDA device change nothing.

    Evaluation runs as ever, and what is replayed is what ran: weights and statistics are read and written in place.

    Args:
        network: in training mode, without choices.
        images: on its device, of the shape that every step will have.
    """
    if not images.is_cuda:
        yield
        return
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.cuda.make_graphed_callables(network, (images.clone(),))  # it puts a forward of its own on the module
    network.load_state_dict(before)  # recording ran it, and statistics moved
    try:
        yield
    finally:
        del network.forward


class RecordedMixture:
    """Passes of a supernet with all options on, forward and backward, replayed with other images and gates.

    Args:
        supernet: in training mode, on a CUDA device; recording moves its running statistics.
        images: of the shape that every pass will have.
        gates: ``site -> (K,)``.
    """

    def __init__(self, supernet: Network, images: Tensor, gates: Mapping[str, Tensor]) -> None:
        self.shape = images.shape
        self._sites = tuple(gates)
        mixture = _Mixture(supernet, {site: len(gate) for site, gate in gates.items()}).train()
        joined = self._joined(gates, images).detach().requires_grad_()
        self._run: Callable[[Tensor, Tensor], Tensor] = torch.cuda.make_graphed_callables(
            mixture, (images.clone(), joined), allow_unused_input=True
        )  # type: ignore[assignment]

    def __call__(self, images: Tensor, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, differentiable in gates and weights."""
        return self._run(images, self._joined(gates, images))

    def _joined(self, gates: Mapping[str, Tensor], images: Tensor) -> Tensor:
        return torch.cat([gates[site] for site in self._sites]).to(images.device)


class _Mixture(nn.Module):
    """A supernet as a function of tensors."""

    def __init__(self, supernet: Network, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.supernet, self.widths = supernet, dict(widths)

    def forward(self, images: Tensor, joined: Tensor) -> Tensor:
        gates = dict(zip(self.widths, joined.split(list(self.widths.values())), strict=True))
        return self.supernet(images, gates, every=True)
