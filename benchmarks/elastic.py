"""Elastic supernets: what sharing parameters between the options of a choice gives, and what it costs.

    python benchmarks/elastic.py --task cifar10:FOLDER,limit=20000 [--space SPEC] [--steps 1500]

Two supernets of one space, with and without shared parameters, learn on the same uniform single paths and images, in
turn, step by step. Printed are, as JSON, the mean loss of the last tenth of the steps of each, and the time of a step
with sharing over that of one without, the median of the pairs.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import numpy as np
import torch

from tempograd import registry
from tempograd.search.laws.uniform import Uniform
from tempograd.search.steps import cosine, seeded, set_rate, step
from tempograd.spaces.network import Network
from tempograd.tasks.load import load_task

SPACE = "routed:blocks=4-8-16/8-16-32/16-32-64,reach=4,layers=2,head=64,size=16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default=SPACE)
    parser.add_argument("--task", required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    space = registry.create("space", a.space)
    part = load_task(a.task, seed=a.seed).fitted(space).weights
    law, generator = Uniform(space), torch.Generator().manual_seed(a.seed)
    supernets: dict[bool, Network] = {}
    for elastic in (True, False):
        with seeded(a.seed):
            supernets[elastic] = Network(space.graph, affine=space.affine, elastic=elastic).train()
    optimizers = {
        way: torch.optim.SGD(net.parameters(), a.rate, 0.9, weight_decay=3e-4) for way, net in supernets.items()
    }
    losses: dict[bool, list[float]] = {True: [], False: []}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    while len(losses[True]) < a.steps:
        for images, labels in part.batches(a.batch, generator, augment=True):
            (gates,) = law.draws(generator, tau=1.0)
            for way, net in supernets.items():
                set_rate(optimizers[way], cosine(a.rate, 0.0, len(losses[way]) / a.steps))
                start = perf_counter()
                loss = torch.nn.functional.cross_entropy(net(images, gates), labels)
                step(optimizers[way], loss, 5.0)
                seconds[way].append(perf_counter() - start)
                losses[way].append(float(loss.detach()))
            if len(losses[True]) == a.steps:
                break
    ends = {way: float(np.mean(all_losses[-max(1, a.steps // 10) :])) for way, all_losses in losses.items()}
    ratio = float(np.median(np.array(seconds[True]) / np.array(seconds[False])))
    print(json.dumps({"space": space.spec, "steps": a.steps, "loss": ends[True], "loss_without": ends[False],
                      "step_time_over_without": ratio}))  # fmt: skip


if __name__ == "__main__":
    main()
