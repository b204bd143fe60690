"""Training by a recipe: every part does what it says, and a training that was killed goes on bit for bit."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from tempograd.errors import InputRefusedError, UsageError
from tempograd.search.evaluator import check_training
from tempograd.search.teacher import of_module
from tempograd.search.trainer import Trainer, optimizer_of
from tempograd.tasks.load import load_task

from .trainings import NETWORK, SHORT, SPACE, run, same, trainer, weights


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=300").fitted(SPACE)


EVERYTHING = replace(
    SHORT, optimizer="adamw", learning_rate=0.01, warm_up=0.5, accumulate=2, label_smoothing=0.1, ema=0.9,
    decay_all=False, patience=5, precision="bf16",
)  # fmt: skip
HALF = replace(SHORT, precision="fp16", ema=0.5)
MIXED = replace(SHORT, mixup=0.2, cutmix=1.0, rand_augment=2)


STOPS = [(SHORT, 3), (SHORT, 4), (SHORT, 6), (EVERYTHING, 6), (HALF, 5), (MIXED, 5)]


@pytest.mark.slow
@pytest.mark.parametrize(("training", "at"), STOPS, ids=["3", "4", "6", "everything", "fp16", "mixed"])
def test_a_training_that_stops_after_any_step_goes_on_bit_for_bit(task, tmp_path, training, at):
    """Of four steps an epoch: within the first one, between the two, and within the second."""
    training = replace(training, save_minutes=1e-9)
    whole = trainer(task, training)
    whole.run(None, lambda *_: None)
    first, path = trainer(task, training), tmp_path / "t.safetensors"
    step, left = first._step, [at]

    def stopped(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        step(*args)

    first._step = stopped
    with pytest.raises(KeyboardInterrupt):
        first.run(path, lambda *_: None)
    second = trainer(task, training)
    taken, own = [], second._step
    second._step = lambda *args: (taken.append(args[0]), own(*args))
    second.run(path, lambda *_: None)
    assert len(taken) == 2 * task.weights.steps(32) - at
    assert same(weights(whole), weights(second))
    assert whole.history == second.history
    assert whole.passes == second.passes


CHILD = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tempograd import registry
from tempograd.search.evaluator import train
from tempograd.tasks.load import load_task
from tempograd.search.trainer import Trainer
from tempograd.search.training import Training
space = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
step, count = Trainer._step, [int(sys.argv[2])]
def killed(*args):
    if not count[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    count[0] -= 1
    step(*args)
Trainer._step = killed
train(space.architecture((3, 1, 1, 1, 1, 3)), space, load_task("digits,limit=300").fitted(space),
      Training(epochs=2, batch=32, save_minutes=1e-9), seed=0, folder=Path(sys.argv[1]))
"""


@pytest.mark.real
def test_a_training_killed_in_the_middle_of_an_epoch_loses_nothing_that_was_saved(task, tmp_path):
    """A process that is killed by the kernel, in its sixth step of eight."""
    ended = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), "5"], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    told = []
    again = run(task, SHORT, tmp_path, progress=lambda *args: told.append(args))
    assert same(run(task, SHORT).network.arrays(), again.network.arrays())
    assert [args[1] for args in told] == [0, 2]  # the first epoch was not trained again


def test_what_is_finished_in_the_folder_is_not_trained_again(task, tmp_path, monkeypatch):
    one = run(task, SHORT, tmp_path)
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("it was trained again"))
    two = run(task, SHORT, tmp_path)
    assert same(one.network.arrays(), two.network.arrays())
    assert (one.score, one.record, one.passes) == (two.score, two.record, two.passes)
    with pytest.raises(pytest.fail.Exception):
        run(task, replace(SHORT, clip=1.0), tmp_path)


def test_a_batch_in_pieces_gives_the_gradient_of_the_whole(task):
    """Without BatchNorm, which sees the pieces."""
    one, two = trainer(task, SHORT), trainer(task, replace(SHORT, accumulate=4))
    for made in (one, two):
        made.network.eval()
        made._step(0, *task.weights.take(torch.arange(32)))
    for own, other in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.allclose(own.grad, other.grad, atol=1e-5)


def test_scales_and_biases_decay_only_where_they_are_to():
    network = SPACE.to_torch(NETWORK)
    (every,) = optimizer_of(network, SHORT).param_groups
    wide, flat = optimizer_of(network, replace(SHORT, decay_all=False)).param_groups
    assert (every["weight_decay"], wide["weight_decay"], flat["weight_decay"]) == (3e-4, 3e-4, 0.0)
    assert {weight.ndim for weight in wide["params"]} == {2, 4}
    assert {weight.ndim for weight in flat["params"]} == {1}


