"""What every task owes: parts that do not overlap, passes that go on where they were, a loss, metrics that agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import pytest
import torch

from .. import registry
from ..tasks.load import load_task
from ..tasks.task import Task


def outputs_of(task: Task, n: int, *, seed: int = 0) -> torch.Tensor:
    """Draw outputs ``(n, ...)`` of the shape that a task asks for, its targets telling what is behind the count."""
    _, targets = task.law.take(torch.arange(n))
    generator = torch.Generator().manual_seed(seed)
    behind = targets.shape[2:] if task.output.kind == "heatmaps" else targets.shape[1:]
    return torch.randn(n, task.output.count, *behind, generator=generator)


class TaskContract:
    """A task has three parts, is the same for the same seed, goes on where it was, and says what is better.

    Attributes:
        specs: Specs of the tasks, small enough to be read in a second. Those of files are written by a subclass's
            fixture ``load`` instead.
    """

    specs: ClassVar[Sequence[str]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test on every spec."""
        if "spec" in metafunc.fixturenames:
            metafunc.parametrize("spec", self.specs)

    @pytest.fixture
    def load(self, spec: str) -> Callable[..., Task]:
        """Return what makes the task, of a seed."""
        return partial(load_task, spec)

    @pytest.fixture
    def task(self, load: Callable[..., Task]) -> Task:
        return load()

    def test_says_what_goes_in_and_out_and_what_counts(self, task: Task) -> None:
        assert all(min(each.shape) >= 1 for each in task.inputs)
        assert task.output.count >= 1
        assert task.name
        assert task.metric.name
        assert not task.class_names or len(task.class_names) == task.output.count
        inputs, targets = task.weights.take(torch.arange(3))
        assert tuple(inputs.shape) == (3, *task.inputs[0].shape)
        assert str(inputs.dtype).removeprefix("torch.") == task.inputs[0].dtype
        assert len(targets) == 3

    def test_a_seed_decides_parts_and_order(self, load: Callable[..., Task]) -> None:
        first, again = load(seed=3), load(seed=3)
        assert [len(first.weights), len(first.law), len(first.test)] == [
            len(again.weights), len(again.law), len(again.test)
        ]  # fmt: skip
        passes = [
            list(task.weights.batches(16, torch.Generator().manual_seed(1), augment=True)) for task in (first, again)
        ]
        for (x, y), (same_x, same_y) in zip(*passes, strict=True):
            assert torch.equal(x, same_x)
            assert torch.equal(y, same_y)

    def test_a_pass_has_the_steps_it_says_and_goes_on_from_any_of_them(self, task: Task) -> None:
        whole = list(task.weights.batches(16, torch.Generator().manual_seed(1), augment=True))
        assert len(whole) == task.weights.steps(16)
        at = len(whole) // 2
        rest = list(task.weights.batches(16, torch.Generator().manual_seed(1), augment=True, start=at))
        assert len(rest) == len(whole) - at
        for (x, y), (same_x, same_y) in zip(whole[at:], rest, strict=True):
            assert torch.equal(x, same_x)
            assert torch.equal(y, same_y)

    def test_an_ordered_pass_holds_everything_once(self, task: Task) -> None:
        for part in (task.law, task.test):
            targets = torch.cat([targets for _, targets in part.ordered(7)])
            assert len(targets) == len(part)
            assert torch.equal(targets, part.take(torch.arange(len(part)))[1])

    def test_parts_share_no_example(self, task: Task) -> None:
        parts = [
            {x.numpy().tobytes() for inputs, _ in part.ordered(64) for x in inputs}
            for part in (task.weights, task.law, task.test)
        ]
        assert parts[0].isdisjoint(parts[1])
        assert parts[0].isdisjoint(parts[2])
        assert parts[1].isdisjoint(parts[2])

    def test_the_loss_is_a_number_with_a_slope(self, task: Task) -> None:
        outputs = outputs_of(task, 4).requires_grad_()
        loss = task.loss(outputs, task.law.take(torch.arange(4))[1])
        loss.backward()
        assert loss.ndim == 0
        assert bool(torch.isfinite(loss))
        assert outputs.grad is not None
        assert float(outputs.grad.abs().sum()) > 0

    def test_a_step_down_the_loss_is_better_by_the_metric(self, task: Task) -> None:
        index = torch.arange(min(16, len(task.law)))
        outputs, targets = outputs_of(task, len(index)), task.law.take(index)[1]
        learnt = outputs.clone().requires_grad_()
        optimizer = torch.optim.Adam([learnt], lr=0.5)
        for _ in range(100):
            optimizer.zero_grad()
            task.loss(learnt, targets).backward()
            optimizer.step()
        name = task.metric.name
        assert task.metric.better(task.metrics(learnt.detach(), targets)[name], task.metrics(outputs, targets)[name])

    def test_metrics_over_batches_are_those_of_the_whole(self, task: Task) -> None:
        outputs, targets = outputs_of(task, 6), task.law.take(torch.arange(6))[1]
        meter = task.meter()
        for part in (slice(0, 2), slice(2, 6)):
            meter.add(outputs[part], targets[part])
        whole = task.metrics(outputs, targets)
        assert task.metric.name in whole
        assert meter.values() == pytest.approx(whole, rel=1e-5)

    def test_a_teacher_that_says_the_same_is_nearest(self, task: Task) -> None:
        outputs = 3 * outputs_of(task, 4)
        other = 3 * outputs_of(task, 4, seed=1)
        assert float(task.distillation(outputs, outputs)) < float(task.distillation(outputs, other))


def needs_no_files(name: str) -> bool:
    """Return whether a task of the registry is made without a path."""
    from inspect import Parameter, signature

    path = signature(registry.load("task", name)).parameters.get("path")
    return path is None or path.default is not Parameter.empty
