"""One supernet: trained from the largest down, kept, gone on from bit by bit, and the same for every target."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tempograd import registry
from tempograd.errors import DivergedError, InputRefusedError, MismatchError, UsageError
from tempograd.search.deriver import score
from tempograd.search.evaluator import Inherited
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.searchers import one_shot
from tempograd.search.searchers.evolution import EvolutionSearcher
from tempograd.search.searchers.one_shot import OneShot, OneShotSchedule, OneShotSearcher, effects, ends
from tempograd.search.trace import Query
from tempograd.search.training import Training
from tempograd.tasks.load import load_task

from ..tables import linear

SPACE = registry.create("space", "mbconv:family=ofa,size=8,channels=1,classes=10,width=0.25,stages=2,layers=3")
WIDE = registry.create(
    "space", "mbconv:family=ofa,size=8,channels=1,classes=10,width=0.5,stages=1,layers=3,width_options=2"
)
QUICK = OneShotSchedule(largest=1, epochs=1, draws=1, batch=32)


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=200")


def problem(task, space=SPACE, **kwargs):
    fixed = {"target_ms": 100.0, "lam": None, "reference_ms": 3.0, "training": Training(epochs=1, batch=32)}
    return Problem(space, space, Price(linear(space), space), task, **(fixed | kwargs))


def shot(task, schedule=QUICK, seed=0, space=SPACE):
    return OneShot(space, task.fitted(space), schedule, seed=seed, compute="cpu")


def same(one, other):
    return all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_the_ends_are_the_fewest_and_most_operations_of_all():
    tiny = registry.create("space", "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=1,layers=2")
    macs = {a: tiny.raw_graph(a).macs() for a in tiny.enumerate()}
    smallest, largest = ends(tiny)
    assert macs[smallest] == min(macs.values())
    assert macs[largest] == max(macs.values())


def test_a_space_of_four_networks_has_ends():
    few = registry.create("space", "multibranch:width=4,modules=1,depth=1,size=12")
    smallest, largest = ends(few)
    assert len(list(few.enumerate())) == 4
    assert few.raw_graph(smallest).macs() < few.raw_graph(largest).macs()


@pytest.mark.slow
@pytest.mark.parametrize("space", [SPACE, WIDE], ids=["depth", "width"])
def test_the_first_stage_trains_the_largest_and_the_second_all_of_its_parts(task, space):
    """Options share their parameters; which layers ran is told by their statistics."""
    run = shot(task, OneShotSchedule(largest=1, epochs=1, draws=8, batch=16), space=space)
    before = {k: v.clone() for k, v in run.supernet.named_buffers() if k.endswith("running_mean")}

    def ran():
        now = dict(run.supernet.named_buffers())
        return {key for key, value in before.items() if not torch.equal(now[key], value)}

    run.epoch()
    largest, idle = ran(), run.passes
    steps = run.task.weights.steps(16)
    assert idle == 16 * steps  # one network a step
    run.epoch()
    assert largest < ran() == set(before)
    assert run.passes - idle == 10 * 16 * steps


@pytest.mark.slow
def test_training_gone_on_from_a_file_is_bit_for_bit_what_it_was(task, tmp_path):
    whole = shot(task)
    whole.run(None)
    first = shot(task)
    first.epoch()
    first.save(tmp_path / "supernet.safetensors")
    again = shot(task)
    again.run(tmp_path / "supernet.safetensors")
    assert same(whole.supernet, again.supernet)
    assert whole.passes == again.passes


@pytest.mark.slow
def test_a_file_written_before_the_state_had_a_schema_is_gone_on_from(task, tmp_path):
    """Momenta had no slot in their names."""
    whole, first, again = shot(task), shot(task), shot(task)
    whole.run(None)
    first.epoch()
    path = tmp_path / "supernet.safetensors"
    first.save(path)
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {key.removesuffix("/momentum_buffer"): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert state.pop("schema") == 1
    assert "momentum/0" in tensors
    save_file(tensors, path, metadata={"state": json.dumps(state)})
    again.run(path)
    assert same(whole.supernet, again.supernet)


@pytest.mark.slow
def test_a_second_target_trains_nothing_and_both_are_kept(task, tmp_path):
    """Accuracies with inherited weights, so that the file decides what is found."""
    searcher = OneShotSearcher(QUICK, EvolutionSearcher("best", queries=10, population=5))
    told = []
    base = problem(task, supernet=tmp_path / "supernet.safetensors", progress=lambda stage, *_: told.append(stage))
    loose = searcher(base)
    assert told.count("supernet") == 2
    target_ms = float(np.quantile([q.predicted_ms for q in loose.queries], 0.3))
    told.clear()
    tight = searcher(replace(base, target_ms=target_ms))
    assert "supernet" not in told
    assert all(q.predicted_ms <= target_ms for q in tight.queries)
    run = shot(task)
    run.load(tmp_path / "supernet.safetensors")
    best = max(tight.queries, key=lambda q: q.score)
    assert list(Inherited(SPACE, run.supernet, task.fitted(SPACE))([best.architecture])) == [best.score]


def test_another_supernet_or_another_file_is_refused(task, tmp_path):
    path = tmp_path / "supernet.safetensors"
    shot(task).save(path)
    others = {
        "seed": shot(task, seed=1),
        "schedule": shot(task, replace(QUICK, draws=2)),
        "space": shot(task, space=WIDE),
    }
    for differing, other in others.items():
        with pytest.raises(MismatchError, match=f"supernet of another search: other {differing};"):
            other.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputRefusedError, match="is not a supernet"):
        shot(task).load(path)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_names_the_step_and_keeps_the_file(task, tmp_path):
    path = tmp_path / "supernet.safetensors"
    run = shot(task)
    run.epoch()
    run.save(path)
    content, broken, steps = path.read_bytes(), shot(task), run.task.weights.steps(32)
    forward = broken._forward
    broken._forward = lambda images, gates: forward(images, gates) * (float("nan") if " step 2 " in broken.where else 1)
    with pytest.raises(DivergedError, match=f"the supernet's step 2 of {steps}, epoch 2 of 2"):
        broken.run(path)
    assert path.read_bytes() == content
    again, whole = shot(task), shot(task)
    again.run(path)
    whole.run(None)
    assert same(again.supernet, whole.supernet)


def test_the_parts_learn_what_the_largest_says(task):
    """With labels that mean nothing only the largest sees them; the smallest must follow it, not the labels."""
    run = shot(task, OneShotSchedule(largest=1, epochs=1, draws=0, batch=32))
    images, labels = run.task.weights.take(torch.arange(32))
    seen = []
    run.supernet.register_forward_hook(lambda module, inputs, logits: seen.append(logits))
    run.supernet.train()
    kind, targets, teachers = type(run.task), [], []
    loss, distillation = kind.loss, kind.distillation
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "loss", lambda task, x, y: targets.append(y) or loss(task, x, y))
        patch.setattr(kind, "distillation", lambda task, x, y: teachers.append((x, y)) or distillation(task, x, y))
        run.step(images, labels, alone=False)
    (target,), ((learnt, teacher),) = targets, teachers
    largest, smallest = seen
    assert torch.equal(target, labels)
    assert torch.equal(teacher, largest)
    assert torch.equal(learnt, smallest)
    assert not teacher.requires_grad


def test_bad_settings_are_refused():
    with pytest.raises(UsageError, match="epochs=-1"):
        OneShotSchedule(epochs=-1)


def test_effects_are_what_options_add_in_units_of_the_noise():
    rng = np.random.default_rng(0)
    added = rng.normal(0, 0.05, (len(SPACE.sites), max(SPACE.widths)))
    networks = SPACE.sample(400, rng)
    accuracies = [0.5 + score(added, a) + rng.normal(0, 0.01) for a in networks]
    found = effects(SPACE, [Query(a, 1.0, accuracy) for a, accuracy in zip(networks, accuracies, strict=True)])
    others = SPACE.sample(100, rng)
    expected = np.array([score(added, a) for a in others])
    got = np.array([score(found, a) for a in others])
    assert np.corrcoef(got, expected)[0, 1] > 0.99
    assert np.polyfit(expected, got, 1)[0] == pytest.approx(100, rel=0.15)  # one over the noise


def test_networks_that_are_all_as_good_say_nothing():
    found = effects(SPACE, [Query(a, 1.0, 0.1) for a in SPACE.sample(5, np.random.default_rng(0))])
    assert not found.any()


@pytest.mark.slow
def test_the_rate_falls_along_a_cosine_in_each_of_both_stages(task, monkeypatch):
    run, rates = shot(task, OneShotSchedule(largest=1, epochs=2, draws=0, batch=32, rate=0.4)), []
    monkeypatch.setattr(one_shot, "set_rate", lambda optimizer, rate: rates.append(rate))
    run.run(None)
    steps = run.task.weights.steps(32)
    stages = [np.arange(epochs * steps) / (epochs * steps) for epochs in (1, 2)]
    assert rates == pytest.approx(0.2 * (1 + np.cos(np.pi * np.concatenate(stages))))
