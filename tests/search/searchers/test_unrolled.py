"""The law's gradient one weight step ahead, against finite differences of the whole step."""

from functools import partial

import pytest
import torch

from tempograd import registry
from tempograd.search.cost import TableCost
from tempograd.search.forms import Linear
from tempograd.search.laws.exclusive_top_k import ExclusiveTopK
from tempograd.search.laws.softmax import Softmax
from tempograd.search.objective import CostTerm
from tempograd.search.searchers.alternation import Alternation, Schedule
from tempograd.search.steps import frozen_statistics
from tempograd.spaces.circuit import counts
from tempograd.tasks.load import load_task

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
SECOND = Schedule(epochs=2, warm_up=0, batch=32, weights_rate=0.5, weights_momentum=0.9, weights_decay=0.01,
                  second_order=True)  # fmt: skip


class Smooth(torch.nn.Module):
    """Every option is a layer of tanh; in double precision, so that differences are exact enough."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Parameter(0.3 * torch.randn(64, 8, generator=generator, dtype=torch.float64))
        self.layers = torch.nn.Parameter(torch.randn(6, 5, 8, 10, generator=generator, dtype=torch.float64))

    def forward(self, x, gates):
        hidden = torch.tanh(x.double().flatten(1) @ self.first)
        mixture = torch.stack(list(gates.values()))[..., None, None] * self.layers
        return torch.tanh(torch.einsum("nd,sodc->nsoc", hidden, mixture)).sum(dim=(1, 2))


def run_of(law=Softmax, schedule=SECOND, supernet=None):
    term = CostTerm(TableCost(SPACE.circuit, counts(SPACE.graph, SPACE.operations, "macs")), Linear(0.0, 1.0))
    made = law(SPACE, torch.Generator().manual_seed(0), noise=1.0)
    made = made.double() if supernet is None else made
    return Alternation(made, supernet or Smooth(), load_task("digits,limit=200").fitted(SPACE), term, SPACE, schedule,
                       seed=0)  # fmt: skip


def batches(run):
    return [next(part.batches(32, torch.Generator().manual_seed(n))) for n, part in enumerate(
        (run.task.law, run.task.weights))]  # fmt: skip


def loss_after_a_step(run, law_batch, training_batch):
    """A plain step of SGD with the law as it is, written out."""
    drawn = run.law.draws(torch.Generator().manual_seed(5), tau=1.0)
    weights = list(run.supernet.parameters())

    def loss(images, labels):
        each = [torch.nn.functional.cross_entropy(run.supernet(images, gates), labels) for gates in drawn]
        return torch.stack(each).mean()

    before = [w.detach().clone() for w in weights]
    gradients = torch.autograd.grad(loss(*training_batch), weights)
    with torch.no_grad():
        for w, g in zip(weights, gradients, strict=True):
            momentum = run.weights_optimizer.state[w]["momentum_buffer"]
            w -= 0.5 * (g + 0.01 * w + 0.9 * momentum)
        found = float(loss(*law_batch))
        for w, value in zip(weights, before, strict=True):
            w.copy_(value)
    return found


@pytest.mark.parametrize("law", [Softmax, partial(ExclusiveTopK, paths=2)], ids=["mixture", "paths"])
def test_the_gradient_of_second_order_is_that_of_finite_differences_and_of_first_order_is_not(law):
    run = run_of(law)
    law_batch, training_batch = batches(run)
    run.step_weights(*training_batch, tau=1.0)  # so that there is momentum
    drawn = run.law.draws(torch.Generator().manual_seed(5), tau=1.0)
    first = torch.autograd.grad(run._law_loss(*law_batch, drawn), [run.law.logits], retain_graph=True)[0]
    loss = run._law_loss(*law_batch, drawn, training_batch)
    (second,) = torch.autograd.grad(loss, [run.law.logits])
    assert float(loss.detach()) == pytest.approx(loss_after_a_step(run, law_batch, training_batch), rel=1e-9)
    if law is not Softmax:
        return  # a hard draw has no differences to compare with
    expected = torch.zeros_like(second)
    for place in [(site, option) for site in range(6) for option in range(5)]:
        values = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                run.law.logits[place] += step
            values.append(loss_after_a_step(run, law_batch, training_batch))
        with torch.no_grad():
            run.law.logits[place] += 1e-5
        expected[place] = (values[0] - values[1]) / 2e-5
    assert (second - expected).norm() < 1e-3 * expected.norm()
    assert (first - expected).norm() > 0.05 * expected.norm()


@pytest.mark.slow
def test_a_law_step_of_second_order_moves_no_weight_and_no_statistic_and_its_search_goes_on():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = SPACE.supernet()
    run = run_of(supernet=supernet)
    law_batch, training_batch = batches(run)
    run.supernet.train()
    run.step_weights(*training_batch, tau=1.0)
    before, law = {k: v.clone() for k, v in supernet.state_dict().items()}, run.law.logits.detach().clone()
    passes = run.passes
    run.step_law(*law_batch, tau=1.0, ahead=training_batch)
    assert all(torch.equal(v, before[k]) for k, v in supernet.state_dict().items())
    assert not torch.equal(run.law.logits, law)
    assert run.passes - passes == 4 * 32
    assert len(run.run().epochs) == 2


def test_without_a_rate_second_order_is_first_order():
    run = run_of()
    law_batch, training_batch = batches(run)
    run.weights_optimizer.param_groups[0]["lr"] = 0.0
    drawn = run.law.draws(torch.Generator().manual_seed(5), tau=1.0)
    with frozen_statistics(run.supernet):
        one, two = (run._law_loss(*law_batch, drawn, ahead) for ahead in (None, training_batch))
    (a,), (b,) = (torch.autograd.grad(loss, [run.law.logits], retain_graph=True) for loss in (one, two))
    assert torch.allclose(a, b, rtol=1e-12)
