"""Kinds of output: what the networks of a space give, and what a task asks for."""

from typing import Literal

Kind = Literal["classes", "map", "heatmaps", "sequence"]
"""What a network gives: logits ``(count,)``; of every place ``(count, H, W)``; heights of points ``(count, h, w)``;
logits of what comes next ``(count, length)``."""
