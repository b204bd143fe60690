"""Time kernels of networks alone, each once, in the same engine as whole networks, and the networks beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from onnx import ModelProto, TensorProto, helper

from ..data.dataset import LatencyDataset
from ..data.schema import ModelRow
from ..data.store import Store
from ..devices.device import Model, Place, TellsKernels
from ..errors import InputRefusedError, TempogradError, UsageError
from ..graphs.kernels import Kernel
from ..graphs.network import MODELS
from ..graphs.standalone import alone
from ..predictor.kernels import Bag, Sample, telling
from .campaign import CampaignSummary, Progress, run
from .networks import Network, items_of
from .plan import Items, Plan

KERNELS = "#kernels"
"""What rows of kernels are kept under."""

CHAIN = 64
_EMPTY, _CHAIN = "empty", "chain"  # networks of one node, and of many, that do next to nothing
_LENGTHS = {_EMPTY: 1, _CHAIN: CHAIN}
FEES = len(_LENGTHS)
"""How many of a campaign's networks are no kernels, but tell what a session and a node cost."""


@dataclass(frozen=True)
class Fees:
    """What being there costs on a device: a session that does next to nothing, and each of its nodes."""

    empty_ms: float
    dispatch_ms: float


@dataclass(frozen=True)
class Seen:
    """What a device's runtime makes of networks.

    Attributes:
        networks: each with its kernels, in the order in which they run.
        alone: signature -> kernel that can be had alone.
        missed: kernels that cannot be had alone.
        refused: name of a network that nobody can see through -> why.
    """

    networks: tuple[tuple[Network, tuple[Kernel, ...]], ...]
    alone: Mapping[str, Kernel]
    missed: int
    refused: Mapping[str, TempogradError]


def see(device: Place, networks: Sequence[Network]) -> Seen:
    """Ask a device's runtime for the kernels of networks.

    Raises:
        UsageError: the device tells no kernels.
        DeviceError: the device cannot be reached, or a network ended its process.
    """
    if not isinstance(device, TellsKernels):
        raise UsageError(
            "this device tells no kernels; allowed: local, runtime=onnxruntime, openvino or litert on a CPU"
        )
    found: list[tuple[Network, tuple[Kernel, ...]]] = []
    ready: dict[str, Kernel] = {}
    refused: dict[str, TempogradError] = {}
    missed = 0
    models_of = (Model(network.key, network.path, network.digest, own_batch=True) for network in networks)
    for network, watched in zip(networks, device.profiles(models_of), strict=True):
        if isinstance(watched, InputRefusedError):
            refused[network.name] = watched
            continue
        found.append((network, watched.kernels))
        for kernel in watched.kernels:
            signature = kernel.signature
            if signature not in ready and alone(kernel) is None:
                missed += 1
            else:
                ready.setdefault(signature, kernel)
    return Seen(tuple(found), ready, missed, refused)


def collect(
    device: Place,
    seen: Seen,
    plan: Plan,
    store: Store,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[str, Progress], None] = lambda stage, progress: None,
    stop: threading.Event | None = None,
) -> CampaignSummary:
    """Time every kernel of networks alone, and the networks whole, into a store; what is there is not repeated.

    With ``limit``, no more than so many kernels are timed: those that tell the most.
    ``progress`` is told the stage too.

    Returns:
        The summary of the kernels' campaign.

    Raises:
        DeviceError, StoreError: as for `campaign.run`.
    """
    timed = list(seen.alone)
    if limit is not None:
        timed = [timed[n] for n in telling(list(seen.alone.values()), limit, seed)]
    every = {kernel.signature: kernel for _, kernels in seen.networks for kernel in kernels}
    for signature, kernel in every.items():
        store.add_model(ModelRow(signature, "", kernel.op, "", {"kernel": msgspec.to_builtins(kernel)}))
    for network, kernels in seen.networks:
        facts = {"bag": [kernel.signature for kernel in kernels], "bag_ms": [kernel.ms for kernel in kernels]}
        store.add_model(
            ModelRow(network.key, network.digest, network.name, network.source, dict(network.facts) | facts)
        )

    def build(key: str, folder: Path) -> tuple[Path, str]:
        model = _chain(_LENGTHS[key]) if key in _LENGTHS else alone(seen.alone[key])
        assert model is not None
        content, path = model.SerializeToString(), folder / f"{key}.onnx"
        path.write_bytes(content)
        return path, sha256(content).hexdigest()

    items = Items(KERNELS, (*_LENGTHS, *timed), build, own_batch=True)
    summary = run(device, items, plan, store, seed=seed, progress=partial(progress, "timing kernels"), stop=stop)
    if not (stop is not None and stop.is_set()):
        wholes = items_of([network for network, _ in seen.networks])
        run(device, wholes, plan, store, seed=seed, progress=partial(progress, "timing networks"), stop=stop)
    return summary


