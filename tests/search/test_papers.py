"""What each paper claims that can be checked in seconds; what belongs to a piece alone is in that piece's tests."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.search.cost import PredictorCost
from tempograd.search.deriver import argmax_combination, derive
from tempograd.search.forms import Linear
from tempograd.search.laws.combination import Combination
from tempograd.search.laws.exclusive_top_k import ExclusiveTopK
from tempograd.search.laws.softmax import Softmax
from tempograd.search.method import Problem
from tempograd.search.objective import CostTerm
from tempograd.search.price import Price
from tempograd.search.searchers.alternation import Alternation, Schedule
from tempograd.search.training import Training
from tempograd.tasks.images import Classification, Images
from tempograd.tasks.load import load_task

DARTS = registry.create("space", "darts:layers=2,width=4,size=8,channels=1")
ROUTED = "routed:blocks=4/6-8,reach=2,layers=1,head=16,size=8,classes=10,channels=1"
MASKED = "mbconv:family=fbnetv2,size=8,classes=10,channels=1,width=0.25,stages=2,layers=2,width_options=2"
CELL = "nasbench201:cells=1,width=4,size=8,channels=1"


class Valued(torch.nn.Module):
    """A supernet whose cross-entropy is ``20 - value(gates)``."""

    def __init__(self, value):
        super().__init__()
        self.value, self.weight = value, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, gates):
        return torch.stack([self.value(gates) - 20 + 0 * self.weight, torch.zeros(())]).expand(len(x), 2)


def priceless(space):
    module = torch.nn.Sequential(torch.nn.Linear(sum(space.widths), 1), torch.nn.Flatten(0))
    return CostTerm(PredictorCost(module, space), Linear(0.0, 1.0))


def searched(space, law, value, *, steps=80):
    part = Images(torch.zeros(2 * steps, 1, 2, 2, dtype=torch.uint8), torch.zeros(2 * steps, dtype=torch.long),
                torch.zeros(1), torch.ones(1))  # fmt: skip
    schedule = Schedule(epochs=1, warm_up=0, batch=2, law_rate=0.1, law_only=True)
    made = law(space, torch.Generator().manual_seed(0))
    task = Classification("blank", part, part, part, classes=2)
    run = Alternation(made, Valued(value), task, priceless(space), space, schedule, seed=0)
    run.run()
    return made


@pytest.mark.slow
def test_toponas_finds_the_edges_that_the_rule_of_darts_misses():
    """Two edges are worth most whatever is on them, two others are worth less, with one operation each.

    The rule takes the edges that are surest of an operation: the wrong ones.
    """
    node = next(rule.sites for rule in DARTS.rules if len(rule.sites) == 4)

    def value(gates):
        spread = [gates[name][1:].sum() for name in node[2:]]
        sure = [0.6 * gates[name][4] for name in node[:2]]
        return torch.stack([*spread, *sure]).sum()

    def kept(architecture):
        names = [site.name for site in DARTS.sites]
        return {name for name in node if architecture.choices[names.index(name)]}

    assert kept(derive(searched(DARTS, Softmax, value), DARTS)) == set(node[:2])
    assert kept(argmax_combination(searched(DARTS, Combination, value), DARTS)) == set(node[2:])


class Kept:
    """Counts the numbers that autograd keeps for the way back, now and at most."""

    def __init__(self):
        self.now = self.most = self.total = 0

    def pack(self, tensor):
        return _Held(self, tensor.detach())  # an output would hold the node that holds it

    def hooks(self):
        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda held: held.tensor)


class _Held:
    def __init__(self, kept, tensor):
        self.kept, self.tensor = kept, tensor
        kept.now += tensor.numel()
        kept.total += tensor.numel()
        kept.most = max(kept.most, kept.now)

    def __del__(self):
        self.kept.now -= self.tensor.numel()


def mixture_pass(space):
    """Run one pass of the mixture of everything; return what is kept for the way back, and the layers run."""
    supernet, kept, layers = space.supernet(), Kept(), []
    for layer in supernet.layers.values():
        layer.register_forward_hook(lambda *_: layers.append(1))
    gates = {s.name: torch.full((len(s.options),), 1 / len(s.options), requires_grad=True) for s in space.sites}
    with kept.hooks():
        supernet(torch.zeros(4, *space.graph.input_shape), gates)
    return kept.total, len(layers)


@pytest.mark.parametrize("family", ["fbnetv2", "ofa"])
def test_fbnetv2_a_supernet_does_not_grow_with_the_number_of_widths(family):
    found = {}
    for options in (2, 8):
        spec = f"mbconv:family={family},size=16,classes=10,width=1.0,stages=2,layers=2,width_options={options}"
        space = registry.create("space", spec)
        assert len(next(site for site in space.sites if site.name == "s1/width").options) == options
        found[options] = mixture_pass(space)
    assert found[8][1] == found[2][1]
    assert found[8][0] < 1.02 * found[2][0]


@pytest.mark.parametrize("step", ["step_law", "step_weights"])
def test_msgdas_never_keeps_more_than_one_path_for_the_way_back(step):
    """Of three paths, what is kept at most is far from what is kept in all."""
    task = load_task("digits,limit=200").fitted(DARTS)
    law = ExclusiveTopK(DARTS, torch.Generator().manual_seed(0), paths=3)
    run = Alternation(law, DARTS.supernet(), task, priceless(DARTS), DARTS, Schedule(batch=32), seed=0)
    kept = Kept()
    with kept.hooks():
        getattr(run, step)(*next(task.law.batches(32, torch.Generator().manual_seed(0))), tau=1.0)
    assert kept.most < 0.6 * kept.total
    assert kept.now == 0


def problem(space, progress=None, **more):
    module = torch.nn.Sequential(torch.nn.Linear(sum(space.widths), 1), torch.nn.Flatten(0))
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1, (1, sum(space.widths)))))
    told = {} if progress is None else {"progress": progress}
    return Problem(
        space=space, proxy=space, price=Price(module, space), task=load_task("digits,limit=200"), target_ms=None,
        lam=0.5, reference_ms=3.0, training=Training(epochs=1), **told, **more,
    )  # fmt: skip


@pytest.mark.slow
def test_densenas_also_follows_a_predictor_and_leaves_the_law_alone_while_warm():
    space = registry.create("space", ROUTED)
    method = registry.create("method", "densenas:epochs=4,warm_up=0.5,batch=32")
    found = method.find(problem(space))
    entropy = found.trace.columns()["entropy"]
    assert found.feed == "sampled"
    assert entropy[0] == entropy[1]
    assert entropy[3] != entropy[1]
    assert found.inherited is not None
    one, two = found.inherited([found.architecture] * 2)
    assert 0 < one == two < 1


def test_lightnas_prices_the_very_path_that_runs():
    space = registry.create("space", ROUTED)
    found = registry.create("method", "lightnas:epochs=2,warm_up=0.5,batch=32").find(problem(space))
    assert found.feed == "draw"


@pytest.mark.slow
@pytest.mark.parametrize(("method", "spec", "told"), [("lightnas", ROUTED, True), ("fbnetv2", MASKED, True),
                                                      ("proxylessnas", CELL, False)])  # fmt: skip
def test_accuracies_are_inherited_through_elastic_layers_only(method, spec, told):
    found = registry.create("method", f"{method}:epochs=1,batch=64").find(problem(registry.create("space", spec)))
    assert (found.inherited is not None) == told


def test_a_single_path_runs_about_as_many_layers_as_one_child():
    """What makes hard laws cheap: a step costs little more than a step of one network."""
    for spec in (ROUTED, "mbconv:family=fbnet,size=8,classes=10,channels=1,width=0.25,stages=3,layers=2"):
        space, counted = registry.create("space", spec), []
        supernet = space.supernet()
        for layer in supernet.layers.values():
            layer.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        law = registry.create("law", "gumbel", space=space, generator=torch.Generator().manual_seed(0))
        gates = law.draw(torch.Generator().manual_seed(1), tau=1.0)
        supernet(torch.zeros(2, *space.graph.input_shape), gates)
        (child,) = space.decode(space.relax(gates, "raw").detach()[None].numpy())
        assert len(counted) <= 1.05 * len(space.to_torch(child).layers)
