"""LA-DARTS, by its recipe: a predictor met where it was trained, in the loss of the law of DARTS' mixture."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.devices.places.local import LocalDevice
from tempograd.predictor.models.gp import GaussianProcessLatency
from tempograd.profiler.plan import Items, Plan
from tempograd.profiler.verify import measure
from tempograd.search.price import Price
from tempograd.search.run import Options, search
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

from ..wiring import CELL, DARTS, Planted, linear, record, space_of

SPACE = space_of(CELL)


class Curved(torch.nn.Module):
    """``(b, d) -> (b,)`` ms: 1 and the square of a sum, so that a mean of networks is not the mean of latencies."""

    def __init__(self):
        super().__init__()
        weight = np.random.default_rng(0).normal(0, 1, sum(SPACE.widths))
        self.weight = torch.nn.Parameter(torch.from_numpy(weight).float())

    def forward(self, x):
        return 1 + (x @ self.weight).square()


def curved(patch, arguments=""):
    """Return a law of its own probabilities, the recipe's cost, and the latency that is expected by enumeration."""
    noted = record(
        patch, f"la_darts:epochs=1,batch=4{arguments}", CELL, supernet=Planted(SPACE, np.zeros(30)), cost=Curved(),
        lam=0.1, steps=1,
    )  # fmt: skip
    law, model = noted.run.law, noted.run.term.model
    with torch.no_grad():
        law.logits.normal_(generator=torch.Generator().manual_seed(1))
        gates = law.marginals()
        p = torch.tensor([[0.2] * 5] * 6)
        for row, gate in zip(p, gates.values(), strict=True):
            row.copy_(gate)
        every = torch.cartesian_prod(*[torch.arange(5)] * 6)
        weight = p[torch.arange(6), every].prod(dim=1)
        encoded = torch.nn.functional.one_hot(every, 5).flatten(1).float()
        expected = float((weight * Curved()(encoded)).sum())
    return law, model, expected


def test_the_predictor_is_asked_about_networks_and_not_about_their_mean(monkeypatch):
    """The mean over samples is that of all 15,625 networks; the relaxed encoding gives another number."""
    law, model, expected = curved(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        found = [float(model.expected(law, generator)) for _ in range(400)]
        relaxed = float(Curved()(SPACE.relax(law.marginals())[None])[0])
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - expected) < 4 * error
    assert abs(relaxed - expected) > 8 * error


class Bent(Curved):
    """``(b, d) -> (b,)`` ms: options multiply the latency, so that what one of them costs depends on the others."""

    def forward(self, x):
        return (0.3 * (x @ self.weight)).exp()


def test_the_slope_of_samples_points_where_that_of_all_networks_does(monkeypatch):
    """Of the latency expected over all 15,625 networks, by enumeration: nowhere 0, and nearly all signs agree."""
    noted = record(
        monkeypatch, "la_darts:epochs=1,batch=4", CELL, supernet=Planted(SPACE, np.zeros(30)), cost=Bent(), lam=0.1,
        steps=1,
    )  # fmt: skip
    law, model, generator = noted.run.law, noted.run.term.model, torch.Generator().manual_seed(0)
    with torch.no_grad():
        law.logits.normal_(generator=torch.Generator().manual_seed(1))
    every = torch.cartesian_prod(*[torch.arange(5)] * 6)
    encoded = torch.nn.functional.one_hot(every, 5).flatten(1).float()
    p = torch.stack([*law.marginals().values()])
    (exact,) = torch.autograd.grad((p[torch.arange(6), every].prod(dim=1) * Bent()(encoded)).sum(), [law.logits])
    found = torch.zeros_like(exact)
    for _ in range(400):
        found += torch.autograd.grad(model.expected(law, generator), [law.logits])[0]
    assert (found.abs().amax(dim=1) > 0).all()
    assert float((found.sign() == exact.sign()).float().mean()) > 0.95


@pytest.mark.slow
def test_the_network_derived_is_the_faster_the_more_latency_weighs(monkeypatch):
    """What is dear is worth more, but less and less, so that every weight has a network of its own."""
    latency = np.random.default_rng(0).uniform(0.1, 1.0, 30)
    found = []
    for lam in (0.0, 3.0, 4.0, 5.0, 16.0):
        noted = record(
            monkeypatch, "la_darts:epochs=4,warm_up=0,batch=4", CELL, supernet=Planted(SPACE, np.sqrt(latency)),
            cost=linear(SPACE, latency), lam=lam, steps=20,
        )  # fmt: skip
        found.append(float(noted.run.term.model(SPACE.gates([noted.found.architecture]))))
    assert found == sorted(found, reverse=True)
    assert len(set(found)) >= 4


