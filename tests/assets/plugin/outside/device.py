"""A device whose latencies are counted, not timed: what a network's file weighs, and every node's launch."""

import onnx
from google.protobuf.message import DecodeError

from tempograd.devices.device import Model
from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.errors import InputRefusedError


def latency_of(model: Model) -> float:
    """Return ms: 20 us a node and 1 us for every 16 elements of weights."""
    try:
        graph = onnx.load(str(model.path), load_external_data=False).graph
    except DecodeError as error:
        raise InputRefusedError(f"{model.path.name} is no network: {error}") from error
    elements = 0
    for tensor in graph.initializer:
        count = 1
        for size in tensor.dims:
            count *= size
        elements += count
    return 0.02 * len(graph.node) + 1e-3 * elements / 16


def slide_rule(*, seed: int = 0, noise: float = 0.01, batch: int = 1) -> SimulatedDevice:
    """Return the device with its noise.

    Args:
        seed: of the noise.
        noise: relative spread of a burst.
        batch: inputs per inference.
    """
    return SimulatedDevice(latency_of=latency_of, seed=seed, noise=noise, batch=batch)
