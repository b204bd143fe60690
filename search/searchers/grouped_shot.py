"""One supernet whose steps take networks of all sizes in turn, and learn from the largest as it was when trained alone.

The largest network is trained first, and kept as it is then: the teacher. After that each step trains a random network
of one group of sizes, the groups in turn. It learns the labels, and what the teacher says, the distance from which is
added. Drawn uniformly, nearly all networks would be of middle size, and the smallest and largest hardly trained.

Not as published: the teacher there is a network of its own, maps of classes are learnt by SGD, and the distance is the
squared one of raw outputs. With AdamW one rate does for classes, maps and heat maps. All of them are logits here, over
classes or over places, and a number added to all of these says nothing: the distance is the one that the task states.

References:
    Cheng et al., *ScaleNAS*, arXiv:2011.14584.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...spaces.network import inherit
from ...spaces.space import SearchSpace
from ...tasks.task import Task
from .. import processes
from ..laws.grouped import Grouped, by_size
from ..steps import check_finite, move
from .one_shot import OneShot, OneShotSchedule


@dataclass(frozen=True)
class GroupedSchedule(OneShotSchedule):
    """How the supernet is trained: as its base says, but for AdamW, which has no momentum to set.

    Attributes:
        draws: networks a step.
        rate: Learning rate of AdamW at the start; it falls to 0 along a cosine in each stage.
        decay: Weight decay of AdamW.
        distillation: weight of the task's distance from the teacher's outputs.
    """

    draws: int = 1
    rate: float = 3e-3
    decay: float = 1e-4
    distillation: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1 or self.largest < 1:
            raise UsageError(f"largest={self.largest}, draws={self.draws}; allowed: both from 1")


class GroupedShot(OneShot):
    """The training of one supernet by groups of sizes.

    Args:
        space: whose supernet it is.
        task: fitted to the space.
        schedule: stages and rates of the training.
        seed: seed of weights, order, augmentation and draws.
        compute: torch device.
    """

    schedule: GroupedSchedule

    def __init__(self, space: SearchSpace, task: Task, schedule: OneShotSchedule, *, seed: int, compute: str) -> None:
        super().__init__(space, task, schedule, seed=seed, compute=compute)
        self.optimizer = torch.optim.AdamW(self.supernet.parameters(), schedule.rate, weight_decay=schedule.decay)
        self.groups = Grouped(space, groups=by_size(space))
        (whole,) = space.decode(torch.cat([self.largest[site.name] for site in space.sites]).numpy())
        self.teacher = space.to_torch(whole).to(compute).eval().requires_grad_(requires_grad=False)

    def epoch(self) -> float:
        """Train one epoch; return the mean loss of the networks trained, by the labels."""
        loss = super().epoch()
        if self.done == self.schedule.largest:
            inherit(self.teacher, self.supernet)
        return loss

    def step(self, images: Tensor, labels: Tensor, *, alone: bool) -> float:
        """Take one step: the largest network, or the networks whose turn it is, gradients summed."""
        if alone:
            return super().step(images, labels, alone=True)
        self.optimizer.zero_grad()
        with torch.no_grad():
            told = self.teacher(images)
        means: list[float] = []
        for _ in range(self.schedule.draws):
            outputs = self._forward(images, self.groups.draw(self.generator, tau=1.0))
            by_labels = self.task.loss(outputs, labels)
            loss = by_labels + self.schedule.distillation * self.task.distillation(outputs, told)
            check_finite(processes.mean(loss.detach()), self.where)
            loss.backward()
            means.append(float(processes.mean(by_labels.detach())))
        processes.average_gradients(self.supernet.parameters())
        move(self.optimizer, self.schedule.clip)
        return sum(means) / len(means)

    def moving(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {**super().moving(), "groups": self.groups, "teacher": self.teacher}
