"""EG-DAS: is the front of its two levels larger than those of random search and of evolution alone, at equal training?

    python benchmarks/egdas.py
    python benchmarks/egdas.py --cifar10 PATH --out egdas/ [--limit 20000] [--seeds 5]

The two levels search a block for every slot by gradients, then ask for accuracies of networks of these blocks. What the
first level took, in images that went through a network, is worth so many trainings: the others are given these too, and
ask about random networks of the whole space, or evolve them by fronts. Compared is the hypervolume of accuracy and
latency, from the worst and the slowest network that any of the three met in a seed; the gain is tested in pairs, over
seeds, one-sided.

Without images, accuracies are planted (a minute): operations that cost more are worth more, but less and less, and by
chance more or less on each edge; a training adds noise. With CIFAR-10 they are those of the part ``law`` after a
training, which takes hours; every training is kept in ``OUT``, and a seed that is done is not run again. Latency is a
formula of multiply-accumulates and parameters: no device is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ttest_rel
from torch import Tensor, nn

from tempograd import registry
from tempograd.search.archive import Archive
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.queries import Queries
from tempograd.search.searchers.evolution import EvolutionSearcher
from tempograd.search.training import Training
from tempograd.spaces.architecture import Architecture
from tempograd.spaces.zoo.chained import Chained
from tempograd.tasks.images import Classification, Images
from tempograd.tasks.load import load_task
from tempograd.testing.methods import priced

SPEC = "chained:blocks=3,n=3,stages=3,copies=3,width=8,size=16"
WORTH = {
    "none": 0.0,
    "skip_connect": 0.2,
    "max_pool_3x3": 0.3,
    "conv_1x1": 0.5,
    "sep_conv_3x3": 0.8,
    "sep_conv_5x5": 0.9,
}
COPIES = (1.0, 1.5, 1.7)  # what a stage's block is worth so often
NOISE = 0.003  # s.d. of a planted accuracy between two trainings
RIVALS = ("random", "evolution")


@dataclass(frozen=True)
class Planted(Chained):
    """The space with planted accuracies.

    Args:
        seed: of what the operations of every edge are worth.
    """

    seed: int = 0

    def worth(self) -> dict[str, list[float]]:
        """Return what every option of an edge adds to a block: alike in all slots, since a slot is a name."""
        rng, found = np.random.default_rng(self.seed), dict[str, list[float]]()
        for site in self.sites:
            slot, _, edge = site.name.partition("/")
            if slot == "b0":
                found[edge] = [WORTH[option] * rng.uniform(0.5, 1.5) for option in site.options]
        return found

    def supernet(self) -> nn.Module:  # pyright: ignore[reportIncompatibleMethodOverride]
        return PlantedSupernet(self)

    def predict(self, architectures: Iterable[Architecture]) -> Any:
        """Return accuracies ``(n,)``, each of one noisy training."""
        worth = self.worth()
        return np.array([self._accuracy(architecture, worth) for architecture in architectures])

    def _accuracy(self, architecture: Architecture, worth: Mapping[str, list[float]]) -> float:
        taken, total = self.taken(architecture), 0.0
        for stage in range(self.stages):
            slot, copies = f"b{taken[f's{stage}/block']}", COPIES[taken[f"s{stage}/copies"]]
            block = sum(row[max(0, taken[f"{slot}/{edge}"])] for edge, row in worth.items())
            total += (1 + 0.5 * stage) * copies * block
        noise = np.random.default_rng(abs(hash((self.seed, architecture.choices))))
        return float(1 - np.exp(-total / 12) + NOISE * noise.normal())


class PlantedSupernet(nn.Module):
    """A supernet whose cross-entropy falls by what the gates' operations are worth."""

    def __init__(self, space: Planted) -> None:
        super().__init__()
        worth = space.worth()
        self.rows = {
            site.name: torch.tensor(worth[site.name.partition("/")[2]], dtype=torch.float32)
            for site in space.sites if site.name.partition("/")[2] in worth
        }  # fmt: skip
        self.space, self.weight = space, nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, gates: Mapping[str, Tensor], *, beside: object = None) -> Tensor:
        taken = gates["s0/block"]
        blocks = [
            share * sum((gates[f"b{slot}/{edge}"] * self.rows[f"b{slot}/{edge}"]).sum() for edge in self.space.worth())
            for slot, share in enumerate(taken)
        ]
        value = torch.stack(blocks).sum() - 20 + 0 * self.weight
        return torch.stack([value, torch.zeros(())]).expand(len(x), 2)


