"""OpenVINO's benchmark_app, its synchronous latency loop: own engine, so only its repeatability is compared.

Its command line starts a process, compiles, and runs whole seconds for each network (``throughput.py`` has the cost).
So its class is driven here as ``benchmark_app -d CPU -api sync -hint none -nstreams 1 -nthreads 1 -pin NO -t BUDGET``
drives it (with another hint it refuses to set threads), one fixed random input a network as there, with all networks
compiled beforehand. The label is its median.

Its kernels are kept to AVX-512 at most: virtual machines that announce AMX without granting it end the process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..harness import Label, interval, run_tool

NO_AMX = ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
_OPTIONS = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}


def load(models: Sequence[Sequence[str]]) -> list[tuple[str, Any]]:
    os.environ.setdefault(*NO_AMX)
    import openvino

    core = openvino.Core()
    rng = np.random.default_rng(0)
    requests: list[tuple[str, Any]] = []
    for key, path, _ in models:
        request = core.compile_model(core.read_model(path), "CPU", _OPTIONS).create_infer_request()
        for tensor in request.input_tensors:
            tensor.data[:] = rng.standard_normal(tensor.shape).astype(np.float32)
        for _ in range(10):
            request.infer()
        requests.append((key, request))
    return requests


def measure(networks: list[tuple[str, Any]], budget_s: float, rng: np.random.Generator) -> Iterator[Label]:
    from openvino.tools.benchmark.benchmark import Benchmark

    benchmark = Benchmark("CPU", 1, None, budget_s, "sync", True)
    for key, request in networks:
        begin = time.perf_counter()
        benchmark.first_infer([request])
        times_ms, _, _ = benchmark.sync_inference(request, _OneInput())
        spent_s = time.perf_counter() - begin
        median_ms = times_ms[-(-len(times_ms) // 2) - 1]  # as its percentile does
        yield Label(key, "openvino", median_ms, spent_s, **interval(times_ms))


class _OneInput:
    """What benchmark_app's loop asks of its queue of inputs."""

    def get_next_batch_size(self) -> int:
        return 1


if __name__ == "__main__":
    run_tool(measure, load)
