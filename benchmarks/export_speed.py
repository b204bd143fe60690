"""Building ONNX straight from the graph against ``torch.onnx.export``, in turn in one run.

    python benchmarks/export_speed.py [--networks 5]

Prints the median time of each way and the ratio to the faster exporter.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from tempograd import registry

SPECS = ("nasbench201", "darts:layers=5,width=8")


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def compare(spec: str, networks: int) -> dict[str, float | str]:
    space = registry.create("space", spec)
    image = torch.randn(1, *space.graph.input_shape)
    times: dict[str, list[float]] = {"graph": [], "torchscript": [], "dynamo": []}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for architecture in space.sample(networks, np.random.default_rng(0)):
            network = space.to_torch(architecture).eval()
            times["graph"].append(seconds(lambda a=architecture: space.write_onnx(a, Path(folder))))
            times["torchscript"].append(
                seconds(lambda n=network: torch.onnx.export(n, (image,), io.BytesIO(), dynamo=False))
            )
            times["dynamo"].append(
                seconds(lambda n=network: torch.onnx.export(n, (image,), dynamo=True, verbose=False))
            )
        size = median(path.stat().st_size for path in Path(folder).glob("*.onnx"))
    middle = {way: median(values) for way, values in times.items()}
    faster = min(middle["torchscript"], middle["dynamo"])
    return {
        "space": spec,
        **{f"{way}_ms": 1e3 * value for way, value in middle.items()},
        "ratio_to_faster_exporter": faster / middle["graph"],
        "file_kb": size / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=5)
    arguments = parser.parse_args()
    for spec in SPECS:
        print(json.dumps(compare(spec, arguments.networks)))


if __name__ == "__main__":
    main()