def blank(images: int) -> Classification:
    """Return a task whose images say nothing."""
    part = Images(
        torch.zeros(images, 1, 8, 8, dtype=torch.uint8), torch.zeros(images).long(), torch.zeros(1), torch.ones(1)
    )
    return Classification("planted", part, part, part, classes=10)


def problem_of(arguments: argparse.Namespace, seed: int) -> tuple[Problem, Problem]:
    """Return the problem as the first level sees it, and as networks are asked about."""
    if arguments.cifar10:
        task = load_task(f"cifar10:{arguments.cifar10},limit={arguments.limit}", seed=seed)
        space: Chained = registry.create("space", SPEC)
    else:
        task, space = blank(40), Planted(3, 3, 3, 3, 8, 10, 16, 1, seed=seed)
    price = Price(priced(space, factor=1.0), space)
    folder = None if arguments.out is None else Path(arguments.out) / f"seed-{seed}"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    drawn = space.sample(200, np.random.default_rng(seed))
    problem = Problem(
        space, space, price, task, target_ms=None, lam=0.0, reference_ms=float(np.median(price.predict(drawn))),
        training=Training(epochs=arguments.train_epochs), seed=seed, compute=arguments.compute,
        checkpoint=folder and folder / "search.safetensors", trainings=folder,
    )  # fmt: skip
    return problem, problem if arguments.cifar10 else replace(problem, accuracy=space)  # pyright: ignore[reportArgumentType]


def run(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return the row of one seed."""
    searching, asking = problem_of(arguments, seed)
    method = registry.create(
        "method", "egdas", epochs=arguments.epochs, queries=arguments.queries, train_epochs=arguments.train_epochs,
        batch=64 if arguments.cifar10 else 4,
    ).find  # fmt: skip
    library = method.library(searching)
    two = method.networks(asking, library)
    a_training = arguments.train_epochs * len(searching.task.weights)
    equal = len(two.known) + round(library.passes / a_training)
    fair = replace(asking, queries=equal)
    random, evolved = Queries(fair, equal), Queries(fair, equal)
    random.ask(random.draws(np.random.default_rng(seed)))
    EvolutionSearcher("nsga2", equal, method.evolution.population).ask(evolved)
    arms = {"egdas": two, "random": random, "evolution": evolved}
    asked = [query for queries in arms.values() for query in queries.known.values()]
    worst, slowest_ms = min(query.score for query in asked), max(query.predicted_ms for query in asked)
    row: dict[str, Any] = {"seed": seed, "blocks_ms": list(library.alone_ms.values()), "trainings": equal}
    for name, queries in arms.items():
        archive = Archive.of(queries.known.values())
        row[name] = archive.hypervolume(worst, slowest_ms) / slowest_ms
        row[f"{name}_front"] = [[query.predicted_ms, query.score] for query in archive.members]
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {"seeds": len(rows), "trainings": [row["trainings"] for row in rows]}
    told |= {name: float(np.mean([row[name] for row in rows])) for name in ("egdas", *RIVALS)}
    own = np.array([row["egdas"] for row in rows])
    for rival in RIVALS:
        other = np.array([row[rival] for row in rows])
        p = ttest_rel(own, other, alternative="greater").pvalue if len(rows) > 1 else None
        told[f"against {rival}"] = {"wins": int((own > other).sum()), "gain": float((own - other).mean()), "p": p}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder of CIFAR-10; planted accuracies without")
    parser.add_argument("--limit", type=int, default=20_000, help="images of it")
    parser.add_argument("--out", help="folder that keeps trainings and rows, and is gone on from")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15, help="of each block's search")
    parser.add_argument("--queries", type=int, default=24, help="networks of the blocks that are trained")
    parser.add_argument("--train-epochs", type=int, default=5)
    parser.add_argument("--compute", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = None if arguments.out is None else Path(arguments.out) / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept and kept.exists() else []
    for seed in range(arguments.seeds):
        if any(row["seed"] == seed for row in rows):
            continue
        rows.append(run(arguments, seed))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        if kept:
            with kept.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    json.dump(summary(rows), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
