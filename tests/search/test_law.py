"""Laws: samples follow the marginals, in every space, and every parameter can learn."""

import itertools

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search.deriver import as_scores, derive
from tempograd.search.law import Fixed, Product
from tempograd.search.laws.softmax import Softmax, inclusion_probability
from tempograd.search.need import ANY, CELLS, FREE
from tempograd.spaces.architecture import Architecture
from tempograd.testing.laws import LawContract, follows, generator, law_over
from tempograd.testing.small import small_specs

SMALL = {
    "nasbench201": "nasbench201:cells=1,width=4,size=8",
    "darts": "darts:layers=2,width=4,size=8",
    "nodedag": "nodedag:n=4,stages=1,width=4,size=8,classes=5",
    "mbconv": "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=2,layers=3,width_options=2,resolution_options=2",
    "routed": "routed:blocks=2/3-4/5-6,reach=2,layers=1,head=8,size=8,classes=5",
}


@pytest.mark.slow
class TestLaws(LawContract):
    names = registry.names("law")


@pytest.fixture(params=registry.names("space"), scope="module")
def space(request):
    return registry.create("space", SMALL.get(request.param) or small_specs(request.param)[0])


def test_every_law_is_one_over_some_space_and_the_refusal_names_those():
    for name in registry.names("law"):
        needs = registry.load("law", name).needs
        assert needs.spaces() == [s for s in registry.names("space") if needs.holds(registry.create("space", s))] != []


def test_the_need_of_two_pieces_is_refused_where_either_is():
    both = CELLS & FREE
    assert [both.holds(space) for space in (NB201, DARTS, ROUTED)] == [True, False, False]
    assert CELLS & ANY == ANY & CELLS == CELLS & CELLS == CELLS
    with pytest.raises(UsageError, match=r"it needs cells.*, and sites.*: nasbench201"):
        both.check(DARTS, "this")


@pytest.mark.slow
def test_mean_encoding_of_samples_is_the_relaxed_encoding_of_the_marginals(space):
    law = law_over("softmax", space)
    mean = space.relax(law.sample(40_000, generator()), "raw").mean(dim=0)
    assert (mean - space.relax(law.marginals(), "raw")).abs().max() < 0.0125  # five standard errors of a coin
    assert torch.allclose(sum(row.sum() for row in law.marginals().values()), torch.tensor(float(len(space.sites))))


def test_marginals_of_a_cell_are_exact_against_enumeration():
    """One node of three in-edges, of which two are kept: all ordered picks and operations, by hand."""
    darts = registry.create("space", SMALL["darts"])
    law = law_over("softmax", darts, seed=3).double()
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


@pytest.mark.slow
def test_marginals_and_entropy_pass_gradcheck(space):
    law = law_over("softmax", space).double()

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
    law = law_over("softmax", space)
    warm, cold = (law.draw(generator(), tau=tau) for tau in (1.0, 0.2))
    for site, k in zip(space.sites, space.widths, strict=True):
        assert warm[site.name].shape == (k,)
        assert torch.isclose(warm[site.name].sum(), torch.tensor(1.0))
        assert cold[site.name].max() > warm[site.name].max()


def test_hard_gumbel_gates_are_exactly_one_hot_with_the_soft_gradient(space):
    hard, soft = law_over("gumbel", space), law_over("gumbel", space, hard=False)
    a, b = hard.draw(generator(), tau=0.7), soft.draw(generator(), tau=0.7)
    name = hard.names[0]
    assert sorted(a[name].tolist()) == [0.0] * (len(a[name]) - 1) + [1.0]
    assert a[name].argmax() == b[name].argmax()
    weight = torch.randn(len(a[name]), generator=generator(5))
    (g_hard,) = torch.autograd.grad((a[name] * weight).sum(), [hard.logits])
    (g_soft,) = torch.autograd.grad((b[name] * weight).sum(), [soft.logits])
    assert torch.allclose(g_hard, g_soft)


def test_hard_gumbel_chooses_with_the_softmax_probabilities():
    law = law_over("gumbel", registry.create("space", SMALL["nasbench201"]))
    rng = generator()
    draws = torch.stack([law.draw(rng, tau=1.0)["e0"].detach() for _ in range(1000)]).mean(dim=0)
    assert (draws - torch.softmax(law.logits[0].detach(), dim=0)).abs().max() < 0.08


