"""The alternation: what it freezes, what it finds, and that it goes on where it stopped."""

import json
from functools import cache, partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tempograd import registry
from tempograd.errors import DivergedError, InputRefusedError, MismatchError, UsageError
from tempograd.search.cost import PredictorCost
from tempograd.search.deriver import derive
from tempograd.search.forms import LearnedMultiplier, Linear
from tempograd.search.laws.exclusive_top_k import ExclusiveTopK
from tempograd.search.laws.gumbel import Gumbel
from tempograd.search.laws.softmax import Softmax
from tempograd.search.objective import CostTerm, Objective
from tempograd.search.regularisers import Distillation
from tempograd.search.searchers import alternation
from tempograd.search.searchers.alternation import Alternation, Schedule
from tempograd.search.steps import frozen_statistics
from tempograd.tasks.images import Classification, Images
from tempograd.tasks.load import load_task

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
DARTS = registry.create("space", "darts:layers=2,width=4,size=8,channels=1")
SPACES = pytest.mark.parametrize("space", [NB201, DARTS], ids=lambda space: space.name)
SHORT = Schedule(epochs=3, warm_up=1 / 3, batch=32)


def linear(space, weights, bias=1.0):
    module = torch.nn.Sequential(torch.nn.Linear(sum(space.widths), 1), torch.nn.Flatten(0))
    with torch.no_grad():
        module[0].weight.copy_(torch.as_tensor(weights, dtype=torch.float32).reshape(1, -1))
        module[0].bias.fill_(bias)
    return module


def costs(space, seed=0):
    return np.random.default_rng(seed).random((len(space.sites), max(space.widths)))


def search_of(space, *, seed=0, law=Softmax, form=None, schedule=SHORT):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        supernet = space.supernet()
    task = load_task("digits,limit=200").fitted(space)
    term = CostTerm(PredictorCost(linear(space, costs(space)), space), form or LearnedMultiplier(5.0, 0.1))
    return Alternation(
        law(space, torch.Generator().manual_seed(seed)), supernet, task, term, space, schedule, seed=seed
    )


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def batch(run):
    return next(run.task.law.batches(32, torch.Generator().manual_seed(9)))


def test_a_law_is_told_of_every_law_step():
    run, told = search_of(NB201), []
    run.law.stepped = lambda: told.append(run.law.logits.detach().clone())
    before = run.law.logits.detach().clone()
    run.step_law(*batch(run), tau=1.0)
    assert len(told) == 1
    assert not torch.equal(told[0], before)


@pytest.mark.slow
@SPACES
def test_a_law_step_moves_the_law_and_no_weight_and_no_statistic(space):
    run = search_of(space)
    run.supernet.train()
    run.step_weights(*batch(run), tau=1.0)
    weights, law = state(run.supernet), state(run.law)
    optimizer = {k: v["momentum_buffer"].clone() for k, v in run.weights_optimizer.state_dict()["state"].items()}
    run.step_law(*batch(run), tau=1.0)
    assert equal(weights, state(run.supernet))
    assert all(torch.equal(v["momentum_buffer"], optimizer[k])
               for k, v in run.weights_optimizer.state_dict()["state"].items())  # fmt: skip
    assert (run.law.logits != law["logits"]).all()


@pytest.mark.slow
@SPACES
def test_a_weight_step_moves_weights_and_statistics_and_not_the_law(space):
    run = search_of(space)
    run.supernet.train()
    weights, law = state(run.supernet), state(run.law)
    run.step_weights(*batch(run), tau=1.0)
    assert equal(law, state(run.law))
    assert all(p.grad is None for p in run.law.parameters())
    moved = [name for name, value in run.supernet.state_dict().items() if not torch.equal(value, weights[name])]
    assert moved == list(weights)


def test_frozen_statistics_normalise_by_the_batch():
    norm = torch.nn.BatchNorm2d(2).train()
    x = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
    before = state(norm)
    with frozen_statistics(norm):
        y = norm(x)
    assert equal(before, state(norm))
    assert torch.allclose(y, torch.nn.BatchNorm2d(2).train()(x))
    assert norm.track_running_stats


