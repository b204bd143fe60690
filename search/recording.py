"""Passes recorded once and replayed on a CUDA device, where a small network's time goes into launching its kernels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
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

    A replayed pass moves the running statistics; where normalisation does not track them they are put back.

    Args:
        supernet: in training mode, on a CUDA device.
        images: of the shape that every pass will have.
        gates: ``site -> (K,)``.
    """

    def __init__(self, supernet: Network, images: Tensor, gates: Mapping[str, Tensor]) -> None:
        self.shape = images.shape
        self._sites = tuple(gates)
        self._norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]
        self._statistics = [buffer for norm in self._norms for buffer in norm.buffers()]
        self._kept = [buffer.clone() for buffer in self._statistics]
        tracks = self._tracks
        self._track(True)
        mixture = _Mixture(supernet, {site: len(gate) for site, gate in gates.items()}).train()
        joined = self._joined(gates, images).detach().requires_grad_()
        self._run: Callable[[Tensor, Tensor], Tensor] = torch.cuda.make_graphed_callables(
            mixture, (images.clone(), joined), allow_unused_input=True
        )  # type: ignore[assignment]
        self._track(tracks)
        _copy(self._kept, self._statistics)  # recording ran it

    def __call__(self, images: Tensor, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, differentiable in gates and weights."""
        joined = self._joined(gates, images)
        if self._tracks:
            return self._run(images, joined)
        _copy(self._statistics, self._kept)
        logits = self._run(images, joined)
        _copy(self._kept, self._statistics)
        return logits

    @property
    def _tracks(self) -> bool:
        return self._norms[0].track_running_stats

    def _track(self, tracks: bool) -> None:
        for norm in self._norms:
            norm.track_running_stats = tracks

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


def _copy(values: Sequence[Tensor], into: Sequence[Tensor]) -> None:
    for value, place in zip(values, into, strict=True):
        place.copy_(value)
