"""The alternation: what it freezes, what it finds, and that it goes on where it stopped."""

from functools import partial

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import InputRefusedError, MismatchError
from tempograd.search.deriver import derive, is_connected
from tempograd.search.law import Gumbel, Softmax
from tempograd.search.objective import CostTerm, LearnedMultiplier, Linear, PredictorCost
from tempograd.search.searchers.gradient import Alternation, Schedule, frozen_statistics
from tempograd.search.task import Part, Task, load_task

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
DARTS = registry.create("space", "darts:layers=2,width=4,size=8,channels=1")
SPACES = pytest.mark.parametrize("space", [NB201, DARTS], ids=lambda space: space.name)
SHORT = Schedule(epochs=3, warm_up=1, batch=32)


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
    task = load_task("digits", limit=200).fitted(space)
    term = CostTerm(PredictorCost(linear(space, costs(space)), space), form or LearnedMultiplier(5.0, 0.1))
    return Alternation(law(space, torch.Generator().manual_seed(seed)), supernet, task, term, space, schedule, seed=seed)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def batch(run):
    return next(run.task.law.batches(32, torch.Generator().manual_seed(9)))


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
    run = search_of(NB201, schedule=Schedule(epochs=1, warm_up=1, batch=32))
    law = state(run.law)
    (epoch,) = run.run().epochs
    assert equal(law, state(run.law))
    assert (epoch.phase, epoch.loss_law) == ("warm_up", None)


def rows(trace):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in trace.rows()]


@pytest.mark.parametrize("law", [Softmax, Gumbel])
def test_the_same_seed_gives_the_same_trace_and_another_seed_does_not(law):
    one, two, other = (search_of(NB201, seed=seed, law=law) for seed in (0, 0, 1))
    traces = [rows(run.run()) for run in (one, two, other)]
    assert traces[0] == traces[1] != traces[2]
    assert equal(state(one.law), state(two.law))
    assert equal(state(one.supernet), state(two.supernet))


@pytest.mark.parametrize("law", [Softmax, Gumbel])
def test_a_search_that_was_stopped_goes_on_bit_for_bit(tmp_path, law):
    whole = search_of(NB201, law=law)
    whole.run()
    path = tmp_path / "search.safetensors"

    class Stopped(Exception):
        pass

    def stop(stage, done, total, numbers):
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
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


def test_a_checkpoint_of_another_search_and_a_damaged_one_are_refused(tmp_path):
    path = tmp_path / "search.safetensors"
    search_of(NB201).run(path)
    for other in (search_of(NB201, seed=1), search_of(DARTS), search_of(NB201, form=LearnedMultiplier(6.0, 0.1))):
        with pytest.raises(MismatchError, match="another search"):
            other.run(path)
    content = path.read_bytes()
    for damaged in (content[:100], b"", b"x" * 200):
        path.write_bytes(damaged)
        with pytest.raises(InputRefusedError, match="not a checkpoint"):
            search_of(NB201).run(path)


def test_another_weight_of_latency_is_another_search(tmp_path):
    path = tmp_path / "search.safetensors"
    search_of(NB201, form=Linear(0.1, 1.0)).run(path)
    with pytest.raises(MismatchError, match="another search"):
        search_of(NB201, form=Linear(0.5, 1.0)).run(path)


def test_the_trace_tells_what_happened():
    run = search_of(NB201)
    columns = run.run().columns()
    assert columns["epoch"] == [0, 1, 2]
    assert columns["phase"] == ["warm_up", "search", "search"]
    assert columns["entropy"][0] == pytest.approx(6 * np.log(5), rel=1e-4) > columns["entropy"][2]
    sampled, direct = columns["cost_sampled_ms"], columns["cost_direct_ms"]
    assert sampled == pytest.approx(direct, rel=0.1)  # a linear predictor
    assert run.passes == 32 * (len(run.task.weights) // 32) * 5  # three weight passes and two law passes


class Tabulated(torch.nn.Module):
    """A supernet whose loss is a table: logits of two classes that differ by the summed quality of the gates."""

    def __init__(self, space, quality):
        super().__init__()
        self.names = [site.name for site in space.sites]
        self.register_buffer("quality", torch.as_tensor(quality, dtype=torch.float32))
        self.scale = torch.nn.Parameter(torch.ones(()))  # a weight, so that there is something to train

    def forward(self, x, gates):
        total = sum((gates[name] * row[: len(gates[name])]).sum()
                    for name, row in zip(self.names, self.quality, strict=True))  # fmt: skip
        return torch.stack([total * self.scale.clamp(0.5, 2), torch.zeros(())]).expand(len(x), 2)


def blank_task(n=320):
    """Every image is empty and of class 0: the loss depends on the gates alone."""
    part = Part(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n, dtype=torch.long), torch.zeros(1), torch.ones(1))
    return Task("blank", part, part, part, classes=2)


