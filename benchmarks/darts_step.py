"""A step of DARTS' soft supernet beside the authors' own code: same size, same images, in turn, in one run.

    git clone https://github.com/quark0/darts && python benchmarks/darts_step.py --darts darts/ [--rounds 12]

Every round: a weight step (forward, backward, clip, SGD) and a law step (forward, gradient by the mixture; theirs
takes that of all parameters) of the authors' ``cnn/model_search.py`` and of ours, the order drawn anew. Theirs is made
for a GPU of its day: ``.cuda()`` does nothing here, which is all that is changed. Prints medians of CPU seconds,
which other processes disturb less than times, and ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

from tempograd import registry
from tempograd.search.laws.softmax import Softmax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--darts", type=Path, required=True, help="a clone of the authors' repository")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    images = torch.randn(given.batch, 3, given.size, given.size)
    labels = torch.randint(0, 10, (given.batch,))
    sides = {"theirs": _theirs(given), "ours": _ours(given)}
    steps = {name: side.steps(images, labels) for name, side in sides.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    rng = np.random.default_rng(0)
    for n in range(given.rounds + 2):
        for name in rng.permutation(list(sides)).tolist():
            taken = tuple(_seconds(step) for step in steps[name])
            if n >= 2:
                times[name].append((taken[0], taken[1]))
    ratios = [(a[0] / b[0], a[1] / b[1], sum(a) / sum(b)) for a, b in zip(times["theirs"], times["ours"], strict=True)]
    print(json.dumps({
        "seconds": {name: [median(each) for each in zip(*rows, strict=True)] for name, rows in times.items()},
        "parameters": {name: sum(p.numel() for p in side.weights) for name, side in sides.items()},
        "ratio": dict(zip(("weight", "law", "both"), map(median, zip(*ratios, strict=True)), strict=True)),
    }))  # fmt: skip


def _seconds(step: Callable[[], None]) -> float:
    start = process_time()
    step()
    return process_time() - start


@dataclass(frozen=True)
class _Side:
    """One of the two: what it computes, its weights, the parameters of its mixture, and what a law step derives by."""

    forward: Callable[[Tensor], Tensor]
    weights: list[nn.Parameter]
    law: list[Tensor]
    by: list[Tensor] | None

    def steps(self, images: Tensor, labels: Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return a weight step and a law step."""
        optimizer = torch.optim.SGD(self.weights, 0.025, 0.9, weight_decay=3e-4)
        law_optimizer = torch.optim.Adam(self.law, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

        def weight() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(self.forward(images), labels).backward()
            nn.utils.clip_grad_norm_(self.weights, 5.0)
            optimizer.step()

        def law() -> None:
            law_optimizer.zero_grad()
            nn.functional.cross_entropy(self.forward(images), labels).backward(inputs=self.by)
            law_optimizer.step()

        return weight, law


def _theirs(given: argparse.Namespace) -> _Side:
    sys.path.insert(0, str(given.darts / "cnn"))
    Tensor.cuda = lambda self, *_, **__: self
    from model_search import Network  # pyright: ignore

    network = Network(given.width, 10, given.layers, nn.CrossEntropyLoss()).train()
    return _Side(network, list(network.parameters()), network.arch_parameters(), None)


def _ours(given: argparse.Namespace) -> _Side:
    spec = f"darts:layers={given.layers},width={given.width},size={given.size},channels=3,classes=10"
    space = registry.create("space", spec)
    generator = torch.Generator().manual_seed(0)
    law, supernet = Softmax(space, generator), space.supernet().train()
    mixture = list(law.parameters())
    return _Side(
        lambda images: supernet(images, law.draw(generator, tau=1.0)), list(supernet.parameters()), mixture, mixture
    )


if __name__ == "__main__":
    main()
