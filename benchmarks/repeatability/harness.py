"""What every peer gets: the same sessions, loaded and warmed before its clock runs, one thread on the timed core.

A tool is a file in ``tools`` with ``measure(networks, budget_s, rng)``, which yields labels. It is run as a fresh
process::

    python -P -m tempograd.benchmarks.repeatability.tools.NAME request.json answer.jsonl

``request.json`` holds ``models`` (``[key, path, SHA-256]``), ``budget_s`` (wall time a network), ``cores``,
``idle_cores`` and ``seed``. Every line of the answer is one label: its key, variant, ms, interval and the wall time
that it took. A tool whose package is not installed ends with the status ``MISSING``.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tempograd.devices.runtime.engines.onnxruntime import OnnxRuntime
from tempograd.devices.worker import isolation
from tempograd.devices.worker.timing import warm_up
from tempograd.measurement.label import order_interval

MISSING = 3


@dataclass(frozen=True)
class Network:
    """One network, resident and warm: ``run()`` is one inference on the next of its bound inputs."""

    key: str
    path: Path
    run: Callable[[], None]
    fastest_ms: float


@dataclass(frozen=True)
class Label:
    """What a tool says of a network: ms, the interval that its samples imply (if any), wall seconds spent on it."""

    key: str
    variant: str
    label_ms: float
    wall_s: float
    low_ms: float | None = None
    high_ms: float | None = None
    path: str = ""


Measure = Callable[[list[Network], float, np.random.Generator], Iterator[Label]]


def load(models: Sequence[Sequence[str]]) -> list[Network]:
    """Create and warm up a session of every network by our own runtime, with the options that we time with."""
    runtime = OnnxRuntime()
    runtime.start()
    networks: list[Network] = []
    for key, path, _ in models:
        program = runtime.load(Path(path).read_bytes(), Path(path).parent)
        networks.append(Network(key, Path(path), program.run, warm_up(program.run, lambda: None).fastest_ms))
    return networks


def interval(times_ms: Sequence[float]) -> dict[str, float | None]:
    """Return the 95 % order-statistic interval of the median as fields of a label; none from fewer than 6 samples."""
    if len(times_ms) < 6:
        return {"low_ms": None, "high_ms": None}
    low, high = order_interval(list(times_ms))
    return {"low_ms": low, "high_ms": high}


def main(measure: Measure, load: Callable[[Sequence[Sequence[str]]], list[Any]] = load) -> None:
    """Answer the request: load on the idle cores, move to the timed one, and measure in random order."""
    request, answer = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    isolation.move_to(request["idle_cores"])
    rng = np.random.default_rng(request["seed"])
    networks = load(request["models"])
    order = [networks[i] for i in rng.permutation(len(networks))]
    gc.collect()
    gc.freeze()
    gc.disable()
    isolation.move_to(request["cores"])
    begin = time.perf_counter()
    labels = list(measure(order, request["budget_s"], rng))
    timed_s = time.perf_counter() - begin
    lines = [json.dumps({"timed_s": timed_s}), *(json.dumps(asdict(label)) for label in labels)]
    answer.write_text("\n".join(lines) + "\n")


def run_tool(measure: Measure, load: Callable[[Sequence[Sequence[str]]], list[Any]] = load) -> None:
    """Run `main`; a package that is not installed becomes the status ``MISSING``."""
    try:
        main(measure, load)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed; pip install 'tempograd[bench]'", file=sys.stderr)
        sys.exit(MISSING)
