"""What one path through a supernet costs: a step of it beside the same step of the network that it stands for.

    python benchmarks/path_cost.py [--space darts:layers=5,width=8] [--rounds 40] [--batch 64]

In every round another random network: a training step (forward, backward, SGD) of the network alone, of the supernet
with hard gates, and a law step (forward, and the gradient by the gates), in turn, so that drift hits all alike. Prints
the median ratios to the network alone.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from tempograd import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="darts:layers=5,width=8")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    space = registry.create("space", arguments.space)
    rng, supernet = np.random.default_rng(0), space.supernet().train()
    images = torch.randn(arguments.batch, *space.graph.input_shape)
    labels = torch.randint(0, space.graph.shape[0], (arguments.batch,))
    own = torch.optim.SGD(supernet.parameters(), 0.01, 0.9)

    def trained(network: nn.Module, optimizer: torch.optim.Optimizer, *gates: dict[str, Tensor]) -> float:
        start = perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images, *gates), labels).backward()
        optimizer.step()
        return perf_counter() - start

    def moved(gates: dict[str, Tensor]) -> float:
        start = perf_counter()
        leaves = {name: gate.detach().requires_grad_() for name, gate in gates.items()}
        loss = nn.functional.cross_entropy(supernet(images, leaves), labels)
        torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        return perf_counter() - start

    def times() -> tuple[float, float, float]:
        (sampled,) = space.sample(1, rng)
        gates = {name: gate[0] for name, gate in space.gates([sampled]).items()}
        network = space.to_torch(sampled).train()
        alone = torch.optim.SGD(network.parameters(), 0.01, 0.9)
        trained(network, alone)
        trained(supernet, own, gates)
        return trained(network, alone), trained(supernet, own, gates), moved(gates)

    times()
    rounds = np.array([times() for _ in range(arguments.rounds)])
    _, weights, law_step = np.median(rounds / rounds[:, :1], axis=0)
    print(json.dumps({"space": space.spec, "weight_step": round(weights, 3), "law_step": round(law_step, 3)}))


if __name__ == "__main__":
    main()
