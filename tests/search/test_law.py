"""Laws: samples follow the marginals, in every space, and every parameter can learn."""

import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.search.law import Gumbel, Softmax, inclusion_probability
from tempograd.spaces.architecture import Architecture

SMALL = {"nasbench201": "nasbench201:cells=1,width=4,size=8", "darts": "darts:layers=2,width=4,size=8"}
LAWS = [Softmax, Gumbel]
DRAWS = 40_000


@pytest.fixture(params=registry.names("space"), scope="module")
def space(request):
    return registry.create("space", SMALL.get(request.param, request.param))


def sharp(law_type, space, seed=0, noise=1.0):
    return law_type(space, torch.Generator().manual_seed(seed), noise=noise)


def always_kept(space):
    """Places of ``none`` on edges that every architecture keeps: marginals do not depend on them."""
    names = [site.name for site in space.sites]
    sites = [name for rule in space.rules if len(rule.sites) == rule.keep for name in rule.sites]
    return {(names.index(name), 0) for name in sites}


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("law_type", LAWS)
def test_frequencies_of_samples_are_the_marginals(space, law_type):
    law = sharp(law_type, space)
    sample, marginals = law.sample(DRAWS, generator()), law.marginals()
    for site in marginals:
        expected = marginals[site].detach()
        error = (expected * (1 - expected) / DRAWS).sqrt()
        assert ((sample[site].mean(dim=0) - expected).abs() <= 5 * error + 1e-6).all(), site


def test_mean_encoding_of_samples_is_the_relaxed_encoding_of_the_marginals(space):
    law = sharp(Softmax, space)
    mean = space.relax(law.sample(DRAWS, generator()), "raw").mean(dim=0)
    assert (mean - space.relax(law.marginals(), "raw")).abs().max() < 0.0125  # five standard errors of a coin
    assert torch.allclose(sum(row.sum() for row in law.marginals().values()), torch.tensor(float(len(space.sites))))


def test_every_sample_is_an_architecture_and_samples_are_one_hot(space):
    sample = sharp(Softmax, space).sample(200, generator())
    rows = torch.cat([sample[site.name] for site in space.sites], dim=1)
    assert set(rows.unique().tolist()) == {0.0, 1.0}
    for architecture in space.decode(rows.numpy()):
        assert space.architecture(architecture.choices) == architecture