def samples_of(store: Store, fingerprint_id: str | None) -> tuple[dict[str, Sample], list[Bag], Fees, str]:
    """Return what a store holds of kernels on a device, and of networks that are made of them.

    Args:
        store: open to read.
        fingerprint_id: Id of the device's fingerprint; None where the store holds one device only.

    Returns:
        Signature -> kernel with its time in ms; networks with their kernels and times in ms; what a session and a node
        cost; the id of the device.

    Raises:
        UsageError: nothing was measured of kernels on that device.
        InputRefusedError: an entry is damaged.
    """
    kernels = LatencyDataset.from_store(store, space=KERNELS, fingerprint_id=fingerprint_id)
    told = dict(zip(kernels.keys, kernels.y_ms.tolist(), strict=True))
    if not {_EMPTY, _CHAIN} <= told.keys():
        raise UsageError(f"{store.path} holds no whole campaign of kernels: run kernels collect to its end")
    dispatch_ms = max((told[_CHAIN] - told[_EMPTY]) / (CHAIN - 1), 1e-6)
    fees = Fees(max(told[_EMPTY] - dispatch_ms, 0.0), dispatch_ms)
    rows = store.models()
    kernel_of = {row.key: _kernel(row) for row in rows if "kernel" in row.facts}
    samples = {
        key: Sample(kernel, max(told[key] - fees.empty_ms, dispatch_ms / 2))
        for key, kernel in kernel_of.items()
        if key in told
    }
    id_ = kernels.fingerprint.id
    bags: list[Bag] = []
    if (MODELS, id_) in store.sets():
        wholes = LatencyDataset.from_store(store, space=MODELS, fingerprint_id=id_)
        ms: Mapping[str, Any] = dict(zip(wholes.keys, wholes.y_ms.tolist(), strict=True))
        bags = [
            Bag(row.name, _bag(row, kernel_of), ms[row.key])
            for row in rows
            if row.key in ms and kernel_of.keys() >= set(row.facts.get("bag", ("",)))
        ]
    return samples, bags, fees, id_


def _bag(row: ModelRow, kernel_of: Mapping[str, Kernel]) -> tuple[Kernel, ...]:
    """Return the kernels of a network, each with what it took as this one was watched."""
    kernels = [kernel_of[name] for name in row.facts["bag"]]
    watched_ms = row.facts.get("bag_ms", [kernel.ms for kernel in kernels])  # older stores have one time a kernel
    if len(watched_ms) != len(kernels):
        raise InputRefusedError(f"the network {row.name} in the store is damaged: {len(watched_ms)} times of kernels")
    return tuple(replace(kernel, ms=ms) for kernel, ms in zip(kernels, watched_ms, strict=True))


def _kernel(row: ModelRow) -> Kernel:
    try:
        return msgspec.convert(row.facts["kernel"], Kernel)
    except msgspec.ValidationError as error:
        raise InputRefusedError(f"the kernel {row.key} in the store is damaged: {error}") from error


def _chain(length: int) -> ModelProto:
    ops = ("Sin", "Cos")
    nodes = [helper.make_node(ops[n % 2], [f"v{n}"], [f"v{n + 1}"]) for n in range(length)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (16,)) for name in ("v0", f"v{length}")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
