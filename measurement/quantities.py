"""What a measurement tells of a network, each with its unit in its name."""

from __future__ import annotations

LATENCY = "latency_ms"
ENERGY, MEMORY = "energy_mj", "memory_bytes"
QUANTITIES = (LATENCY, "wall_median_ms", "p90_ms", "p99_ms", ENERGY, MEMORY)
