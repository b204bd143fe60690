r"""Do accuracies with a supernet's weights rank networks as training each from scratch does?

    python benchmarks/supernet_rank.py --networks 10 [--space SPEC] [--method ofa:epochs=15]
    python benchmarks/supernet_rank.py --method scalenas --space multibranch:width=8,depth=2 \
        --task shapes_segmentation --recipe benchmarks/adamw.toml

Random networks of one space, spread over its sizes, are scored with inherited weights and trained from scratch (the
mean of ``--repeats``). Told are Spearman's and Kendall's correlation, and beside them that of multiply-accumulates,
than which a supernet should rank better, and that of one training with the others, than which nothing can; and what
inherited scores are worth without statistics taken anew. As JSON; each network is told on the way.
"""

from __future__ import annotations

import argparse
import json
import sys
from time import perf_counter

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

from tempograd import registry
from tempograd.search.cost import TableCost
from tempograd.search.evaluator import Inherited, train
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.training import recipe
from tempograd.spaces.circuit import counts
from tempograd.spaces.network import inherit
from tempograd.tasks.fit import fit_space
from tempograd.tasks.load import load_task

SPACE = "mbconv:family=ofa,size=8,width=0.25,stages=2,layers=3,classes=10,channels=1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default=SPACE)
    parser.add_argument("--method", default="ofa")
    parser.add_argument("--task", default="digits")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train-epochs", type=int, default=20)
    parser.add_argument("--recipe", default="small", help="as of tempograd search; maps want benchmarks/adamw.toml")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    task = load_task(a.task, seed=a.seed)
    space = fit_space(a.space, task)
    task = task.fitted(space)
    searcher = registry.create("method", a.method).find
    cost = TableCost(space.circuit, counts(space.graph, space.operations, "macs"))
    training = recipe(a.recipe, epochs=a.train_epochs)
    problem = Problem(space, space, Price(cost, space), task, 1e12, None, 1.0, training=training)
    start = perf_counter()
    shot = searcher.trains(space, task, searcher.schedule, seed=a.seed, compute="cpu")
    supernet = shot.run(None, problem.progress)
    supernet_s = perf_counter() - start
    pool = [n for n in space.sample(space.at_most(2000), np.random.default_rng(a.seed)) if space.is_connected(n)]
    macs = np.array([space.raw_graph(n).macs() for n in pool])
    places = np.argsort(macs)[np.linspace(0, len(pool) - 1, a.networks).round().astype(int)]
    networks = [pool[i] for i in places]
    shared = list(Inherited(space, supernet, task, seed=a.seed)(networks))
    as_trained = [task.score(inherit(space.to_torch(n), supernet).eval(), "law") for n in networks]
    start = perf_counter()
    rows: list[list[float]] = []
    for network, inherited, raw in zip(networks, shared, as_trained, strict=True):
        rows.append([train(network, space, task, training, seed=100 + r).validation_score for r in range(a.repeats)])
        done = f"{len(rows)} of {len(networks)}: inherited {inherited:.4f}, without statistics taken anew {raw:.4f}"
        print(f"{done}, from scratch {np.mean(rows[-1]):.4f}", file=sys.stderr, flush=True)
    alone = np.array(rows)
    mean = alone.mean(axis=1)
    told = {
        "space": space.spec, "method": a.method, "task": a.task, "networks": a.networks, "inherited": shared,
        "from_scratch": mean.tolist(), "macs": macs[places].tolist(), "spearman": float(spearmanr(shared, mean)[0]),
        "kendall": float(kendalltau(shared, mean)[0]), "spearman_of_macs": float(spearmanr(macs[places], mean)[0]),
        "as_trained": as_trained, "spearman_as_trained": float(spearmanr(as_trained, mean)[0]),
        "supernet_s": supernet_s, "from_scratch_s": perf_counter() - start,
    }  # fmt: skip
    if a.repeats > 1:  # what two trainings of the same network agree on: no score can rank better
        told["repeat_sd"] = float(alone.std(axis=1, ddof=1).mean())
        told["spearman_of_repeats"] = float(spearmanr(alone[:, 0], alone[:, 1:].mean(axis=1))[0])
    print(json.dumps(told))


if __name__ == "__main__":
    main()
