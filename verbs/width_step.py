"""In which steps of channels a device likes its widths: timed, not assumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta

from ..arguments import Seed
from ..arguments import check as check_arguments
from ..errors import DeviceError
from ..spaces.export import to_onnx
from ..spaces.graph import INPUT, GraphBuilder
from ..spaces.layers import Conv
from .measure import measure

if TYPE_CHECKING:
    import onnx

    from ..devices.device import Place

STEPS = (16, 8, 4, 2)  # that are asked for, the widest first
WIDTHS = tuple(range(32, 49))  # two multiples of the widest, and all between
MOST = 0.75  # of the widths between two multiples at which little is gained over the upper one
LITTLE = 0.5  # of what would be gained if latency fell along a line
Channels = Annotated[int, Meta(ge=1, le=4096)]
Side = Annotated[int, Meta(ge=3, le=1024)]


def width_step(
    device: str | Place = "local", *, channels: Channels = 64, size: Side = 14, plan: str = "quick", seed: Seed = 0
) -> int:
    """Return the step of widths below which a narrower layer is no faster on a device: 16, 8, 4, 2 or 1.

    A layer of 32 to 48 channels between two others is timed at each of these widths. Runtimes work on blocks of
    channels: where 33 channels take as long as 40, nothing is gained by 33.

    Args:
        device: the device or its spec.
        channels: of what goes into the layer, and of the layer after it.
        size: height and width of the maps.
        plan: how long each width is measured.
        seed: of the order of rounds.

    Raises:
        UsageError: an argument that is not allowed.
        DeviceError: a width was not measured.

    Example:
        ``tg.shrink(network, example_input, step=tg.width_step("local"))``
    """
    check_arguments(width_step, locals())
    models = [_network(width, channels, size) for width in WIDTHS]
    rows = measure(models, device=device, plan=plan, seed=seed).document["networks"]
    missing = [f"{width} ({row['verdict']})" for width, row in zip(WIDTHS, rows, strict=True) if not row["latency_ms"]]
    if missing:
        raise DeviceError(f"widths that were not measured: {', '.join(missing)}; see tempograd doctor")
    return step_of({width: row["latency_ms"] for width, row in zip(WIDTHS, rows, strict=True)})


def step_of(latencies_ms: Mapping[int, float]) -> int:
    """Return the widest step between whose multiples little is gained, by latency in ms of each of ``WIDTHS``.

    >>> step_of({width: -(-width // 8) for width in WIDTHS})
    8
    """
    for step in STEPS:
        lost: list[bool] = []
        for width in (width for width in WIDTHS if width % step):
            up = -(-width // step) * step
            line = (up - width) / step * (latencies_ms[up] - latencies_ms[up - step])
            lost.append(latencies_ms[up] - latencies_ms[width] <= LITTLE * line)
        if np.mean(lost) >= MOST:
            return step
    return 1


def _network(width: int, channels: int, size: int) -> onnx.ModelProto:
    builder = GraphBuilder((channels, size, size))
    graph = builder.graph(builder.add("after", Conv(channels, 3), builder.add("layer", Conv(width, 3), INPUT)))
    rng = np.random.default_rng(width)
    weights = {
        name: np.float32(1 / 16) * rng.standard_normal(shape, np.float32) for name, shape in graph.weights.items()
    }
    return to_onnx(graph, weights)
