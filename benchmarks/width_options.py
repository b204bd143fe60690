"""FBNetV2's point: a supernet step takes about as long with 8 widths to choose from as with 2.

    python benchmarks/width_options.py [--rounds 30]

One training step of the mixture of all options on 32 images, for 2, 4 and 8 widths a stage, in turn in every round so
that drift hits all alike. Prints the median time of each relative to 2 widths.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import numpy as np
import torch

from tempograd import registry

OPTIONS = (2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps = {}
    for options in OPTIONS:
        spec = f"mbconv:family=fbnetv2,size=16,classes=10,width=1.0,stages=3,layers=2,width_options={options}"
        space = registry.create("space", spec)
        supernet, x = space.supernet(), torch.randn(arguments.batch, *space.graph.input_shape)
        gates = {s.name: torch.full((len(s.options),), 1 / len(s.options), requires_grad=True) for s in space.sites}

        def step(supernet: torch.nn.Module = supernet, x: torch.Tensor = x, gates: dict = gates) -> float:
            start = perf_counter()
            supernet(x, gates).square().mean().backward()
            return perf_counter() - start

        steps[options] = step
    for step in steps.values():
        step()
    rounds = [[steps[options]() for options in OPTIONS] for _ in range(arguments.rounds)]
    ratios = np.median(np.array(rounds) / np.array(rounds)[:, :1], axis=0)
    print(json.dumps({"step_time_relative_to_2_widths": dict(zip(OPTIONS, ratios.round(3).tolist(), strict=True))}))


if __name__ == "__main__":
    main()
