"""The supernet that is trained by groups of sizes: what a step runs, moves and learns from; gone on from bit by bit."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from tempograd.errors import UsageError
from tempograd.search.searchers.grouped_shot import GroupedSchedule, GroupedShot
from tempograd.spaces.network import inherit
from tempograd.spaces.zoo.multibranch import Multibranch
from tempograd.tasks.fit import fit_space
from tempograd.tasks.load import load_task

SPACE = Multibranch(modules="1", width=4, depth=2, size=12, channels=3, output="map", classes=4, side=12)
LARGEST = tuple(len(site.options) - 1 for site in SPACE.sites)
QUICK = GroupedSchedule(largest=1, epochs=2, batch=16)


@pytest.fixture(scope="module")
def task():
    whole = load_task("shapes_segmentation,images=100")
    parts = {name: replace(part, images=part.images[..., 8:20, 8:20], targets=part.targets[..., 8:20, 8:20])
             for name, part in (("weights", whole.weights), ("law", whole.law), ("test", whole.test))}  # fmt: skip
    return replace(whole, **parts)


def shot(task, schedule=QUICK, seed=0):
    return GroupedShot(SPACE, task.fitted(SPACE), schedule, seed=seed, compute="cpu")


def same(one, other):
    return all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def drawn_by(run):
    """Record the architecture of every pass of the supernet."""
    seen = []

    def watch(module, inputs):
        rows = torch.cat([inputs[1][site.name] for site in SPACE.sites])
        seen.extend(SPACE.decode(rows.numpy()))

    run.supernet.register_forward_pre_hook(watch)
    return seen


def test_first_the_largest_alone_then_one_network_a_step(task):
    run = shot(task)
    seen, steps = drawn_by(run), run.task.weights.steps(16)
    run.epoch()
    assert len(seen) == steps
    assert {a.choices for a in seen} == {LARGEST}
    run.epoch()
    assert len(seen) == 2 * steps == run.passes // 16
    many = shot(task, replace(QUICK, draws=3))
    many.epoch()
    seen = drawn_by(many)
    many.epoch()
    assert len(seen) == 3 * steps


def test_a_step_moves_statistics_and_weights_of_the_networks_own_layers_alone(task):
    run = shot(task)
    run.epoch()
    seen = drawn_by(run)
    images, labels = run.task.weights.take(torch.arange(16))
    before = {key: value.clone() for key, value in run.supernet.state_dict().items()}
    run.supernet.train()
    run.step(images, labels, alone=False)  # the group of the smallest
    own = {f"layers.{node.name}" for node in SPACE.raw_graph(seen[-1]).nodes}
    statistics = {key for key, value in run.supernet.state_dict().items()
                  if "running_mean" in key and not torch.equal(value, before[key])}  # fmt: skip
    assert statistics
    assert {key.rpartition(".")[0] for key in statistics} <= own
    assert any("running_mean" in key and key not in statistics for key in before)


def test_the_teacher_is_the_largest_as_it_was_when_trained_alone_and_stays_so(task):
    run = shot(task)
    run.epoch()
    whole = inherit(SPACE.to_torch(SPACE.architecture(LARGEST)), run.supernet)
    assert same(run.teacher, whole)
    run.epoch()
    assert same(run.teacher, whole)
    assert not same(whole, inherit(SPACE.to_torch(SPACE.architecture(LARGEST)), run.supernet))
    assert not run.teacher.training


HEADS = {
    "digits,limit=100": ("classes", lambda maps: maps),
    "shapes_segmentation,images=40": ("map", lambda maps: maps.permute(0, 2, 3, 1).flatten(0, 2)),
    "figures_keypoints,images=40": ("heatmaps", lambda maps: maps.flatten(0, 1).flatten(1)),
}


@pytest.mark.parametrize("spec", HEADS)
def test_the_loss_is_the_tasks_and_its_weighted_distance_from_the_teacher(spec, monkeypatch):
    """Of classes over these, of a map over those of each pixel, of heat maps over all places; of none of raw logits."""
    task, (kind, rows) = load_task(spec), HEADS[spec]
    space = fit_space("multibranch:modules=1,width=4,depth=1", task)
    run = GroupedShot(space, task.fitted(space), QUICK, seed=0, compute="cpu")
    for parameter in run.teacher.parameters():
        parameter.mul_(1.5)
    images, labels = run.task.weights.take(torch.arange(4))
    seen, losses, backward = [], [], torch.Tensor.backward
    run.supernet.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: losses.append(self.detach()) or backward(self))
    assert task.output.kind == kind
    for weight in (0.5, 2.0):
        run.schedule = replace(QUICK, distillation=weight)
        told = run.step(images, labels, alone=False)
        learnt, wanted = rows(seen[-1]).detach(), rows(run.teacher(images)).softmax(dim=1)
        by_labels = float(run.task.loss(seen[-1], labels).detach())
        distance = float(F.cross_entropy(learnt, wanted) + torch.special.xlogy(wanted, wanted).sum(dim=1).mean())
        assert distance > 1e-3
        assert float(losses[-1]) == pytest.approx(by_labels + weight * distance, rel=1e-5)
        assert told == pytest.approx(by_labels, rel=1e-6)


@pytest.mark.slow
def test_training_gone_on_from_a_file_is_bit_for_bit_what_it_was(task, tmp_path):
    """Stopped in the second stage: the teacher and whose turn it is are in the file."""
    whole, first, again = shot(task), shot(task), shot(task)
    whole.run(None)
    first.epoch()
    first.epoch()
    first.save(tmp_path / "supernet.safetensors")
    again.run(tmp_path / "supernet.safetensors")
    for name, part in whole.moving().items():
        if isinstance(part, torch.nn.Module):
            assert same(part, again.moving()[name]), name
    assert int(whole.groups.turn) == 2 * whole.task.weights.steps(16)


def test_a_schedule_without_a_teacher_or_a_network_a_step_is_refused():
    with pytest.raises(UsageError, match="largest=0, draws=1; allowed: both from 1"):
        GroupedSchedule(largest=0)
    with pytest.raises(UsageError, match="draws=0"):
        GroupedSchedule(draws=0)


def test_weights_are_moved_by_adamw_at_one_rate_for_all_tasks(task):
    run = shot(task)
    (group,) = run.optimizer.param_groups
    assert type(run.optimizer) is torch.optim.AdamW
    assert (group["lr"], group["weight_decay"]) == (3e-3, 1e-4)
    assert sum(weight.numel() for weight in group["params"]) == sum(w.numel() for w in run.supernet.parameters())