def test_the_feed_and_the_draws_are_those_asked_for(monkeypatch):
    law, model, _ = curved(monkeypatch, ",feed=direct")
    relaxed = float(Curved()(SPACE.relax(law.marginals())[None]).detach()[0])
    assert float(model.expected(law, torch.Generator()).detach()) == pytest.approx(relaxed)
    law, model, _ = curved(monkeypatch, ",draws=7")
    asked, sample = [], law.sample
    law.sample = lambda n, generator: asked.append(n) or sample(n, generator)
    model.expected(law, torch.Generator().manual_seed(0))
    assert asked == [7]


@pytest.mark.slow
def test_both_kinds_of_steps_run_the_mixture_or_one_path_where_that_is_asked_for(monkeypatch):
    for argument, one in (("", False), (",one_path=true", True)):
        noted = record(monkeypatch, f"la_darts:epochs=2,batch=4{argument}", CELL, lam=0.1, steps=2)
        for step in ("law", "weights"):
            assert {each.one_path for each in noted.of(step)} == {one}
        assert one or all(each.on(site) == set(range(5)) for each in noted.passes for site in each.gates)


@pytest.mark.slow
def test_without_none_it_is_neither_run_nor_derived_and_latency_is_still_heard(monkeypatch):
    """Though it is the cheapest, and as good as any."""
    latency = np.tile([0.0, 1.0, 2.0, 4.0, 1.0], 6)  # none, skip, 1x1, 3x3, pooling
    for argument in (",none=false", ",none=false,one_path=true", ""):
        noted = record(
            monkeypatch, f"la_darts:epochs=3,warm_up=0,batch=4{argument}", CELL, supernet=Planted(SPACE, np.zeros(30)),
            cost=linear(SPACE, latency), lam=8.0, steps=12,
        )  # fmt: skip
        ran = {option for each in noted.of("law") for site in each.gates for option in each.on(site)}
        assert (0 in ran) is (argument == "")
        taken = set(noted.found.architecture.choices)
        assert taken <= {1, 4} if argument else 0 in taken
        assert (noted.found.scores[:, 0] < -1e6).all() == (argument != "")


def test_of_second_order_a_law_step_looks_at_images_of_the_weights_too(monkeypatch):
    for argument, seen in (("", {False}), (",second_order=true", {False, True})):
        noted = record(monkeypatch, f"la_darts:epochs=1,warm_up=0,batch=4{argument}", CELL, lam=0.1, steps=1)
        assert {each.image == 0.0 for each in noted.of("law")} == seen


def test_the_law_rests_in_warm_up(monkeypatch):
    noted = record(monkeypatch, "la_darts:epochs=4,warm_up=0.5,batch=4", CELL, lam=0.1, steps=2)
    assert [len(noted.steps(step)) for step in ("weights", "law")] == [8, 4]
    assert noted.passes[0].step == noted.passes[3].step == "weights"


def test_the_latency_is_the_mean_of_all_networks_that_are_sampled(monkeypatch):
    law, model, _ = curved(monkeypatch, ",draws=7")
    each = Curved()(SPACE.relax(law.sample(7, torch.Generator().manual_seed(3)))).detach()
    found = float(model.expected(law, torch.Generator().manual_seed(3)).detach())
    assert found == pytest.approx(float(each.mean()), rel=1e-5)
    assert float(each.std()) > 0.1


def test_where_a_rule_counts_edges_none_is_never_taken_out():
    """How many a node keeps is not the law's to say: its edges are compared with their ``none`` all the same."""
    laws = [
        registry.create("method", "la_darts", none=none).find.law(space_of(DARTS), torch.Generator().manual_seed(0))
        for none in (True, False)
    ]
    for one, other in zip(*([*law.draw(torch.Generator(), tau=1.0).values()] for law in laws), strict=True):
        assert torch.equal(one, other)


@pytest.mark.real
@pytest.mark.slow
def test_it_searches_by_what_quantised_networks_take_and_one_is_found_and_measured():
    """They are timed with int8 kernels of ONNX Runtime, a predictor learns that, and what is found is timed so too."""
    device, space = LocalDevice(precision="int8-static"), space_of(CELL)
    short = Plan("short", burst_ms=1.0, checks=(2,), target=0.9, coverage=0.5, requeue=False)

    def timed(networks):
        return measure(device, Items.of(space, networks), short)

    networks = space.sample(16, np.random.default_rng(0))
    labels = timed(networks)
    model = GaussianProcessLatency(random_state=0)
    model.fit(space.encode(networks, "raw"), np.array([label.latency_ms for label in labels]))
    result = search(
        space, registry.create("method", "la_darts:epochs=1,warm_up=0"), Price(model.module, space, "raw"),
        load_task("digits,limit=150"), measure=timed, lam=0.3,
        options=Options(training=Training(epochs=1), random_networks=0),
    )  # fmt: skip
    assert result.verdict in {"measured", "unreliable"}  # on a busy machine
    assert result.feed == "sampled"
    for label in (*labels, result.found.measurement):
        assert label.fingerprint_id == device.fingerprint.id
        assert any(kind.startswith("QLinear") for kind in label.environment["kernels"])
