"""EG-DAS, by its recipe: an enhanced gradient finds one block after the other, evolution makes networks of them."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.search.cost import PredictorCost
from tempograd.search.forms import Pareto
from tempograd.search.law import gumbel, one_hot, straight_through
from tempograd.search.method import Found, Problem
from tempograd.search.objective import Objective
from tempograd.search.price import Price
from tempograd.search.queries import Queries
from tempograd.search.searchers.evolution import EvolutionSearcher
from tempograd.search.searchers.gradient import GradientSearcher
from tempograd.search.searchers.two_level import alone, one_slot
from tempograd.search.trace import Trace
from tempograd.search.training import Training

from ..wiring import BLOCKS as SMALL
from ..wiring import Planted, linear, parts, record, space_of

SPEC = "chained:blocks=3,n=3,stages=1,copies=2,width=4,size=8,channels=1"
INDEX = {site.name: i for i, site in enumerate(space_of(SMALL).sites)}


def conflicting(space, seed):
    """Return what options are worth and what they cost, alike in all slots: what is dear is worth more, but less and
    less."""
    rng, rows = np.random.default_rng(seed), {}
    for site in space.sites:
        edge = site.name.split("/")[1]
        cost = np.zeros(len(site.options)) if site.name.startswith("s") else rng.random(len(site.options))
        rows.setdefault(edge, (np.sqrt(cost) + 0.1 * rng.normal(size=len(cost)) * (cost > 0), cost))
    worth, cost = zip(*(rows[site.name.split("/")[1]] for site in space.sites), strict=True)
    return np.concatenate(worth), np.concatenate(cost)


def first_blocks(architecture):
    """Accuracy of a network by how many stages take the first slot: the accurate one, and the slow one."""
    return sum(architecture.choices[INDEX[f"s{stage}/block"]] == 0 for stage in range(2)) / 2


def run(patch, queries=3, spec=SMALL, seed=0, **more):
    """Run the recipe; accuracies of networks are a formula."""
    patch.setattr(Queries, "_by_training", lambda self: partial(map, first_blocks))
    worth, cost = conflicting(space_of(spec), seed)
    fixed = f"egdas:epochs=2,warm_up=0,batch=4,queries={queries},population=2,train_epochs=1"
    planted = {"supernet": Planted(space_of(spec), worth), "cost": linear(space_of(spec), cost)}
    mode = {} if "target_ms" in more else {"lam": 0.3}
    return record(patch, fixed, spec, **(planted | mode | more))


def test_no_step_is_an_ascent_of_loss_or_latency(monkeypatch):
    """In the running search; a weighted sum of both is one, wherever one of them is much the longer."""
    original, cosines = Objective.gradients, []

    def watched(self, loss, law, generator, drawn=None):
        state, slopes = generator.get_state(), []
        for value in (loss, self.term.model.expected(law, generator, drawn)):
            found = torch.autograd.grad(value, list(law.parameters()), retain_graph=True, materialize_grads=True)
            slopes.append(torch.cat([each.flatten() for each in found]).double())
        generator.set_state(state)
        found = original(self, loss, law, generator, drawn)
        direction = torch.cat([each.flatten() for each in found]).double()
        cosines.append([float(direction @ s / (direction.norm() * s.norm()).clamp_min(1e-30)) for s in slopes])
        cosines[-1].append(float(slopes[0] @ slopes[1]))
        return found

    monkeypatch.setattr(Objective, "gradients", watched)
    run(monkeypatch)
    of_loss, of_latency, apart = np.array(cosines).T
    assert len(cosines) == 2 * 2 * 4  # slots, epochs, steps
    assert (apart < 0).any()
    assert min(of_loss.min(), of_latency.min()) >= -1e-6


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(5), range(5, 10)])
def test_blocks_go_from_the_accurate_to_the_fast(seeds):
    """As their preferences do: strictly, in ten of ten seeds."""
    space = space_of(SPEC)
    for seed in seeds:
        worth, cost = conflicting(space, seed)
        problem = Problem(
            space, space, Price(linear(space, cost), space), parts(8), target_ms=None, lam=0.3, reference_ms=5.0,
            training=Training(epochs=1), seed=seed,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(space), "supernet", lambda self, worth=worth: Planted(space, worth))
            library = registry.create("method", "egdas:epochs=3,warm_up=0,batch=4").find.library(problem)
        first, middle, last = library.alone_ms.values()
        assert first > middle > last


def test_laws_begin_among_the_slow_blocks_the_further_the_more_accuracy_counts(monkeypatch):
    """Common descent never leads to a slower block. The last slot begins where all options are as likely."""
    space, begun = space_of(SPEC), []
    _, cost = conflicting(space, 0)
    price = Price(linear(space, cost), space)
    cost_ms = price.as_cost(PredictorCost)

    def begin(self, problem):
        law = self.law(problem.space, torch.Generator().manual_seed(0))
        begun.append(float(cost_ms(law.marginals()).detach()))
        return Found(
            problem.space.sample(1, np.random.default_rng(0))[0], np.zeros((len(space.sites), 6)), Trace(), 0, 0.0
        )

    monkeypatch.setattr(GradientSearcher, "__call__", begin)
    problem = Problem(
        space, space, price, parts(15), target_ms=None, lam=0.3, reference_ms=5.0, training=Training(epochs=1)
    )
    registry.create("method", "egdas").find.library(problem)
    first, middle, last = begun
    start = alone(space, space.sample(1, np.random.default_rng(1))[0], "b0")
    even = one_slot(space, torch.Generator(), start=start, slot="b0")
    assert last == pytest.approx(float(cost_ms(even.marginals()).detach()), rel=0.01)
    every = price.predict([alone(space, each, "b0") for each in space.sample(50, np.random.default_rng(2))])
    assert first > np.quantile(every, 0.9)
    assert last + 0.3 * (first - last) < middle < last + 0.8 * (first - last)


@pytest.mark.slow
def test_the_gradient_of_its_law_has_far_less_variance_than_plain_straight_through_and_the_same_mean(monkeypatch):
    slopes = {}

    def look(search):
        """Take the slope of the loss, by draws of the first slot's law and of plain straight-through."""
        if slopes:
            return
        x, labels = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5)), torch.zeros(4).long()
        own, generator = search.law.laws[0], torch.Generator().manual_seed(1)
        with torch.no_grad():
            own.logits.normal_(generator=generator)

        def plain():
            log_p = torch.log_softmax(own._masked(), dim=-1)
            noisy = log_p + gumbel(tuple(log_p.shape), generator, log_p.dtype)
            soft = torch.softmax(noisy, dim=-1)
            return own._gates(straight_through(one_hot(noisy.argmax(dim=-1), soft), soft))

        rest = search.law.laws[1].draw(generator, tau=1.0)
        for name, draw in {"own": partial(own.draw, generator, tau=1.0), "plain": plain}.items():
            found = []
            for _ in range(400):
                gates = rest | draw()
                loss = search._law_loss(x, labels, ({s.name: gates[s.name] for s in search.space.sites},))
                found.append(torch.autograd.grad(loss, own.logits)[0].flatten())
            slopes[name] = torch.stack(found)

    run(monkeypatch, before=look)
    ours, theirs = slopes["own"], slopes["plain"]
    assert float(ours.var(dim=0).sum()) < 0.5 * float(theirs.var(dim=0).sum())
    error = ((ours.var(dim=0) + theirs.var(dim=0)) / len(ours)).sqrt()
    assert bool(((ours - theirs).mean(dim=0).abs() <= 5 * error + 1e-7).all())


