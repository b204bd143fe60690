"""Training that can be stopped between two epochs: one file holds its tensors and its state.

Tensors are in safetensors, the rest is JSON in their metadata. Going on from a file gives bit for bit what an
undisturbed run gives, so whatever trains says everything that moves: weights, statistics, optimisers, the generator.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ... import outputs
from ...errors import InputRefusedError, MismatchError
from ..progress import Progress

is_checkpoint = outputs.tensors_with("state")


class Resumable(ABC):
    """Training in epochs, saved after each.

    Attributes:
        kind: what the file holds, in a word, for errors.
        stage: what progress is told under.
        schema: of the state in the file; a file that names none is of schema 1.
        generator: where everything random comes from.
    """

    kind: ClassVar[str]
    stage: ClassVar[str]
    schema: ClassVar[int] = 1
    generator: torch.Generator

    @property
    @abstractmethod
    def done(self) -> int:
        """Return the number of epochs trained."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Return the number of epochs in all."""

    @abstractmethod
    def advance(self) -> Mapping[str, float]:
        """Train one epoch; return numbers that tell how it went."""

    @abstractmethod
    def moving(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        """Return by name everything that training moves and that holds tensors."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what else training moves, JSON-ready."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what two trainings must share for one to go on from the other's file, JSON-ready."""

    def train(self, path: Path | None, progress: Progress) -> None:
        """Train the epochs that are left, saving after each; a file that is there is gone on from.

        Raises:
            InputRefusedError: the file cannot be read.
            MismatchError: it is of another training.
            DivergedError: a loss or gradient is no number any more; the file of the epoch before is kept.
        """
        if path is not None and path.exists():
            self.load(path)
        while self.done < self.total:
            numbers = self.advance()
            if path is not None:
                self.save(path)
            progress(self.stage, self.done, self.total, numbers)

    def save(self, path: Path) -> None:
        """Write the file; whoever reads meanwhile sees the old one or the new one, whole.

        Raises:
            UsageError: something else is there.
            StoreError: the disk refuses.
        """
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        for name, part in self.moving().items():
            tensors |= {f"{name}/{key}": value for key, value in _tensors(part).items()}
        state = {"schema": self.schema, "identity": self.identity()} | self.state()
        copies = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        outputs.write({path: save(copies, metadata={"state": json.dumps(state)})}, is_checkpoint)

    def load(self, path: Path) -> None:
        """Take over what a file holds.

        Raises:
            InputRefusedError: the file cannot be read.
            MismatchError: it is of another training; the message says in what they differ.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
                tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise InputRefusedError(f"{path} is not a {self.kind} ({error}); delete it to start anew") from error
        own, other = json.loads(json.dumps(self.identity())), state.get("identity", {})
        differing = [key for key in own | other if own.get(key) != other.get(key)]
        if state.get("schema", 1) != self.schema:
            differing.append("schema")
        if differing:
            raise MismatchError(
                f"{path} is the {self.kind} of another search: other {', '.join(differing)}; delete it or name another "
                "file"
            )
        for name, part in self.moving().items():
            _load(part, {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
        self.generator.set_state(tensors["generator"])
        self.restore(state)


def _tensors(part: nn.Module | torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the tensors of a module by name, of an optimiser by ``parameter/slot``."""
    if isinstance(part, nn.Module):
        return part.state_dict()
    slots: dict[int, dict[str, Tensor | None]] = part.state_dict()["state"]
    return {f"{i}/{key}": value for i, row in slots.items() for key, value in row.items() if value is not None}


def _load(part: nn.Module | torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give a part the tensors that :func:`_tensors` returned."""
    if isinstance(part, nn.Module):
        part.load_state_dict(dict(tensors))
        return
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        parameter, _, slot = key.partition("/")
        slots.setdefault(int(parameter), {})[slot or "momentum_buffer"] = value  # files of before name no slot of SGD
    part.load_state_dict({"state": slots, "param_groups": part.state_dict()["param_groups"]})
