"""What the latency term adds to a supernet step: with and without it, in turn, in one run.

python benchmarks/latency_term_overhead.py [--space darts:layers=3,width=4,size=8] [--steps 60]
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

import numpy as np
import torch
from torch.nn import functional

from tempograd import registry
from tempograd.predictor.models.mlp import LatencyMLP
from tempograd.search.cost import PredictorCost
from tempograd.search.forms import Linear
from tempograd.search.laws.softmax import Softmax
from tempograd.search.objective import CostTerm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="darts:layers=3,width=4,size=8")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    space = registry.create("space", arguments.space)
    sample = space.sample(400, np.random.default_rng(0))
    encoded = space.encode(sample)
    predictor = LatencyMLP(random_state=0).fit(
        encoded, 0.1 + encoded @ np.random.default_rng(1).random(encoded.shape[1])
    )
    generator = torch.Generator().manual_seed(0)
    law, supernet = Softmax(space, generator), space.supernet().train()
    term = CostTerm(PredictorCost(predictor.module, space, draws=4), Linear(0.1, 1.0))
    images = torch.randn(arguments.batch, *space.graph.input_shape)
    labels = torch.randint(0, space.graph.shape[0], (arguments.batch,))

    def step(latency: bool) -> float:
        start = time.perf_counter()
        gates = law.draw(generator, tau=1.0)
        loss = functional.cross_entropy(supernet(images, gates), labels)
        if latency:
            loss = term(loss, law, generator, gates)
        loss.backward()
        for parameter in (*law.parameters(), *supernet.parameters()):
            parameter.grad = None
        return time.perf_counter() - start

    for latency in (False, True):
        step(latency)
    pairs = [(step(False), step(True)) for _ in range(arguments.steps)]
    plain, termed = (median(times) for times in zip(*pairs, strict=True))
    ratio = median(b / a for a, b in pairs)
    print(json.dumps({"plain_ms": 1e3 * plain, "with_term_ms": 1e3 * termed, "overhead_pct": 100 * (ratio - 1)}))


if __name__ == "__main__":
    main()
