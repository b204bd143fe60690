"""In which steps of channels a device likes its widths: timed, not assumed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta

from ..arguments import Seed, public
from ..arguments import check as check_arguments
from ..errors import DeviceError
from ..profiler.plan import Items, named
from ..profiler.verify import measure
from ..spaces.export import to_onnx
from ..spaces.graph import INPUT, GraphBuilder
from ..spaces.layers import Conv
from .outcome import device_of, go_on

if TYPE_CHECKING:
    from ..devices.device import Place

STEPS = (16, 8, 4, 2)  # that are asked for, the widest first
WIDTHS = (32, 33, 34, 36, 38, 40, 41, 42, 44, 46, 48)  # multiples of each step, and at least two between any of them
MOST = 0.75  # of the widths between two multiples at which little is gained over the upper one
LITTLE = 0.5  # of what would be gained if latency fell along a line
Channels = Annotated[int, Meta(ge=1, le=4096)]
Side = Annotated[int, Meta(ge=3, le=1024)]


@public()
def width_step(
    device: str | Place = "local", *, channels: Channels = 64, size: Side = 14, plan: str = "quick", seed: Seed = 0
) -> int:
    """Return the step of widths below which a narrower layer is no faster on a device: 16, 8, 4, 2 or 1.

    A layer between two others is timed at eleven widths from 32 to 48 channels, in turn in one process. Runtimes work
    on blocks of channels: where 33 channels take as long as 40, nothing is gained by 33.

    Args:
        device: the device or its spec.
        channels: Channels of what goes into the layer, and of the layer after it.
        size: height and width of the maps.
        plan: how long each width is measured.
        seed: Seed of the order of rounds.

    Raises:
        UsageError: an argument that is not allowed.
        DeviceError: a width was not measured.

    Example:
        ``tg.shrink(network, example_input, step=tg.width_step("local"))``
    """
    check_arguments(width_step, locals())
    return step_of(widths_ms(device_of(device), channels=channels, size=size, plan=plan, seed=seed))


def widths_ms(
    place: Place,
    *,
    channels: int = 64,
    size: int = 14,
    plan: str = "quick",
    seed: int = 0,
    stop: threading.Event | None = None,
) -> dict[int, float]:
    """Return the latency in ms of a layer of each of ``WIDTHS`` between two others.

    Raises:
        DeviceError: a width was not measured.
        KeyboardInterrupt: it was asked to stop.
    """

    def build(key: str, directory: Path) -> tuple[Path, str]:
        content = _network(int(key), channels, size, place.batch)
        path = directory / f"{key}.onnx"
        path.write_bytes(content)
        return path, sha256(content).hexdigest()

    found = measure(place, Items("#widths", tuple(map(str, WIDTHS)), build), named(plan), seed=seed, stop=stop)
    go_on(stop)
    rows = {int(one.key): one for one in found}
    missing = [
        f"{width} ({rows[width].verdict if width in rows else 'missing'})"
        for width in WIDTHS
        if width not in rows or not rows[width].latency_ms > 0
    ]
    if missing:
        raise DeviceError(f"widths that were not measured: {', '.join(missing)}; see tempograd doctor")
    return {width: rows[width].latency_ms for width in WIDTHS}


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


def _network(width: int, channels: int, size: int, batch: int) -> bytes:
    builder = GraphBuilder((channels, size, size))
    graph = builder.graph(builder.add("after", Conv(channels, 3), builder.add("layer", Conv(width, 3), INPUT)))
    rng = np.random.default_rng(width)
    weights = {
        name: np.float32(1 / 16) * rng.standard_normal(shape, np.float32) for name, shape in graph.weights.items()
    }
    return to_onnx(graph, weights, batch=batch).SerializeToString(deterministic=True)