def test_all_noises_of_a_draw_agree_with_what_is_drawn(monkeypatch):
    """They are conditioned on it: each would have drawn the same options, so the mean gradient stays what it was."""
    own, seen, softmax = run(monkeypatch, queries=2).run.law.laws[0], [], torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda value, dim: seen.append(value) or softmax(value, dim=dim))
    with torch.no_grad():
        for seed in range(20):
            drawn = torch.stack([*own.draw(torch.Generator().manual_seed(seed), tau=1.0).values()]).argmax(dim=-1)
            assert seen[-1].shape[0] > 1
            assert (seen[-1].argmax(dim=-1) == drawn).all()


def test_a_slot_is_searched_alone_in_all_stages_and_nothing_else_moves(monkeypatch):
    noted = run(monkeypatch)
    slots, steps = space_of(SMALL).slots, noted.steps("law")
    assert len(steps) == 2 * 8
    seen = {}
    for number, (slot, own) in enumerate(slots.items()):
        passes = [each for step in steps[8 * number : 8 * number + 8] for each in step]
        for name in INDEX:
            taken = {tuple(each.on(name)) for each in passes}
            if name not in own:
                assert len(taken) == 1, name
            if name.endswith("/block"):
                assert taken == {(number,)}
            if name.endswith("/copies"):
                assert taken == {(1,)}
        assert any(len({tuple(each.on(name)) for each in passes}) > 1 for name in own)
        seen[slot] = {name: passes[0].on(name) for name in INDEX}
    derived = noted.found.architecture.choices
    assert all(seen["b1"][name] == {derived[INDEX[name]]} for name in slots["b0"])  # what the first stage had found
    for name in (each for own in slots.values() for each in own):  # its only node keeps both edges
        assert derived[INDEX[name]] == 1 + noted.found.scores[INDEX[name], 1:].argmax()
        assert noted.found.scores[INDEX[name]].min() > -100  # of the law that found it, not of one that it was given to
    assert noted.found.passes == 4 * len(noted.passes)


