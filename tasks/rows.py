"""What of each batch a step takes: the rows of one of several processes which train together, on the device it uses.

A batch is run in pieces, one after the other (one piece, unless gradients are accumulated), and each process has an
equal share of every piece. So the mean over processes is the mean over the batch, and BatchNorm sees the same pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .parts import NumberedPart

if TYPE_CHECKING:
    from .task import Part


@dataclass(frozen=True)
class Turn:
    """Which of several processes, from 0, and how many there are.

    Attributes:
        number: Number of this process.
        count: Number of processes.
        pieces: that a batch is run in.
    """

    number: int
    count: int
    pieces: int = 1

    def rows(self, size: int) -> Tensor:
        """Return ``(m,)`` which rows of a batch of so many are this process's.

        >>> Turn(1, 2).rows(8)
        tensor([4, 5, 6, 7])
        >>> Turn(1, 2, pieces=2).rows(8)
        tensor([2, 3, 6, 7])
        """
        pieces = torch.arange(size).chunk(self.pieces)
        own = [len(piece) // self.count for piece in pieces]
        return torch.cat([piece[self.number * n : (self.number + 1) * n] for piece, n in zip(pieces, own, strict=True)])


def own_rows(part: Part, turn: Turn, compute: str = "cpu") -> Part:
    """Return a part whose shuffled batches hold only the rows of one process, their inputs on a torch device.

    All processes must give generators in one state: order and augmentation are drawn for whole batches by each. A part
    with a method ``own_rows(turn)`` reads no other rows than these; of any other part batches are made whole and cut.
    Those of a `parts.NumberedPart` are cut and moved as bytes, and made ready there. For a process alone on a CPU it is
    the part itself.
    """
    made = getattr(part, "own_rows", None) if turn.count > 1 else None
    if made is not None:
        part, turn = made(turn), Turn(0, 1)
    return part if turn.count == 1 and torch.device(compute).type == "cpu" else Cut(part, turn, compute)


def ordered(part: Part, batch: int, compute: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all examples of a part once, in their own order: inputs ``(b, ...)`` on a torch device, and targets."""
    return own_rows(part, Turn(0, 1), compute).ordered(batch)


@dataclass(frozen=True)
class Cut:
    """A part whose batches are cut to the rows of one process, and whose inputs are on a device; else as the whole."""

    part: Part
    turn: Turn
    compute: str = "cpu"

    def __len__(self) -> int:
        return len(self.part)

    def steps(self, batch: int) -> int:
        """Return the steps of one pass."""
        return self.part.steps(batch)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets, ``(n, ...)``, of these indices ``(n,)``."""
        inputs, targets = self.part.take(index)
        return inputs.to(self.compute), targets

    def ordered(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples once, in their own order: inputs and targets ``(b, ...)``."""
        part = self.part
        found = part.kept_in_order(batch) if isinstance(part, NumberedPart) else part.ordered(batch)
        return map(self._placed, found)

    def batches(
        self, batch: int, generator: torch.Generator, *, augment: bool = False, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's rows of every batch, inputs and targets; ``batch`` is the size of the whole."""
        part = self.part
        made = part.kept if isinstance(part, NumberedPart) else part.batches
        for inputs, targets in made(batch, generator, augment=augment, start=start):
            rows = self.turn.rows(len(targets)) if self.turn.count > 1 else slice(None)
            yield self._placed((inputs[rows], targets[rows]))

    def _placed(self, example: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        moved = example[0].to(self.compute), example[1]
        return self.part.ready(moved) if isinstance(self.part, NumberedPart) else moved