def test_the_law_stays_as_it_is_in_warm_up():
    run = search_of(NB201, schedule=Schedule(epochs=2, warm_up=0.5, batch=32))
    law = state(run.law)
    epoch = run.epoch()
    assert equal(law, state(run.law))
    assert (epoch.phase, epoch.loss_law) == ("warm_up", None)


def rows(trace):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in trace.rows()]


@pytest.mark.slow
@pytest.mark.parametrize("law", [Softmax, Gumbel])
def test_the_same_seed_gives_the_same_trace_and_another_seed_does_not(law):
    one, two, other = (search_of(NB201, seed=seed, law=law) for seed in (0, 0, 1))
    traces = [rows(run.run()) for run in (one, two, other)]
    assert traces[0] == traces[1] != traces[2]
    assert equal(state(one.law), state(two.law))
    assert equal(state(one.supernet), state(two.supernet))


@pytest.mark.slow
@pytest.mark.parametrize("law", [Softmax, Gumbel])
def test_a_search_that_was_stopped_goes_on_bit_for_bit(tmp_path, law):
    whole = search_of(NB201, law=law)
    whole.run()
    path = tmp_path / "search.safetensors"

    class StoppedError(Exception):
        pass

    def stop(stage, done, total, numbers):
        if done == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        search_of(NB201, law=law).run(path, stop)
    resumed = search_of(NB201, law=law)
    told = []
    resumed.run(path, lambda *call: told.append(call))
    assert [call[1] for call in told] == [3]
    assert rows(resumed.trace) == rows(whole.trace)
    assert equal(state(resumed.law), state(whole.law))
    assert equal(state(resumed.supernet), state(whole.supernet))
    assert resumed.term.form.lam == whole.term.form.lam
    assert resumed.passes == whole.passes
    assert torch.equal(resumed.generator.get_state(), whole.generator.get_state())


@pytest.mark.slow
def test_a_checkpoint_of_another_search_and_a_damaged_one_are_refused(tmp_path):
    path = tmp_path / "search.safetensors"
    search_of(NB201).run(path)
    others = {
        "seed": search_of(NB201, seed=1), "space": search_of(DARTS),
        "form": search_of(NB201, form=LearnedMultiplier(6.0, 0.1)),
    }  # fmt: skip
    for differing, other in others.items():
        with pytest.raises(MismatchError, match=f"checkpoint of another search: other .*{differing}"):
            other.run(path)
    content = path.read_bytes()
    for damaged in (content[:100], b"", b"x" * 200):
        path.write_bytes(damaged)
        with pytest.raises(InputRefusedError, match="not a checkpoint"):
            search_of(NB201).run(path)


@pytest.mark.slow
def test_another_weight_of_latency_is_another_search(tmp_path):
    path = tmp_path / "search.safetensors"
    search_of(NB201, form=Linear(0.1, 1.0)).run(path)
    with pytest.raises(MismatchError, match="another search"):
        search_of(NB201, form=Linear(0.5, 1.0)).run(path)


@pytest.mark.slow
def test_the_trace_tells_what_happened():
    run = search_of(NB201)
    columns = run.run().columns()
    assert columns["epoch"] == [0, 1, 2]
    assert columns["phase"] == ["warm_up", "search", "search"]
    assert columns["entropy"][0] == pytest.approx(6 * np.log(5), rel=1e-4)
    assert columns["entropy"][2] < columns["entropy"][0]
    sampled, direct = columns["cost_sampled_ms"], columns["cost_direct_ms"]
    assert sampled == pytest.approx(direct, rel=0.1)  # a linear predictor
    assert run.passes == 32 * (len(run.task.weights) // 32) * 5  # three weight passes and two law passes


class Tabulated(torch.nn.Module):
    """A supernet whose loss is a table: cross-entropy is ``20 - quality`` of the gates, up to 1e-4."""

    def __init__(self, space, quality):
        super().__init__()
        self.names = [site.name for site in space.sites]
        self.register_buffer("quality", torch.as_tensor(quality, dtype=torch.float32))
        self.weight = torch.nn.Parameter(torch.zeros(()))  # so that there is something to train

    def forward(self, x, gates):
        quality = (torch.stack([gates[name] for name in self.names]) * self.quality).sum()
        return torch.stack([quality - 20 + 0 * self.weight, torch.zeros(())]).expand(len(x), 2)


def blank_task(n=32):
    """Every image is empty and of class 0: the loss depends on the gates alone."""
    images, labels = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n, dtype=torch.long)
    part = Images(images, labels, torch.zeros(1), torch.ones(1))
    return Classification("blank", part, part, part, classes=2)


