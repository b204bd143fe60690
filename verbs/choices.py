"""The names that arguments of verbs take where no folder lists them; they stand apart so that ``--help`` is light."""

from __future__ import annotations

COUNTERS = {"flops": "macs", "parameters": "parameters"}
"""What counts a network, and the counter's name in the space's circuit."""

COSTS = ("predictor", "table", *COUNTERS)
"""What prices networks in a search."""

SAMPLINGS = ("random", "d_optimal")
"""How an evaluation chooses the rows that it learns from."""