def planted(space, quality, form, *, seed, law=Softmax, epochs=12, cost=None):
    term = CostTerm(PredictorCost(linear(space, cost if cost is not None else costs(space)), space), form)
    schedule = Schedule(epochs=epochs, warm_up=0, batch=32, law_rate=0.1)
    generator = torch.Generator().manual_seed(seed)
    return Alternation(law(space, generator), Tabulated(space, quality), blank_task(), term, space, schedule, seed=seed)


def best_of(space, value):
    """The best connected NAS-Bench-201 network, or the best pair of edges per node, of a sum over choices."""
    if not space.rules:
        return max((a for a in space.enumerate() if is_connected(space, a)),
                   key=lambda a: value[np.arange(6), a.choices].sum())  # fmt: skip
    from tempograd.search.deriver import ranked

    return next(ranked(value, space))


@pytest.mark.parametrize("law", [Softmax, partial(Gumbel, hard=False), Gumbel], ids=["softmax", "soft", "hard"])
def test_a_planted_optimum_is_found_in_nine_of_ten_seeds_and_random_search_does_not(law):
    found = better = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        quality = 0.6 * rng.random((6, 5))
        quality[np.arange(6), rng.integers(0, 5, 6)] += 0.4
        latency, lam = costs(NB201, seed + 50), 0.05
        run = planted(NB201, quality, Linear(lam, 1.0), seed=seed, law=law, cost=latency)
        run.run()
        derived = derive(run.law, NB201)
        objective = np.log1p(np.exp(-_sums(quality))) + lam * _sums(latency)
        index = _EVERY.index(derived.choices)
        rank = (objective < objective[index] - 1e-9).sum()
        found += rank < 8  # of 15,625; sites interact through the loss's curvature
        sample = rng.choice(len(_EVERY), 120, replace=False)  # as many networks as there were law steps
        better += objective[index] < objective[sample].min()
    assert found >= 9
    assert better >= 9


_EVERY = [a.choices for a in NB201.enumerate()]


def _sums(values):
    return values[np.arange(6), np.array(_EVERY)].sum(axis=1)


@SPACES
def test_without_a_weight_of_latency_the_best_network_is_found(space):
    hits = 0
    for seed in range(10):
        quality = np.random.default_rng(seed).random((len(space.sites), max(space.widths)))
        if space.rules:
            quality[:, 0] = 0  # an edge without an operation adds nothing
        run = planted(space, quality, Linear(0.0, 1.0), seed=seed, epochs=25)
        run.run()
        derived, best = derive(run.law, space), best_of(space, quality)
        gained = quality[np.arange(len(quality)), derived.choices].sum()
        hits += gained > 0.97 * quality[np.arange(len(quality)), best.choices].sum()
    assert hits >= 9


def test_a_learnt_multiplier_lands_near_the_target_and_a_larger_target_gives_a_better_network():
    """Quality and latency go together, so that the target alone holds the network back."""
    rng = np.random.default_rng(1)
    latency = rng.random((6, 5))
    quality = latency + 0.1 * rng.random((6, 5))
    reached, gained = [], []
    for target_ms in (3.0, 4.0, 5.0):
        run = planted(
            NB201, quality, LearnedMultiplier(target_ms, 0.05, two_sided=True), seed=0, cost=latency, epochs=40
        )
        run.run()
        derived = derive(run.law, NB201)
        reached.append(1 + latency[np.arange(6), derived.choices].sum())
        gained.append(quality[np.arange(6), derived.choices].sum())
        assert reached[-1] == pytest.approx(target_ms, rel=0.15)
    assert reached == sorted(reached)
    assert gained == sorted(gained)


def test_a_heavier_weight_of_latency_gives_a_faster_network():
    quality = costs(NB201, 3)
    reached = []
    for lam in (0.0, 0.1, 0.3, 1.0):
        run = planted(NB201, quality, Linear(lam, 1.0), seed=0)
        run.run()
        reached.append(run.derived_ms())
    assert reached == sorted(reached, reverse=True)
    assert reached[0] > 1.2 * reached[-1]


def test_a_proxy_with_the_same_sites_stands_in_for_the_space():
    """The supernet is small, the predictor is of the large space: encodings are the same."""
    large = registry.create("space", "nasbench201:cells=5,width=16,size=32,channels=1")
    supernet = NB201.supernet()
    term = CostTerm(PredictorCost(linear(large, costs(large)), large), Linear(0.1, 1.0))
    task = load_task("digits", limit=200).fitted(NB201)
    run = Alternation(Softmax(large), supernet, task, term, large, Schedule(epochs=1, warm_up=0, batch=32), seed=0)
    run.run()
    assert derive(run.law, large).space == large.spec
