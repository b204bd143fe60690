"""The card of a data set: what a person must know before trusting a number in it."""

from __future__ import annotations

import json
from math import isnan

import numpy as np

from ..shown import counted
from .dataset import LatencyDataset


def card(dataset: LatencyDataset, note: str = "") -> str:
    """Return the card as Markdown with a YAML front matter, as dataset hubs read it; ``note`` is a paragraph of it."""
    return f"{_front_matter(dataset)}\n{_body(dataset, note)}"


def _front_matter(dataset: LatencyDataset) -> str:
    sizes = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (float("inf"), "100K<n<1M"))
    size = next(name for limit, name in sizes if len(dataset.rows) < limit)
    # JSON texts are YAML texts: quoting is left to the library
    return "\n".join(
        [
            "---",
            f"pretty_name: {json.dumps('Latency of ' + dataset.space)}",
            "tags: [latency, neural-architecture-search, tempograd]",
            f"size_categories: [{json.dumps(size)}]",
            "configs:",
            "  - config_name: default",
            "    data_files: data.parquet",
            "---",
            "",
        ]
    )


def _body(dataset: LatencyDataset, note: str) -> str:
    fingerprint = dataset.fingerprint
    verdicts = "\n".join(f"| {name} | {count} |" for name, count in dataset.counts.items())
    facts = {"place": fingerprint.place, **fingerprint.hardware, **fingerprint.runtime, **fingerprint.options}
    device = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in facts.items())
    left_out = ", ".join(f"{count} {name}" for name, count in sorted(dataset.left_out.items())) or "none"
    networks = counted(len(dataset.rows), "network")
    return f"""# Latency of {dataset.space}

{networks}, timed on one device (fingerprint `{fingerprint.id}`). Unit: milliseconds an inference.

| verdict | networks |
|---|---|
{verdicts}

Left out before export: {left_out}.
{f"{chr(10)}{note.strip()}{chr(10)}" if note.strip() else ""}
## How far to trust a number

{_repeatability(dataset)}
{_widths(dataset)}
Use rows with verdict `ok` as they are; `noisy` ones missed their plan's target and carry a small weight; `hot`,
`quarantined` and `failed` ones are evidence, no labels; `censored` ones are known to be slower than `above_ms`.

## Protocol

Networks were resident in one measuring process, timed in rounds of random order. Around each round a fixed sentinel
network was timed. `latency_ms` is the median of the rounds taken in the reference state (`path` is `gated`), or
of all rounds corrected by the sentinel (`ratio`), or of all rounds as they were (`plain`). A round's value is the
fastest sample of its burst, on a GPU the median. `low_ms` and `high_ms` are the order-statistic interval of that median
within one process; `weight` is one over the relative variance with the part between processes added. `values_ms` and
`sentinels_ms` hold every round. `energy_mj` of an inference is what all CPU packages drew, and `memory_bytes` what
loading the network added to its process at most; both are empty where the device did not tell.

## Device

| | |
|---|---|
{device}

## Limits

The numbers hold for this device with this runtime, these options and this precision, for networks with random weights.
They say nothing of other devices, of a device under load or heat, or of accuracy.
"""


def _repeatability(dataset: LatencyDataset) -> str:
    if not dataset.pairs or isnan(dataset.repeatability):
        return "Repeatability between measuring processes was not measured: no network was timed twice.\n"
    return (
        f"Repeatability between measuring processes: {dataset.repeatability:.1%} (relative standard deviation, from "
        f"{counted(dataset.pairs, 'network')} blindly timed twice).\n"
    )


def _widths(dataset: LatencyDataset) -> str:
    finite = dataset.half_width[np.isfinite(dataset.half_width)]
    if not len(finite):
        return ""
    middle, most = np.quantile(finite, [0.5, 0.95])
    return f"Half width of the interval, between processes included: median {middle:.1%}, 95 % below {most:.1%}.\n"


def _cell(value: object) -> str:
    return "".join(c for c in str(value) if c.isprintable()).replace("|", "\\|")
