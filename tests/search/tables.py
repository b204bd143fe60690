"""A small published table: every accuracy and latency of a space is a formula."""

from functools import cache

import numpy as np
import torch

from tempograd import registry
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.training import Training
from tempograd.tasks.table import TableTask

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")


@cache
def linear(space, seed=0):
    """A predictor ``(b, d) -> (b,)`` ms that adds up, between 1 and about 7."""
    layer = torch.nn.Linear(sum(space.widths), 1)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.random((1, sum(space.widths)))).float())
        layer.bias.fill_(1.0)
    return torch.nn.Sequential(layer, torch.nn.Flatten(0))


class Worth(torch.nn.Module):
    """Accuracy in per cent: every option is worth something."""

    def __init__(self):
        super().__init__()
        self.worth = torch.nn.Parameter(torch.linspace(0, 1, 5).repeat(6) + torch.linspace(0, 0.5, 30))

    def forward(self, x):
        return 60 + 3 * (x * self.worth).sum(dim=-1)


def latencies(space, module, architectures):
    with torch.no_grad():
        return module(torch.from_numpy(space.encode(architectures))).double().tolist()


def accuracies(space, architectures, seed=1):
    """What reaches the output adds up, an option worth much the same everywhere, and pairs matter a little; shares."""
    rng = np.random.default_rng(seed)
    x = space.pruned.encode(space, architectures).astype(float)
    worth = np.concatenate([np.linspace(0, 1, k) for k in space.widths])
    single, pair = worth + 0.3 * rng.random(len(worth)), 0.3 * rng.random((len(worth), len(worth)))
    pairs = np.einsum("nd,de,ne->n", x, pair, x) / len(space.sites)
    return ((x @ single + pairs) / (2 * len(space.sites))).tolist()


@cache
def table(space):
    """The accuracies of all networks of a space; made once."""
    everything = list(space.enumerate())
    return TableTask("table", dict(zip(everything, accuracies(space, everything), strict=True)))


def problem(space=SPACE, *, target_ms=5.0, queries=40, seed=0, members=None, conformal=None, **kwargs):
    """A problem over a table of all of a space's networks, or of some."""
    some = None if members is None else dict(zip(members, accuracies(space, members), strict=True))
    task = table(space) if some is None else TableTask("some", some)
    fixed = {"lam": None, "reference_ms": 4.0, "training": Training()}
    return Problem(
        space,
        space,
        Price(linear(space), space, conformal=conformal),
        task,
        target_ms=target_ms,
        queries=queries,
        seed=seed,
        **(fixed | kwargs),
    )
