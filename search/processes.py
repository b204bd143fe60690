"""Several processes that train together, started by ``torchrun``: nothing here starts any.

Each process runs the whole program on its own share of every batch; gradients, losses and BatchNorm statistics are
averaged, so that all hold the same weights at every step. The first one alone measures, asks, writes and tells;
the others wait for what comes out. A single process does none of this, and pays nothing for it.

Gradients are averaged after the way back rather than by ``DistributedDataParallel``: which layers of a supernet run is
drawn anew for every pass, several passes make one step, and all draw the same from generators of one seed.

Reference:
    Peng et al., *MegDet: A large mini-batch object detector*, arXiv:1711.07240 (BatchNorm by the whole batch).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from ..errors import ProcessesError, TempogradError, UsageError

_WAIT = timedelta(days=7)  # for the first process, which may be measuring
T = TypeVar("T")


def launched() -> bool:
    """Return whether this process is one of several that ``torchrun`` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


@contextmanager
def together(compute: str = "cpu") -> Generator[None]:
    """Join the other processes while the context lasts; alone, do nothing.

    Raises:
        ProcessesError: another process ended meanwhile.
    """
    if not launched() or distributed.is_initialized():
        yield
        return
    kind = torch.device(compute).type
    backend = "gloo" if kind == "cpu" else f"cpu:gloo,{kind}:{'nccl' if kind == 'cuda' else 'gloo'}"
    # defaults there keep the group that is up when they are first read, and its threads with it: a process that ends
    # with these may be aborted
    importlib.import_module("torch.distributed.nn.functional")
    try:
        with _lost_told():
            distributed.init_process_group(backend, timeout=_WAIT)
            yield
    except TempogradError as error:
        error.silent = bool(error.silent) or not claimed()
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def claimed() -> bool:
    """Return whether this process is the first one to ask: of several that end together, one tells why."""
    if not launched():
        return True
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:  # torchrun keeps this store, and outlives us
        store = distributed.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10))  # pyright: ignore[reportPrivateImportUsage]
        key = f"tempograd told {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        return store.add(key, 1) == 1
    except RuntimeError:
        return True


def count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return which of them this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def first() -> bool:
    """Return whether this is the process that measures, writes and tells."""
    return rank() == 0


def own_compute(compute: str) -> str:
    """Return the torch device of this process: of several on one machine each takes a GPU of its own."""
    if compute != "cuda" or not launched():
        return compute
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def check_batch(batch: int, pieces: int = 1) -> None:
    """Refuse a batch of which the processes cannot have equal shares.

    Raises:
        UsageError: as it says.
    """
    if batch % (count() * pieces) or batch // (count() * pieces) < 2:
        of = f" in {pieces} pieces" if pieces > 1 else ""
        raise UsageError(
            f"a batch of {batch}{of} on {count()} processes; allowed: shares of equal size, of 2 images at least"
        )


def mean(value: Tensor) -> Tensor:
    """Return the mean of a value over the processes, without gradient; the value itself where there is one."""
    if count() == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / count()