def test_entropy_is_largest_where_all_options_are_equal(space):
    flat = law_over("softmax", space, noise=0.0).entropy()
    assert torch.isclose(flat, torch.tensor(np.log(space.widths).sum(), dtype=torch.float32))
    assert law_over("softmax", space).entropy() < flat


@pytest.mark.slow
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
    law = law_over("softmax", space)
    architecture = Architecture(space.spec, (0, 1, 2, 3, 4, 0))
    scores = law.scores()[torch.arange(6), torch.tensor(architecture.choices)].sum()
    p = law.marginals()
    expected = sum(p[f"e{i}"][c].log() for i, c in enumerate(architecture.choices))
    assert torch.isclose(scores, expected)


NB201 = registry.create("space", SMALL["nasbench201"])
DARTS = registry.create("space", SMALL["darts"])
ROUTED = registry.create("space", SMALL["routed"])


def pairs(p):
    """Probability of the first and then the second of two draws without replacement."""
    return {(i, j): p[i] * p[j] / (1 - p[i]) for i, j in itertools.permutations(range(len(p)), 2)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gumbel", "gumbel_rao", "exclusive_top_k"])
def test_a_path_is_drawn_with_the_softmax_probabilities(name):
    law, rng = law_over(name, NB201), generator()
    counts = sum(law.draw(rng, tau=0.5)["e0"].detach() for _ in range(4000))
    assert follows(counts, torch.softmax(law.logits[0].detach(), dim=0))


@pytest.mark.slow
def test_two_paths_are_drawn_without_replacement():
    law, rng = law_over("two_path", NB201), generator()
    p = torch.softmax(law.logits[0].detach().double(), dim=0).tolist()
    probability = pairs(p)
    counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for _ in range(4000):
        row = law.draw(rng, tau=1.0)["e0"].detach()
        on = tuple(row.nonzero()[:, 0].tolist())
        counts[on] += 1
        expected = torch.softmax(law.logits[0].detach()[list(on)], dim=0)
        assert torch.allclose(row[list(on)], expected, atol=1e-6)
    assert follows(list(counts.values()), [probability[a, b] + probability[b, a] for a, b in counts])


@pytest.mark.slow
def test_one_of_two_paths_is_on_where_they_are_hard():
    law, rng = law_over("two_path", NB201, hard=True), generator()
    p = torch.softmax(law.logits[0].detach().double(), dim=0).tolist()
    rows = torch.stack([law.draw(rng, tau=1.0)["e0"].detach() for _ in range(4000)])
    assert (rows.sort(dim=1).values == torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])).all()
    expected = np.zeros(5)
    for (i, j), q in pairs(p).items():
        expected[[i, j]] += q * np.array([p[i], p[j]]) / (p[i] + p[j])
    assert follows(rows.sum(dim=0), expected)


def test_two_paths_leave_all_other_probabilities_as_they_were():
    law = law_over("two_path", NB201)
    before = torch.softmax(law.logits.detach(), dim=1)
    gates = law.draw(generator(), tau=1.0)
    on = torch.stack([gates[name].detach() != 0 for name in law.names])
    with torch.no_grad():
        law.logits += torch.randn(law.logits.shape, generator=generator(4)) * on
    moved = torch.softmax(law.logits.detach(), dim=1)
    law.stepped()
    after = torch.softmax(law.logits.detach(), dim=1)
    assert (moved - before)[~on].abs().max() > 1e-3
    assert torch.allclose(after[~on], before[~on], atol=1e-6)
    assert (after - before)[on].abs().max() > 1e-3


@pytest.mark.slow
def test_exclusive_paths_share_nothing_and_come_in_the_order_of_draws_without_replacement():
    law, rng = law_over("exclusive_top_k", NB201, paths=2), generator()
    p = torch.softmax(law.logits[0].detach().double(), dim=0).tolist()
    counts = dict.fromkeys(pairs(p), 0)
    for _ in range(4000):
        first, second = (gates["e0"].detach() for gates in law.draws(rng, tau=0.5))
        assert float(first @ second) == 0.0
        counts[int(first.argmax()), int(second.argmax())] += 1
    assert follows(list(counts.values()), list(pairs(p).values()))


def test_as_many_exclusive_paths_as_options_are_the_whole_supernet():
    drawn = law_over("exclusive_top_k", NB201, paths=5).draws(generator(), tau=1.0)
    assert all(torch.equal(sum(gates[name].detach() for gates in drawn), torch.ones(5)) for name in drawn[0])


