"""Training by a task of the user's own, kept when it ends: a search that goes on does not run it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import UsageError
from ..spaces.network import Network
from ..tasks.task import Task
from .searchers.checkpoint import Resumable


class OwnTraining(Resumable):
    """One call of a task's own training: one epoch, of which nobody sees the steps.

    Args:
        network: in eval mode; after training the one that the task gave back.
        task: whose training it is.
        name: Name of the network.
        seed: Seed of the search.
        space: Identity of its space.
    """

    kind = "training"
    stage = "train"

    def __init__(self, network: Network, task: Task, *, name: str, seed: int, space: str) -> None:
        super().__init__()
        self.network, self.task = network, task
        self.generator = torch.Generator()
        self._identity = {"space": space, "network": name, "seed": seed, "task": task.own_training}
        self._done = 0

    @property
    def done(self) -> int:
        return self._done

    @property
    def total(self) -> int:
        return 1

    def advance(self) -> Mapping[str, float]:
        """Have the network trained.

        Raises:
            UsageError: the task gave another module than the network.
        """
        self.network, self._done = same_kind(self.task.trained(self.network), self.task), 1
        return {}

    def moving(self) -> Mapping[str, nn.Module]:
        return {"network": self.network}

    def state(self) -> dict[str, Any]:
        return {"done": self._done}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._done = int(state["done"])

    def identity(self) -> dict[str, Any]:
        return self._identity


def same_kind(found: nn.Module | None, task: Task) -> Network:
    """Return what a task gave back from training.

    Raises:
        UsageError: it is another module than the network it was given.
    """
    if not isinstance(found, Network):
        raise UsageError(f"{task.name} gave back {type(found).__name__} from train; return the network it was given")
    return found