def test_the_average_of_weights_follows_them_and_is_what_is_kept(task):
    made = trainer(task, replace(SHORT, ema=0.5))
    expected, batches = None, []
    for step in range(3):
        batches = task.weights.take(torch.arange(32 * step, 32 * step + 32))
        made.network.train()
        made._step(step, *batches)
        now = made.network.layers["stem/conv"].weight.detach().clone()
        share = 1 - min(0.5, (1 + step) / (10 + step))
        expected = now if expected is None else torch.lerp(expected, now, share)
    assert torch.allclose(made.kept.layers["stem/conv"].weight, expected)
    assert made.kept is not made.network


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_computes_in_the_precision_that_the_recipe_says(task, precision):
    made, seen = trainer(task, replace(SHORT, precision=precision)), []
    made.network.layers["stem/conv"].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    made._step(0, *task.weights.take(torch.arange(32)))
    assert seen == [torch.bfloat16 if precision == "bf16" else torch.float16]
    assert all(torch.isfinite(weight).all() for weight in made.network.parameters())
    assert made.scaler.is_enabled() == (precision == "fp16")


def test_training_ends_early_and_keeps_the_best_epoch(task):
    """Held-out scores that the test gives: the second epoch is the best, two more bring nothing."""
    scores, states = iter([0.5, 0.7, 0.6, 0.65, 0.9]), []

    def score(network):
        states.append({name: value.numpy().copy() for name, value in network.state_dict().items()})
        return next(scores)

    made = trainer(task, replace(SHORT, epochs=9, patience=2))
    made._held_out = score
    made.run(None, lambda *_: None)
    assert (made.done, made.total) == (4, 4)
    assert made.history["validation"] == [0.5, 0.7, 0.6, 0.65]
    assert same(states[1], weights(made))


def test_held_out_images_of_the_law_part_end_a_training_and_never_those_of_the_test_part(task):
    garbled = replace(task, test=replace(task.test, images=task.test.images.flip(0), labels=task.test.labels * 0))
    one, two = (run(t, replace(SHORT, patience=1)) for t in (task, garbled))
    assert one.record == two.record
    assert same(one.network.arrays(), two.network.arrays())


class Sure(nn.Module):
    """Says one class of every image."""

    def __init__(self, outputs=10):
        super().__init__()
        self.outputs = outputs

    def forward(self, images):
        return nn.functional.one_hot(torch.zeros(len(images), dtype=torch.long), self.outputs) * 20.0


def test_a_teacher_is_learnt_from_as_much_as_the_recipe_says(task):
    alone = run(task, replace(SHORT, teacher_share=1.0), teacher=Sure())
    images, _ = task.test.take(torch.arange(60))
    assert (alone.network(images).argmax(1) == 0).all()
    none = run(task, SHORT)
    assert not (none.network(images).argmax(1) == 0).all()
    with pytest.raises(UsageError, match=r"\(7,\).*same classes"):
        run(task, SHORT, teacher=Sure(7))


def test_the_loss_with_a_teacher_is_the_weighted_sum_at_a_temperature(task):
    made = trainer(task, replace(SHORT, teacher_share=0.25, temperature=2.0), teacher=of_module(Sure()))
    made.network.eval()
    images, labels = task.weights.take(torch.arange(8))
    loss, logits = made._loss(images, labels)
    told = (Sure()(images) / 2).softmax(1)
    soft = (told * (told.log() - (logits / 2).log_softmax(1))).sum(1).mean() * 4
    hard = nn.functional.cross_entropy(logits, labels)
    assert torch.allclose(loss, 0.75 * hard + 0.25 * soft, rtol=1e-5)


def test_a_recipe_that_cannot_be_followed_is_refused_before_any_work(tmp_path):
    for change in ({"teacher": str(tmp_path / "x.onnx")}, {"start": str(tmp_path)}, {"teacher": str(tmp_path)}):
        with pytest.raises(InputRefusedError, match=str(tmp_path)):
            check_training(replace(SHORT, **change), "cpu", supernet=True)


@pytest.mark.parametrize("key", ["mixup", "cutmix", "rand_augment", "label_smoothing"])
def test_a_recipe_for_images_of_classes_is_refused_for_other_tasks_before_any_work(task, key):
    asked = replace(SHORT, **{key: 1 if key == "rand_augment" else 0.1})
    with pytest.raises(UsageError, match=rf"{key}=.* is for images with a class each; shapes_\w+,images=20 asks"):
        check_training(asked, "cpu", supernet=True, task=load_task("shapes_segmentation,images=20"))
    check_training(replace(SHORT, label_smoothing=0.1), "cpu", supernet=True, task=task)


@pytest.mark.parametrize("change", [{"teacher_share": 0.9}, {"temperature": 2.0}])
def test_how_to_learn_from_a_teacher_is_refused_where_there_is_none(change):
    with pytest.raises(UsageError, match=r"counts only with a teacher, and there is none; leave \w+ out, or name"):
        check_training(replace(SHORT, **change), "cpu", supernet=True)
    check_training(replace(SHORT, **change), "cpu", supernet=True, taught=True)


def test_every_epoch_tells_loss_and_accuracy(task):
    told = []
    done = run(task, replace(SHORT, validate=True), progress=lambda *args: told.append(args))
    assert [args[:3] for args in told] == [("train", 0, 2), ("train", 1, 2), ("train", 2, 2)]
    assert set(told[-1][3]) == {"loss", "accuracy", "validation"}
    assert told[-1][3]["validation"] == done.validation_score == done.record["history"]["validation"][-1]
    assert done.record["recipe"]["epochs"] == 2