def test_one_exclusive_path_is_gumbel_bit_for_bit():
    one, gumbel = law_over("exclusive_top_k", NB201, paths=1), law_over("gumbel", NB201)
    a, b = one.draw(generator(3), tau=0.5), gumbel.draw(generator(3), tau=0.5)
    weight = torch.randn(5, generator=generator(5))
    for name in a:
        assert torch.equal(a[name], b[name])
        (g_a,) = torch.autograd.grad((a[name] * weight).sum(), [one.logits], retain_graph=True)
        (g_b,) = torch.autograd.grad((b[name] * weight).sum(), [gumbel.logits], retain_graph=True)
        assert torch.equal(g_a, g_b)


@pytest.mark.slow
def test_averaged_noise_keeps_the_mean_gradient_and_lowers_its_variance():
    def gradients(law, n=3000):
        rng, weight = generator(2), torch.randn(5, generator=generator(5))
        found = []
        for _ in range(n):
            value = (law.draw(rng, tau=0.5)["e0"] * weight).sum()
            found.append(torch.autograd.grad(value, [law.logits])[0][0])
        return torch.stack(found)

    plain, averaged = gradients(law_over("gumbel", NB201)), gradients(law_over("gumbel_rao", NB201))
    error = (plain.var(dim=0) / len(plain) + averaged.var(dim=0) / len(averaged)).sqrt()
    assert ((plain.mean(dim=0) - averaged.mean(dim=0)).abs() < 5 * error).all()
    assert averaged.var(dim=0).sum() < 0.6 * plain.var(dim=0).sum()


@pytest.mark.slow
@pytest.mark.parametrize("space", [DARTS, NB201], ids=["two of n", "any"])
def test_sets_of_edges_are_drawn_with_their_probabilities_and_kept_edges_add_up(space):
    law = law_over("combination", space)
    sample = law.sample(40_000, generator())
    none = [site.options.index("none") for site in space.sites]
    for n, node in enumerate(space.nodes):
        kept = torch.stack([1 - sample[name][:, none[law.names.index(name)]] for name in node], dim=1)
        subsets = law._holds[n][:, [law.names.index(name) for name in node]][~law._missing[n]]
        counts = [int((kept == subset).all(dim=1).sum()) for subset in subsets]
        assert sum(counts) == 40_000
        assert follows(counts, torch.softmax(law.sets[n][~law._missing[n]].detach(), dim=0))
    gates = law.draw(generator(), tau=1.0)
    for rule in space.rules:
        total = sum(1 - gates[name][0] for name in rule.sites)
        assert float(total.detach()) == pytest.approx(rule.keep, abs=1e-5)


def test_without_a_rule_all_sets_of_edges_are_there_or_all_but_the_empty_one():
    sizes = [(~law_over("combination", NB201, empty=empty)._missing).sum(dim=1).tolist() for empty in (True, False)]
    assert sizes == [[2, 4, 8], [1, 3, 7]]


def test_the_most_probable_sets_are_not_always_the_most_probable_edges():
    """By brute force over every set of every node; the rule of thumb by edges differs now and then."""
    differs = 0
    for seed in range(30):
        law = law_over("combination", DARTS, seed=seed)
        best = law.best()
        for n, node in enumerate(DARTS.nodes):
            index = [law.names.index(name) for name in node]
            pi = torch.softmax(law.sets[n][~law._missing[n]].detach(), dim=0)
            subsets = list(itertools.combinations(range(len(node)), 2))
            top = subsets[int(pi.argmax())]
            assert tuple(e for e, i in enumerate(index) if best.choices[i] != 0) == top
            marginal = law.kept().detach()[index]
            differs += tuple(sorted(marginal.topk(2).indices.tolist())) != top
            for edge in top:
                assert best.choices[index[edge]] == 1 + int(law.logits[index[edge]][1:].detach().argmax())
    assert differs > 0


@pytest.mark.slow
def test_routes_are_visited_with_the_product_of_their_transitions():
    law = law_over("markov_route", ROUTED)
    sample = law.sample(40_000, generator())
    p = {name: row.detach() for name, row in law.marginals().items()}
    routes = [site for site in ROUTED.sites if site.name.endswith("/next")]
    architectures = ROUTED.decode(ROUTED.relax(sample).numpy())
    names = [site.name for site in ROUTED.sites]
    counts, expected = {}, {}
    for architecture in architectures:
        key = tuple(architecture.choices[names.index(site.name)] for site in routes)
        counts[key] = counts.get(key, 0) + 1
        expected[key] = np.prod([float(p[s.name][c]) for s, c in zip(routes, key, strict=True) if c >= 0])
    assert sum(expected.values()) == pytest.approx(1, abs=1e-5)  # with so many draws, every route was seen
    assert follows([counts[key] for key in expected], list(expected.values()))


