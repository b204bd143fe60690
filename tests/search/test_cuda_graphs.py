from contextlib import nullcontext
from functools import partial

import pytest
import torch

from tempograd import registry
from tempograd.search.cost import TableCost
from tempograd.search.cuda_graphs import RecordedMixture, all_on, recorded
from tempograd.search.evaluator import train
from tempograd.search.forms import Linear
from tempograd.search.laws.exclusive_top_k import ExclusiveTopK
from tempograd.search.laws.gumbel import Gumbel
from tempograd.search.laws.gumbel_rao import GumbelRao
from tempograd.search.laws.softmax import Softmax
from tempograd.search.laws.two_path import TwoPath
from tempograd.search.laws.uniform import Uniform
from tempograd.search.objective import CostTerm
from tempograd.search.searchers.alternation import Alternation, Schedule
from tempograd.search.steps import frozen_statistics
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
WIDE = registry.create(
    "space", "mbconv:family=fbnetv2,size=8,width=0.25,stages=2,layers=2,classes=10,width_options=2,resolution_options=2"
)
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def network(device="cpu"):
    torch.manual_seed(0)
    return SPACE.to_torch(SPACE.from_key("1.2.3.4.2.1")).to(device).train()


def test_elsewhere_than_on_a_cuda_device_nothing_changes():
    own = network()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    with recorded(own, torch.randn(4, 1, 8, 8)):
        assert "forward" not in vars(own)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


@pytest.mark.slow
def test_a_recorded_mixture_moves_statistics_only_where_they_are_tracked(monkeypatch):
    """What records is stood in for by one that runs, three times as CUDA's does before it records."""

    def record(module, arguments, **_):
        for _ in range(3):
            module(*arguments)
        return module

    def statistics():
        return {name: value.clone() for name, value in supernet.state_dict().items() if "running" in name}

    def moved(before):
        return [not torch.equal(value, before[name]) for name, value in statistics().items()]

    def alike(gates):
        return torch.allclose(mixture(images, gates), supernet(images, gates), atol=1e-5)

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    supernet = WIDE.supernet().train()
    images = torch.randn(8, 3, 8, 8)
    gates = {site.name: torch.full((len(site.options),), 1 / len(site.options)) for site in WIDE.sites}
    for frozen in (True, False):  # when it is recorded
        before = statistics()
        with frozen_statistics(supernet) if frozen else nullcontext():
            mixture = RecordedMixture(supernet, images, gates)
        assert not any(moved(before))
        with frozen_statistics(supernet):
            assert alike(gates)
        assert not any(moved(before))
        mixture(images, gates)
        assert all(moved(before))


@pytest.mark.parametrize(
    ("law", "mixes"),
    [(Softmax, True), (partial(Gumbel, hard=False), True), (Gumbel, False), (GumbelRao, False), (TwoPath, False),
     (ExclusiveTopK, False), (Uniform, False)],
)  # fmt: skip
def test_only_a_pass_that_leaves_no_option_out_may_be_replayed(law, mixes):
    generator = torch.Generator().manual_seed(0)
    assert all(all_on(gates) == mixes for gates in law(SPACE).draws(generator, tau=1.0))


@on_cuda
def test_what_is_replayed_is_what_would_have_run():
    """Losses, weights and statistics of three steps, and evaluation between them."""
    images = torch.randn(3, 8, 1, 8, 8, device="cuda")
    given = images.clone()
    found = []
    for replay in (False, True):
        own = network("cuda")
        optimizer = torch.optim.SGD(own.parameters(), 0.1)
        seen = []

        def steps(own=own, optimizer=optimizer, seen=seen):
            for batch in images:
                loss = own(batch).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen.append(float(loss))
            own.eval()
            seen.append(float(own(images[0, :3]).square().mean()))  # another shape
            own.train()

        if replay:
            with recorded(own, images[0]):
                steps()
        else:
            steps()
        assert "forward" not in vars(own)
        found.append((seen, own.state_dict()))
    (plain, state), (replayed, other) = found
    assert torch.equal(images, given)
    assert replayed == pytest.approx(plain, rel=1e-3)
    for name, value in state.items():
        torch.testing.assert_close(other[name], value, rtol=1e-2, atol=1e-3)


@on_cuda
def test_a_recorded_mixture_is_the_supernet(monkeypatch):
    """Logits, slopes of gates and weights, at gates that were not there when it was recorded, zeros among them."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    supernet = WIDE.supernet().to("cuda").train()
    images = torch.randn(8, 3, 8, 8, device="cuda")
    first = {site.name: torch.full((len(site.options),), 1 / len(site.options)) for site in WIDE.sites}
    mixture = RecordedMixture(supernet, torch.zeros_like(images), first)
    gates = {site: torch.softmax(torch.randn_like(gate), 0) for site, gate in first.items()}
    gates["s0l0/op"] = torch.tensor([0.0, 1.0] + [0.0] * 6)
    found = []
    for run in (supernet, mixture):
        leaves = {site: gate.clone().requires_grad_() for site, gate in gates.items()}
        supernet.zero_grad()
        run(images, leaves).square().mean().backward()
        weights = [w.grad for w in supernet.parameters() if w.grad is not None and w.grad.any()]
        found.append(([leaf.grad[gates[site] != 0] for site, leaf in leaves.items()], weights))
    (slopes, weights), (again, others) = found
    assert len(weights) == len(others)
    for one, other in zip([*slopes, *weights], [*again, *others], strict=True):
        torch.testing.assert_close(other, one, rtol=2e-2, atol=1e-4)


@on_cuda
def test_a_search_on_a_cuda_device_replays_and_leaves_statistics_alone_in_law_steps():
    task = load_task("digits,limit=300").fitted(SPACE)
    term = CostTerm(TableCost(SPACE.circuit, dict.fromkeys(SPACE.circuit.keys, 1.0)), Linear(0.0, 1.0))
    law = Gumbel(SPACE, torch.Generator().manual_seed(0), hard=False)
    schedule = Schedule(epochs=2, warm_up=0.5, batch=32)
    run = Alternation(law, SPACE.supernet(), task, term, SPACE, schedule, seed=0, compute="cuda")
    run.supernet.train()
    batch = next(task.weights.batches(32, run.generator))
    first = run.step_weights(*batch, tau=1.0)
    assert run.mixture is not None
    before = {name: value.clone() for name, value in run.supernet.state_dict().items()}
    run.step_law(*batch, tau=1.0)
    assert all(torch.equal(value, before[name]) for name, value in run.supernet.state_dict().items())
    assert min(run.step_weights(*batch, tau=1.0) for _ in range(20)) < first
    assert not torch.equal(
        run.supernet.state_dict()["layers.stem/bn.running_mean"], before["layers.stem/bn.running_mean"]
    )


@on_cuda
def test_a_network_trained_on_a_cuda_device_learns_as_on_the_cpu():
    task = load_task("digits,limit=600").fitted(SPACE)
    architecture = SPACE.from_key("1.2.3.4.2.3")
    found = [
        train(architecture, SPACE, task, Training(epochs=6, batch=32), seed=0, compute=compute)
        for compute in ("cpu", "cuda")
    ]
    assert all(next(trained.network.parameters()).device.type == "cpu" for trained in found)
    assert found[1].score == pytest.approx(found[0].score, abs=0.1)
    assert found[1].score > 0.5
