"""The model card: what a person must know before trusting a predictor's number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def model_card(document: Mapping[str, Any]) -> str:
    """Return a saved predictor's document as Markdown, under the header that model hubs read."""
    binding = document["binding"]
    lines = [
        "---",
        "library_name: tempograd",
        "tags:",
        "- latency-prediction",
        "- neural-architecture-search",
        "---",
        "",
        "# Latency predictor",
        "",
        f"Predicts `{binding['quantity']}`, in {binding['unit']}, of networks of one search space on one device.",
        "",
        "| | |",
        "|---|---|",
        f"| model | `{document['model']}` |",
        f"| search space | `{binding['space']}` |",
        f"| encoding | `{binding['encoding']}` |",
        f"| device | `{binding['fingerprint_id']}` |",
        f"| intervals | {_intervals(document)} |",
        f"| written by | {', '.join(f'{name} {number}' for name, number in document['created_by'].items())} |",
        "",
        "## Scores and remarks",
        "",
        "```json",
        json.dumps(document["card"], indent=2, sort_keys=True),
        "```",
        *(line for head in document["heads"] for line in _head(head)),
        "",
        "## Device",
        "",
        "```json",
        json.dumps(json.loads(binding["fingerprint_json"]), indent=2, sort_keys=True),
        "```",
        "",
        "## Intended use and limits",
        "",
        "For choosing among networks of this space for this device, runtime and options; a chosen network is to be",
        "measured before its latency is relied on. On another device, runtime version or thread count the numbers are",
        "not valid. Options that the predictor never saw are flagged as out of support, and have no interval.",
        "",
    ]
    return "\n".join(lines)


def _head(head: Mapping[str, Any]) -> list[str]:
    binding = head["binding"]
    return [
        "",
        f"## Also predicted: `{binding['quantity']}`, in {binding['unit']}",
        "",
        f"Model `{head['model']}`, encoding `{binding['encoding']}`, intervals {_intervals(head)}.",
        "",
        "```json",
        json.dumps(head["card"], indent=2, sort_keys=True),
        "```",
    ]


def _intervals(head: Mapping[str, Any]) -> str:
    residuals = head["conformal_residuals"]
    return "none: saved without held-out networks" if residuals is None else f"from {len(residuals)} held-out networks"