def test_marginals_of_a_cell_are_exact_against_enumeration():
    """One node of three in-edges, of which two are kept: all ordered picks and operations, by hand."""
    darts = registry.create("space", SMALL["darts"])
    law = sharp(Softmax, darts, seed=3).double()
    rule = next(rule for rule in darts.rules if len(rule.sites) == 3)
    index = [law.names.index(name) for name in rule.sites]
    p = torch.softmax(law.logits.detach()[index], dim=-1).numpy()
    strength = p[:, 1:].max(axis=1)
    strength = strength / strength.sum()
    kept = np.zeros(3)
    for first, second in itertools.permutations(range(3), 2):
        probability = strength[first] * strength[second] / (1 - strength[first])
        kept[[first, second]] += probability
    live = p[:, 1:] / p[:, 1:].sum(axis=1, keepdims=True)
    marginals = law.marginals()
    for i, name in enumerate(rule.sites):
        expected = np.concatenate([[1 - kept[i]], kept[i] * live[i]])
        assert np.allclose(marginals[name].detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_inclusion_probability_equals_enumeration(keep):
    strength = np.array([0.5, 0.3, 0.15, 0.05])
    expected = np.zeros(4)
    for picks in itertools.permutations(range(4), keep):
        probability, left = 1.0, 1.0
        for pick in picks:
            probability *= strength[pick] / left
            left -= strength[pick]
        expected[list(picks)] += probability
    found = inclusion_probability(torch.from_numpy(strength), keep).numpy()
    assert np.allclose(found, expected, rtol=1e-12)
    assert np.isclose(found.sum(), keep)


def test_a_nearly_certain_edge_keeps_its_inclusion_probability_finite():
    found = inclusion_probability(torch.tensor([1.0, 1e-12, 0.0]), 2)
    assert torch.allclose(found, torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize("law_type", LAWS)
def test_every_parameter_gets_a_gradient_from_draws_and_from_marginals(space, law_type):
    law = sharp(law_type, space)
    weights = torch.randn(law.logits.shape, generator=generator(5))
    for gates in (law.draw(generator(), tau=1.0), law.marginals()):
        value = sum((gates[name] * w[: len(gates[name])]).sum() for name, w in zip(law.names, weights, strict=True))
        (gradient,) = torch.autograd.grad(value, [law.logits])
        assert {tuple(place) for place in (gradient == 0).nonzero().tolist()} <= always_kept(space)


def test_marginals_and_entropy_pass_gradcheck(space):
    law = sharp(Softmax, space).double()

    def marginals(logits):
        law.logits.data = logits.detach()
        return space.relax(torch.func.functional_call(_Call(law), {"law.logits": logits}, ("marginals",)), "raw")

    assert torch.autograd.gradcheck(marginals, [law.logits.detach().clone().requires_grad_()], eps=1e-7, atol=1e-5)


class _Call(torch.nn.Module):
    def __init__(self, law):
        super().__init__()
        self.law = law

    def forward(self, name):
        return getattr(self.law, name)()


def test_softmax_draws_the_mixture_and_lower_temperature_sharpens_it(space):
    law = sharp(Softmax, space)
    warm, cold = (law.draw(generator(), tau=tau) for tau in (1.0, 0.2))
    for site, k in zip(space.sites, space.widths, strict=True):
        assert warm[site.name].shape == (k,)
        assert torch.isclose(warm[site.name].sum(), torch.tensor(1.0))
        assert cold[site.name].max() > warm[site.name].max()


def test_hard_gumbel_gates_are_exactly_one_hot_with_the_soft_gradient(space):
    hard, soft = sharp(Gumbel, space), sharp(Gumbel, space)
    soft.hard = False
    a, b = hard.draw(generator(), tau=0.7), soft.draw(generator(), tau=0.7)
    name = hard.names[0]
    assert sorted(a[name].tolist()) == [0.0] * (len(a[name]) - 1) + [1.0]
    assert a[name].argmax() == b[name].argmax()
    weight = torch.randn(len(a[name]), generator=generator(5))
    (g_hard,) = torch.autograd.grad((a[name] * weight).sum(), [hard.logits])
    (g_soft,) = torch.autograd.grad((b[name] * weight).sum(), [soft.logits])
    assert torch.allclose(g_hard, g_soft)


def test_hard_gumbel_chooses_with_the_softmax_probabilities():
    law = sharp(Gumbel, registry.create("space", SMALL["nasbench201"]))
    rng = generator()
    draws = torch.stack([law.draw(rng, tau=1.0)["e0"].detach() for _ in range(1000)]).mean(dim=0)
    assert (draws - torch.softmax(law.logits[0].detach(), dim=0)).abs().max() < 0.08


def test_entropy_is_largest_where_all_options_are_equal(space):
    flat = sharp(Softmax, space, noise=0.0).entropy()
    assert torch.isclose(flat, torch.tensor(np.log(space.widths).sum(), dtype=torch.float32))
    assert sharp(Softmax, space).entropy() < flat


def test_the_same_seed_gives_the_same_samples(space):
    law = sharp(Softmax, space)
    one, two = (law.sample(5, generator(9)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in law.names)


def test_sites_with_different_numbers_of_options():
    """A made-up space: an option that is not there is never drawn and has no score."""

    class Uneven:
        from tempograd.spaces.architecture import Site

        sites = (Site("a", ("x", "y")), Site("b", ("x", "y", "z")))
        widths, rules = (2, 3), ()

    law = Softmax(Uneven, generator(), noise=1.0)
    assert law.marginals()["a"].shape == (2,)
    assert law.sample(50, generator())["a"].shape == (50, 2)
    assert torch.isclose(law.marginals()["a"].sum(), torch.tensor(1.0))
    assert law.scores()[0, 2] == -torch.inf
    law.entropy().backward()
    assert torch.isfinite(law.logits.grad).all()


def test_scores_of_an_architecture_are_its_log_probability_where_sites_are_free():
    space = registry.create("space", SMALL["nasbench201"])
    law = sharp(Softmax, space)
    architecture = Architecture(space.spec, (0, 1, 2, 3, 4, 0))
    scores = law.scores()[torch.arange(6), torch.tensor(architecture.choices)].sum()
    p = law.marginals()
    expected = sum(p[f"e{i}"][c].log() for i, c in enumerate(architecture.choices))
    assert torch.isclose(scores, expected)