def test_all_networks_asked_about_are_made_of_the_blocks_found(monkeypatch):
    noted = run(monkeypatch, queries=8)
    asked = [query.architecture for query in noted.found.queries]
    inside = [INDEX[name] for names in space_of(SMALL).slots.values() for name in names]
    assert len(set(asked)) == 8
    assert len({tuple(a.choices[i] for i in inside) for a in (noted.found.architecture, *asked)}) == 1


@pytest.mark.slow
def test_a_weight_and_a_target_are_heard_in_what_is_kept(monkeypatch):
    """All 16 networks of the blocks are asked about; so the best one by accuracy, weight or target is known."""
    price = Price(linear(space_of(SMALL), conflicting(space_of(SMALL), 0)[1]), space_of(SMALL)).predict
    free, weighed = (run(monkeypatch, queries=16, lam=lam).found for lam in (0.0, 100.0))
    asked = [query.architecture for query in free.queries]
    ms = price(asked)
    assert first_blocks(free.architecture) == 1
    assert price([weighed.architecture])[0] == ms.min() < price([free.architecture])[0]
    target_ms = float(np.quantile(ms, 0.3))
    held = run(monkeypatch, queries=16, target_ms=target_ms).found
    assert price([held.architecture])[0] <= target_ms
    assert all(query.predicted_ms <= target_ms for query in held.queries)


def test_weights_learn_alone_at_first_and_networks_train_as_long_as_asked(monkeypatch):
    epochs = []

    def train(architecture, space, task, training, **more):
        epochs.append(training.epochs)
        return SimpleNamespace(passes=0, validation_score=0.5)

    monkeypatch.setattr("tempograd.search.queries.train", train)
    fixed = "egdas:epochs=2,warm_up=0.5,batch=4,queries=2,population=2,train_epochs=3"
    noted = record(monkeypatch, fixed, SMALL, supernet=Planted(space_of(SMALL), conflicting(space_of(SMALL), 0)[0]),
                   lam=0.3, steps=2)  # fmt: skip
    assert epochs == [3, 3]
    a_slot = ["weights"] * 2 + ["law", "weights"] * 2
    assert [noted.passes[start].step for start in noted.starts] == a_slot * 2


def test_it_says_what_is_of_the_paper_and_what_is_not():
    pieces = registry.create("method", "egdas").pieces
    assert "evolution" in pieces["read"]
    assert "enhance" in pieces["ours"]


@pytest.mark.parametrize("mode", [{"lam": 0.3}, {"target_ms": 100.0}])
def test_every_slot_has_a_preference_of_its_own_under_a_target_too(monkeypatch, mode):
    forms = []
    run(monkeypatch, before=lambda search: forms.append(search.term.form), **mode)
    assert {type(form) for form in forms} == {Pareto}
    assert [form.lam for form in forms] == pytest.approx([1 / 9, 9])


def test_preferences_are_even_on_a_logarithmic_scale(monkeypatch):
    forms = []
    run(monkeypatch, spec=SPEC, before=lambda search: forms.append(search.term.form))
    assert [form.lam for form in forms] == pytest.approx([1 / 9, 1, 9])


def test_a_mutant_differs_at_one_site_of_the_stages_on_average(monkeypatch):
    rates, ask = [], EvolutionSearcher.ask
    monkeypatch.setattr(EvolutionSearcher, "ask", lambda self, queries: rates.append(self.rate) or ask(self, queries))
    run(monkeypatch)
    assert rates == [1 / 4]  # of two stages, their blocks and their copies