@pytest.mark.slow
def test_uniform_is_uniform_over_edges_and_operations_and_has_nothing_to_learn():
    law, rng = law_over("uniform", DARTS), generator()
    assert list(law.parameters()) == []
    rows = [law.draw(rng, tau=1.0) for _ in range(3000)]
    for rule in DARTS.rules:
        for name in rule.sites:
            share = rule.keep / len(rule.sites)
            assert follows(sum(row[name] for row in rows), [1 - share, *[share / 7] * 7])


def test_groups_take_turns_and_each_draws_its_own_distribution():
    groups = [{"e0": [1, 0, 0, 0, 0]}, {"e0": [0, 0.5, 0.5, 0, 0], "e1": [0, 0, 0, 0, 1]}]
    law, rng = law_over("grouped", NB201, groups=groups), generator()
    rows = [law.draw(rng, tau=1.0) for _ in range(2000)]
    assert follows(sum(row["e0"] for row in rows[0::2]), [1, 0, 0, 0, 0])
    assert follows(sum(row["e0"] for row in rows[1::2]), [0, 0.5, 0.5, 0, 0])
    assert follows(sum(row["e1"] for row in rows[0::2]), [0.2] * 5)
    sandwich = law_over("grouped", NB201)
    drawn = [sandwich.draw(rng, tau=1.0) for _ in range(4)]
    assert [[int(row[name].argmax()) for name in row] for row in drawn[::2]] == [[0] * 6, [4] * 6]
    resumed = law_over("grouped", NB201)
    resumed.load_state_dict(sandwich.state_dict())
    assert int(resumed.turn) == 4


@pytest.mark.parametrize("group", [{"e9": [1.0]}, {"e0": [0.5, 0.4, 0, 0, 0]}, {"e0": [1.0]}])
def test_a_group_that_is_no_distribution_is_refused(group):
    with pytest.raises(UsageError):
        law_over("grouped", NB201, groups=[group])


def test_more_exclusive_paths_than_options_are_refused():
    with pytest.raises(UsageError, match="paths=6"):
        law_over("exclusive_top_k", NB201, paths=6)


def test_what_is_given_stands_beside_a_law_and_nothing_else_is_derived_or_learnt():
    (wanted,) = DARTS.sample(1, np.random.default_rng(0))
    given = {site: option for site, option in DARTS.taken(wanted).items() if site.startswith("reduce/")}
    free = [site.name for site in DARTS.sites if site.name not in given]
    own = Softmax(DARTS, generator(), noise=1.0, sites=free)
    law = Product(DARTS, [own, Fixed(DARTS, given)])
    assert [*law.parameters()] == [*own.parameters()]
    assert float(law.entropy().detach()) == pytest.approx(float(own.entropy().detach()))
    assert np.isfinite(as_scores(law.scores())).all()
    rows = (law.draw(generator(), tau=1.0), law.marginals(), {n: r[-1] for n, r in law.sample(5, generator()).items()})
    for gates in rows:
        assert all(int(gates[site].argmax()) == option and gates[site].sum() == 1 for site, option in given.items())
    assert {site: DARTS.taken(derive(law, DARTS))[site] for site in given} == given
    with pytest.raises(UsageError, match="belong to no law or to two"):
        Product(DARTS, [own])


class Twice(Softmax):
    """Two passes a step, one colder than the other."""

    def draws(self, generator, *, tau):
        return tuple(self.draw(generator, tau=each) for each in (tau, tau / 10))


def test_laws_side_by_side_run_as_many_passes_a_step_as_one_of_them_wants():
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8")
    *free, last = [site.name for site in space.sites]
    own = Twice(space, generator(), sites=free, noise=1.0)
    one, other = Product(space, [own, Fixed(space, {last: 3})]).draws(generator(), tau=1.0)
    assert [*one] == [*other] == [*free, last]
    assert one[last].tolist() == other[last].tolist() == [0, 0, 0, 1, 0]
    assert all(not torch.equal(one[name], other[name]) for name in free)