def average(tensors: Sequence[Tensor]) -> None:
    """Put the means over the processes in place of tensors, which are the same ones in all of them."""
    if count() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    for tensor, own in zip(tensors, (flat / count()).split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(own.view(tensor.shape))


def average_gradients(weights: Iterable[Tensor]) -> None:
    """Average the gradients that are there: of one step all processes have run the same layers."""
    with torch.no_grad():
        average([weight.grad for weight in weights if weight.grad is not None])


def by_first(what: Callable[[], T]) -> T:
    """Return what the first process makes of a call; the others wait for it, and raise what it raises.

    Raises:
        TempogradError: the call did, in the first process.
    """
    if count() == 1:
        return what()
    made: list[Any] = [None, None]
    if first():
        try:
            made[0] = what()
        except (TempogradError, KeyboardInterrupt) as error:
            made[1] = error
    distributed.broadcast_object_list(made, src=0, device=torch.device("cpu"))
    if made[1] is not None:
        if isinstance(made[1], TempogradError):
            made[1].silent = None if first() else True
        raise made[1]
    return made[0]


def in_turns(items: Sequence[Any], what: Callable[[Sequence[Any]], list[T]]) -> list[T]:
    """Return what a call makes of items, each process of its own ones, in the items' order."""
    if count() == 1:
        return what(items)
    gathered: list[list[T]] = [[] for _ in range(count())]
    distributed.all_gather_object(gathered, what(items[rank() :: count()]))
    return [gathered[n % count()][n // count()] for n in range(len(items))]


@contextmanager
def synchronised(network: nn.Module) -> Generator[None]:
    """Normalise by the statistics of all processes' shares while the context lasts; alone, do nothing."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)] if count() > 1 else []
    for norm in norms:
        norm.forward = partial(_normalised, norm)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalised(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Return what ``nn.BatchNorm2d`` would make of the whole batch, for this process's share of it."""
    if not norm.training:
        return nn.BatchNorm2d.forward(norm, x)
    result, center, variance, size = _Normalise.apply(x, norm.weight, norm.bias, norm.eps)
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        factor = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        with torch.no_grad():
            norm.running_mean.lerp_(center, factor)
            norm.running_var.lerp_(variance * (size / (size - 1)), factor)
    return result


class _Normalise(torch.autograd.Function):
    """Batch normalisation by mean and variance over all processes; each has as many images as the others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
        own = x.numel() // x.shape[1]
        center, variance = _moments(x)
        gathered = [torch.empty_like(torch.stack([center, variance])) for _ in range(count())]
        distributed.all_gather(gathered, torch.stack([center, variance]))
        centers, variances = torch.stack(gathered).unbind(1)
        center = centers.mean(dim=0)
        variance = (variances + (centers - center).square()).mean(dim=0)
        ctx.save_for_backward(x, weight, center, (variance + eps).rsqrt())
        ctx.learns, ctx.size = bias is not None, own * count()
        result = F.batch_norm(x, center, variance, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(center, variance)
        return result, center, variance, ctx.size

    @staticmethod
    # torch declares backward for any number of gradients; this forward has one output that has one
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, center, scale = ctx.saved_tensors
        order = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        gradient = gradient.contiguous(memory_format=order)
        if _has_kernels(x):
            own = _fused_back(x, gradient, weight, center, scale, ctx.size)
            return own[0], own[1] if weight is not None else None, own[2] if ctx.learns else None, None
        normal = (x - center[:, None, None]) * scale[:, None, None]
        sums = torch.stack([gradient.sum(dim=(0, 2, 3)), (gradient * normal).sum(dim=(0, 2, 3))])
        of_bias, of_weight = sums.clone().unbind(0)
        distributed.all_reduce(sums)
        shift, slope = (sums / ctx.size)[:, :, None, None].unbind(0)
        factor = scale if weight is None else scale * weight
        of_x = (gradient - shift - normal * slope) * factor[:, None, None]
        return of_x.to(x.dtype), of_weight if weight is not None else None, of_bias if ctx.learns else None, None


def _has_kernels(x: Tensor) -> bool:
    """Return whether torch's own parts of batch normalisation are used: on a CPU they are several times faster."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance, not corrected, of each channel ``(C,)`` of this process's share."""
    if _has_kernels(x):
        return torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)
    variance, center = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
    return center, variance


def _fused_back(
    x: Tensor, gradient: Tensor, weight: Tensor | None, center: Tensor, scale: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by input, weight and bias; the first as if statistics were constants, then put right."""
    factor = scale if weight is None else scale * weight
    variance = scale.square().reciprocal()  # what is added to it for stability is in it
    of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
        gradient, x, factor / scale, center, variance, None, None, False, 0.0, [True, True, True]
    )
    sums = torch.stack([of_bias, of_weight])
    distributed.all_reduce(sums)
    shift, slope = (sums / size).unbind(0)
    of_x.addcmul_(x, (-factor * slope * scale)[:, None, None])
    return of_x.add_((factor * (slope * center * scale - shift))[:, None, None]), of_weight, of_bias


@contextmanager
def _lost_told() -> Generator[None]:
    """Tell in one word what gloo and NCCL say at length when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise ProcessesError(
            "another of the processes that train together ended, so this one does too; what was saved is kept: run the "
            "same command to go on"
        ) from error


def _is_lost(error: RuntimeError) -> bool:
    """Return whether an error is that of a peer that is gone."""
    text = str(error).lower()
    return isinstance(error, distributed.DistError) or any(
        word in text for word in ("connection closed by peer", "connection reset", "gloo", "nccl", "connectfull")
    )