def planted(space, quality, form, latency, *, seed, law=Softmax, steps=100):
    """One law step an epoch."""
    term = CostTerm(PredictorCost(linear(space, latency), space), form)
    schedule = Schedule(epochs=steps, warm_up=0, batch=32, law_rate=0.1)
    law = law(space, torch.Generator().manual_seed(seed))
    run = Alternation(law, Tabulated(space, quality), blank_task(), term, space, schedule, seed=seed)
    run.run()
    return run


def total(values, choices):
    return values[np.arange(len(values)), np.array(choices)].sum(axis=-1)


@cache
def connected():
    return [a.choices for a in NB201.enumerate() if NB201.is_connected(a)]


@pytest.mark.slow
@pytest.mark.parametrize("law", [Softmax, partial(Gumbel, hard=False), Gumbel], ids=["softmax", "soft", "hard"])
def test_a_planted_optimum_is_found_in_four_of_five_seeds_and_not_by_random_search(law):
    """The best of 15,625 networks by quality and weighted latency, against as many random ones as there were steps."""
    found = better = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        latency, quality = costs(NB201, seed + 50), rng.random((6, 5))
        quality[np.arange(6), rng.integers(0, 5, 6)] += 0.5
        objective = total(quality - 0.3 * latency, connected())
        run = planted(NB201, quality, Linear(0.3, 1.0), latency, seed=seed, law=law)
        reached = objective[connected().index(derive(run.law, NB201).choices)]
        found += reached > objective.max() - 0.05  # the steps are noisy: a site with two near equal options may err
        better += reached > rng.choice(objective, 100, replace=False).max()
    assert found >= 4
    assert better >= 4


@pytest.mark.slow
def test_every_kept_edge_of_a_cell_gets_its_best_operation():
    hits = []
    for seed in range(3):
        quality = costs(DARTS, seed)
        run = planted(DARTS, quality, Linear(0.0, 1.0), costs(DARTS), seed=seed)
        choices = derive(run.law, DARTS).choices
        hits += [choice == 1 + quality[site, 1:].argmax() for site, choice in enumerate(choices) if choice]
    assert np.mean(hits) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("two_sided", [False, True])
def test_a_learnt_multiplier_lands_near_the_target_and_a_larger_target_gives_a_better_network(two_sided):
    """A space of six sites has few networks worth having, so that single targets are met within some ten per cent."""
    errors = []
    for seed in range(2):
        latency, quality = costs(NB201, seed), costs(NB201, seed + 10)
        every = total(latency, connected())
        unbound = every[total(quality, connected()).argmax()]
        reached, gained = [], []
        for share in (0.3, 0.6, 0.9):
            target_ms = 1 + every.min() + share * (unbound - every.min())
            form = LearnedMultiplier(target_ms, two_sided=two_sided)
            choices = derive(planted(NB201, quality, form, latency, seed=seed).law, NB201).choices
            reached.append(1 + total(latency, choices))
            gained.append(total(quality, choices))
            errors.append(abs(reached[-1] / target_ms - 1))
        assert reached[0] < reached[2]
        assert gained[0] < gained[2]
    assert np.median(errors) < 0.1
    assert np.quantile(errors, 0.8) < 0.2


@pytest.mark.slow
def test_a_heavier_weight_of_latency_gives_a_faster_network():
    quality = costs(NB201, 3)
    reached = []
    for lam in (0.0, 0.1, 0.3, 1.0):
        run = planted(NB201, quality, Linear(lam, 1.0), costs(NB201), seed=0)
        reached.append(run.derived_ms())
    assert reached == sorted(reached, reverse=True)
    assert reached[0] > 1.2 * reached[-1]


