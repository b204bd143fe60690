"""How much faster a network learns with the ways back of `spaces/depthwise.py` and `spaces/layout.py` than without.

    python benchmarks/way_back.py [--rounds 8] [--threads 1] [SPACE ...]

The supernet of each space, every option on, and a random network of it take a training step (forward and backward) in
three ways in turn: as they are, and with one of the two taken out. Prints the median ratios, time without over time
with, as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from tempograd import registry
from tempograd.spaces import network
from tempograd.spaces.depthwise import DepthwiseConv2d

SPACES = (
    "darts:layers=5,width=8,size=8,channels=1",
    "darts:layers=5,width=8,size=16,channels=1",
    "mbconv:family=ofa,size=16,width=0.5,stages=3,layers=4,classes=10,channels=1",
    "mbconv:family=proxyless,size=16,width=0.5,stages=4,layers=3,classes=10,channels=1",
    "mbconv:family=fbnetv2,size=16,width=0.5,stages=3,layers=2,classes=10,channels=1,width_options=2",
    "routed:blocks=8-12/16-24/32-48,reach=3,layers=2,head=64,size=16,classes=10,channels=1",
)


def untouched(x: Tensor) -> Tensor:
    return x


OURS = {"depthwise": (DepthwiseConv2d, "forward"), "layout": (network, "ordered")}
THEIRS = {"depthwise": nn.Conv2d.forward, "layout": untouched}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=SPACES)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ratios: dict[str, dict[str, float]] = {}
    for spec in arguments.spaces:
        space = registry.create("space", spec)
        images = torch.randn(arguments.batch, *space.graph.input_shape)
        labels = torch.randint(0, space.graph.shape[0], (arguments.batch,))
        (drawn,) = space.sample(1, np.random.default_rng(0))
        gates = {s.name: torch.full((len(s.options),), 1 / len(s.options), requires_grad=True) for s in space.sites}
        logits = {
            "supernet": partial(space.supernet().train(), images, gates),
            "network": partial(space.to_torch(drawn).train(), images),
        }
        for name, forward in logits.items():
            ratios[f"{spec}, {name}"] = compare(forward, labels, arguments.rounds)
    print(json.dumps(ratios, indent=1))


def compare(forward: Callable[[], Tensor], labels: Tensor, rounds: int) -> dict[str, float]:
    """Time a step as it is and without each of the ways, in turn; return median time without over median time."""
    seconds: dict[str, list[float]] = {name: [] for name in ("all", *OURS)}
    for _ in range(1 + rounds):  # the first warms up
        seconds["all"].append(time(forward, labels))
        for name, place in OURS.items():
            with patch.object(*place, THEIRS[name]):
                seconds[name].append(time(forward, labels))
    return {name: median(seconds[name][1:]) / median(seconds["all"][1:]) for name in OURS}


def time(forward: Callable[[], Tensor], labels: Tensor) -> float:
    start = perf_counter()
    nn.functional.cross_entropy(forward(), labels).backward()
    return perf_counter() - start


if __name__ == "__main__":
    main()
