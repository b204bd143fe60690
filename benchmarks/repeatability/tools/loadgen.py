"""MLPerf's LoadGen: SingleStream, PerformanceOnly, as long as the budget; median and mean from its own summary.

It gives no interval of the median; its early-stopping estimate is a bound on the 90th percentile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..harness import Label, Network, run_tool

_LINES = {
    "loadgen": r"50\.00 percentile latency \(ns\)\s*:\s*(\d+)",
    "loadgen_mean": r"Mean latency \(ns\)\s*:\s*(\d+)",
}


def measure(networks: list[Network], budget_s: float, rng: np.random.Generator) -> Iterator[Label]:
    import mlperf_loadgen

    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.SingleStream
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = max(1, round(1e3 * budget_s))
    settings.min_query_count = 1
    library = mlperf_loadgen.ConstructQSL(1, 1, _nothing, _nothing)
    with TemporaryDirectory() as folder:
        log = mlperf_loadgen.LogSettings()
        log.enable_trace = False
        log.log_output.outdir = folder
        log.log_output.copy_summary_to_stdout = False
        for network in networks:

            def issue(samples: list, network: Network = network) -> None:
                for sample in samples:
                    network.run()
                    mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(sample.id, 0, 0)])

            system = mlperf_loadgen.ConstructSUT(issue, _nothing)
            settings.single_stream_expected_latency_ns = max(1, int(1e6 * network.fastest_ms))
            begin = time.perf_counter()
            mlperf_loadgen.StartTestWithLogSettings(system, library, settings, log)
            spent_s = time.perf_counter() - begin
            mlperf_loadgen.DestroySUT(system)
            summary = Path(folder, "mlperf_log_summary.txt").read_text()
            for variant, line in _LINES.items():
                found = re.search(line, summary)
                if found is None:
                    raise RuntimeError(f"LoadGen's summary has no line {line!r}:\n{summary}")
                yield Label(network.key, variant, int(found[1]) / 1e6, spent_s)
    mlperf_loadgen.DestroyQSL(library)


def _nothing(*_: object) -> None:
    pass


if __name__ == "__main__":
    run_tool(measure)
