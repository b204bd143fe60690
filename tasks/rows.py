"""The rows of each batch that belong to one of several processes which train together.

A batch is run in pieces, one after the other (one piece, unless gradients are accumulated), and each process has an
equal share of every piece. So the mean over processes is the mean over the batch, and BatchNorm sees the same pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .task import Part


@dataclass(frozen=True)
class Turn:
    """Which of several processes, from 0, and how many there are.

    Attributes:
        number: of this process.
        count: of processes.
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


def own_rows(part: Part, turn: Turn) -> Part:
    """Return a part whose shuffled batches hold only the rows of one process; of a process alone, the part itself.

    All processes must give generators in one state: order and augmentation are drawn for whole batches by each. A part
    with a method ``own_rows(turn)`` reads no other rows than these; of any other part batches are made whole and cut.
    """
    if turn.count == 1:
        return part
    made = getattr(part, "own_rows", None)
    return Cut(part, turn) if made is None else made(turn)


@dataclass(frozen=True)
class Cut:
    """A part whose batches are cut to the rows of one process; all else is that of the whole."""

    part: Part
    turn: Turn

    def __len__(self) -> int:
        return len(self.part)

    def steps(self, batch: int) -> int:
        """Return the steps of one pass."""
        return self.part.steps(batch)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of these indices."""
        return self.part.take(index)

    def ordered(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples once, in their own order."""
        return self.part.ordered(batch)

    def batches(
        self, batch: int, generator: torch.Generator, *, augment: bool = False, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's rows of every batch; ``batch`` is the size of the whole."""
        for inputs, targets in self.part.batches(batch, generator, augment=augment, start=start):
            rows = self.turn.rows(len(targets))
            yield inputs[rows], targets[rows]
