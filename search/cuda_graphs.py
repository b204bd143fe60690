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
    _record(network, images.clone())  # it puts a forward of its own on the module
    try:
        yield
    finally:
        del network.forward


def all_on(gates: Mapping[str, Tensor]) -> bool:
    """Return whether no gate is 0: a pass that leaves options out is another, and gives their gates no slope."""
    return all(bool(gate.all()) for gate in gates.values())


class RecordedMixture:
    """Passes of a supernet with all options on, forward and backward, replayed with other images and gates.

    A replayed pass moves the running statistics; where normalisation does not track them they are put back.

    Args:
        supernet: in training mode, on a CUDA device.
        images: Images of the shape that every pass will have.
        gates: ``site -> (K,)``.
    """

    def __init__(self, supernet: Network, images: Tensor, gates: Mapping[str, Tensor]) -> None:
        self.shape = images.shape
        self._sites = tuple(gates)
        self._norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]
        self._statistics = list(supernet.buffers())
        tracks = self._tracks
        self._track(True)
        mixture = _Mixture(supernet, {site: len(gate) for site, gate in gates.items()}).train()
        joined = self._joined(gates, images).detach().requires_grad_()
        self._run = _record(mixture, images.clone(), joined, unused=True)
        self._track(tracks)

    def __call__(self, images: Tensor, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, differentiable in gates and weights."""
        joined = self._joined(gates, images)
        if self._tracks:
            return self._run(images, joined)
        before = [value.clone() for value in self._statistics]
        logits = self._run(images, joined)
        _copy(before, self._statistics)
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


def _record(module: nn.Module, *arguments: Tensor, unused: bool = False) -> Callable[..., Tensor]:
    """Return a module's passes, recorded; recording runs it, and the statistics that moved are put back."""
    statistics = list(module.buffers())
    before = [buffer.clone() for buffer in statistics]
    run = torch.cuda.make_graphed_callables(module, arguments, allow_unused_input=unused)
    _copy(before, statistics)
    return run  # type: ignore[return-value]  # torch declares one callable or a tuple of them


def _copy(values: Sequence[Tensor], into: Sequence[Tensor]) -> None:
    for value, place in zip(values, into, strict=True):
        place.copy_(value)
