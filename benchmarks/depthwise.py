"""How much faster a network learns with the way back of `spaces/depthwise.py` than with torch's own.

    python benchmarks/depthwise.py [--rounds 8] [--threads 1] [SPACE ...]

The supernet of each space, every option on, takes a training step (forward and backward) in both ways in turn. Prints
the median ratio, torch's time over ours, as JSON.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from time import perf_counter

import torch
from torch import nn

from tempograd import registry
from tempograd.spaces.depthwise import DepthwiseConv2d

SPACES = (
    "darts:layers=5,width=8,size=8,channels=1",
    "darts:layers=5,width=8,size=16,channels=1",
    "mbconv:family=ofa,size=16,width=0.5,stages=3,layers=4,classes=10,channels=1",
    "mbconv:family=proxyless,size=16,width=0.5,stages=4,layers=3,classes=10,channels=1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=SPACES)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    forwards = {"torch": nn.Conv2d.forward, "ours": DepthwiseConv2d.forward}
    ratios: dict[str, float] = {}
    for spec in arguments.spaces:
        space = registry.create("space", spec)
        supernet = space.supernet().train()
        gates = {s.name: torch.full((len(s.options),), 1 / len(s.options), requires_grad=True) for s in space.sites}
        images = torch.randn(arguments.batch, *space.graph.input_shape)
        labels = torch.randint(0, space.graph.shape[0], (arguments.batch,))
        seconds: dict[str, list[float]] = {name: [] for name in forwards}
        for _ in range(1 + arguments.rounds):  # the first warms up
            for name, forward in forwards.items():
                DepthwiseConv2d.forward = forward
                start = perf_counter()
                nn.functional.cross_entropy(supernet(images, gates), labels).backward()
                seconds[name].append(perf_counter() - start)
        ratios[spec] = median(seconds["torch"][1:]) / median(seconds["ours"][1:])
    print(json.dumps(ratios, indent=1))


if __name__ == "__main__":
    main()