def test_a_proxy_with_the_same_sites_stands_in_for_the_space():
    """The supernet is small, the predictor is of the large space: encodings are the same."""
    large = registry.create("space", "nasbench201:cells=5,width=16,size=32,channels=1")
    supernet = NB201.supernet()
    term = CostTerm(PredictorCost(linear(large, costs(large)), large), Linear(0.1, 1.0))
    task = load_task("digits,limit=200").fitted(NB201)
    run = Alternation(Softmax(large), supernet, task, term, large, Schedule(epochs=1, warm_up=0, batch=32), seed=0)
    run.run()
    assert derive(run.law, large).space == large.spec


class Watched(torch.nn.Module):
    """Notes the gates of every pass."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.seen = inner, []

    def forward(self, x, gates):
        self.seen.append((torch.is_grad_enabled(), {name: gate.detach().clone() for name, gate in gates.items()}))
        return self.inner(x, gates)


def watched(schedule, *, law=Softmax, seed=0, **more):
    law = law(NB201, torch.Generator().manual_seed(seed), noise=1.0)
    supernet = Watched(Tabulated(NB201, costs(NB201)))
    objective = Objective(CostTerm(PredictorCost(linear(NB201, costs(NB201)), NB201), Linear(0.1, 1.0)), **more)
    return Alternation(law, supernet, blank_task(256), objective, NB201, schedule, seed=seed)


def is_one_path(gates):
    return all(sorted(gate.tolist()) == [0.0] * (len(gate) - 1) + [1.0] for gate in gates.values())


@pytest.mark.slow
def test_weights_of_a_uniform_warm_up_see_every_option_alike_and_then_those_of_the_law():
    run = watched(Schedule(epochs=60, warm_up=0.5, batch=32, paths="sample", law_rate=0.0))
    with torch.no_grad():
        run.law.logits[:, 0] += 10
    run.run()
    gates = [g for _, g in run.supernet.seen]
    warm = [g for g in gates[: 30 * 8] if is_one_path(g)]
    late = [g for g in gates[30 * 8 :] if is_one_path(g)]
    assert len(warm) == len(late) == 240  # law steps run the mixture
    shares = torch.stack([g["e0"] for g in warm]).mean(dim=0)
    assert (shares - 0.2).abs().max() < 0.12
    assert float(torch.stack([g["e0"] for g in late]).mean(dim=0)[0]) > 0.95


@pytest.mark.parametrize(("law_only", "passes"), [(False, 8 + (8 + 2)), (True, 8 + 2)])
def test_a_law_step_comes_every_so_many_weight_steps_and_may_come_alone(law_only, passes):
    run = watched(Schedule(epochs=2, warm_up=0.5, batch=32, law_every=4, law_only=law_only))
    before = state(run.law)
    trace = run.run()
    assert [epoch.loss_law is None for epoch in trace.epochs] == [True, False]
    assert [epoch.loss_weights is None for epoch in trace.epochs] == [False, law_only]
    assert len(run.supernet.seen) == passes
    assert not equal(before, state(run.law))


@pytest.mark.parametrize(("epochs", "share", "law_epochs"), [
    (15, 0.2, 12), (40, 0.75, 10), (3, 0.2, 2), (2, 0.75, 1), (1, 0.75, 1), (15, 2 / 3, 5), (4, 0.0, 4), (4, 1.0, 0),
])  # fmt: skip
def test_however_short_a_search_its_law_has_an_epoch(epochs, share, law_epochs):
    assert Schedule(epochs=epochs, warm_up=share).law_epochs == law_epochs


@pytest.mark.parametrize("share", [-0.1, 3])
def test_a_warm_up_that_is_no_share_is_refused(share):
    with pytest.raises(UsageError, match=rf"warm_up={share}; allowed: .* from 0 to 1"):
        Schedule(warm_up=share)


def test_a_law_without_an_epoch_to_learn_in_is_refused():
    with pytest.raises(UsageError, match="leaves Softmax no epoch"):
        search_of(NB201, schedule=Schedule(warm_up=1, batch=32))


def test_several_paths_add_up_to_the_mean_of_their_gradients_one_pass_at_a_time():
    """Against the plain way: all passes in one graph."""
    law = partial(ExclusiveTopK, paths=3)
    run, plain = watched(SHORT, law=law), law(NB201, torch.Generator().manual_seed(0), noise=1.0)
    drawn = run.law.draws(torch.Generator().manual_seed(4), tau=0.7)
    loss = run._law_loss(*batch(run), drawn)
    found = torch.autograd.grad(loss, list(run.law.parameters()))
    again = plain.draws(torch.Generator().manual_seed(4), tau=0.7)
    losses = [run._loss(*batch(run), gates, None) for gates in again]
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(plain.parameters()))
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert float(loss.detach()) == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-6)


def test_paths_learn_from_a_teacher_without_gradient():
    run = watched(SHORT, law=partial(ExclusiveTopK, paths=2), distillation=Distillation(teacher="mixture"))
    run.supernet.train()
    run.step_weights(*batch(run), tau=1.0)
    kinds = [(with_grad, is_one_path(gates)) for with_grad, gates in run.supernet.seen]
    assert kinds == [(False, False), (True, True), (True, True)]


def test_temperature_waits_and_then_falls_geometrically():
    schedule = Schedule(epochs=7, tau_first=10.0, tau_last=0.1, tau_from=0.5)
    taus = [schedule.tau(epoch) for epoch in range(7)]
    assert np.allclose(taus[:4], 10.0)
    assert np.allclose(taus[3:], np.geomspace(10.0, 0.1, 4))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["weight", "law"])
def test_a_loss_that_is_no_number_stops_names_the_step_and_keeps_the_checkpoint(tmp_path, place):
    path = tmp_path / "search.safetensors"
    run = search_of(NB201)

    def poison(stage, done, total, numbers):
        if done == 2:
            if place == "weight":
                with torch.no_grad():
                    next(run.supernet.parameters()).fill_(float("nan"))
            else:
                run.term.model.module[0].weight.data.fill_(float("inf"))

    with pytest.raises(DivergedError, match="step 1 of 3, epoch 3 of 3") as caught:
        run.run(path, poison)
    assert "law" in str(caught.value)  # the law's step comes first in an epoch
    resumed = search_of(NB201)
    resumed.run(path)
    whole = search_of(NB201)
    whole.run()
    assert equal(state(resumed.law), state(whole.law))


def test_weights_move_along_a_cosine_over_all_epochs_and_by_steps_of_a_norm_at_most(monkeypatch):
    schedule = Schedule(
        epochs=3, warm_up=1 / 3, batch=32, weights_rate=0.5, weights_rate_last=0.1, clip=0.25, law_rate=0.0
    )
    run, rates, norms, original = watched(schedule), [], [], alternation.move

    def move(optimizer, clip):
        rates.append(optimizer.param_groups[0]["lr"])
        norms.append(clip)
        original(optimizer, clip)

    monkeypatch.setattr(alternation, "move", move)
    run.run()
    assert len(rates) == 3 * 8
    assert rates == pytest.approx(0.1 + 0.4 * (1 + np.cos(np.pi * np.arange(24) / 24)) / 2)
    assert set(norms) == {0.25}


def test_a_multiplier_is_told_the_latency_of_what_would_be_derived_now(monkeypatch):
    """And not what the law is expected to cost."""
    run, told = search_of(NB201), []
    monkeypatch.setattr(LearnedMultiplier, "update", lambda self, derived_ms: told.append(derived_ms))
    run.step_law(*batch(run), tau=1.0)
    assert told == [run.derived_ms()]
    assert abs(told[0] - float(run.term.model(run.law.marginals()).detach())) > 0.1


@pytest.mark.slow
def test_a_law_of_other_settings_is_another_search(tmp_path):
    """Of as many numbers, so that the file would do; one that was written before it told them is gone on from."""
    path, short = tmp_path / "search.safetensors", Schedule(epochs=1, warm_up=0, batch=32)
    search_of(NB201, law=partial(ExclusiveTopK, paths=2), schedule=short).run(path)
    with pytest.raises(MismatchError, match="another search: other settings;"):
        search_of(NB201, law=partial(ExclusiveTopK, paths=3), schedule=short).run(path)
    search_of(NB201, law=partial(Softmax, none=True), schedule=short).save(path)
    other = search_of(NB201, law=partial(Softmax, none=False), schedule=short)
    with pytest.raises(MismatchError, match="another search: other settings;"):
        other.load(path)
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file itself cannot be iterated
    del state["identity"]["settings"]
    save_file(tensors, path, metadata={"state": json.dumps(state)})
    other.load(path)
