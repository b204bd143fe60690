"""Training that can be stopped between any two steps: one file holds its tensors and its state.

Tensors are in safetensors, the rest is JSON in their metadata. Going on from a file gives bit for bit what an
undisturbed run gives, so whatever trains says everything that moves: weights, statistics, optimisers, the generator.
Where it is in its batches is known here.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ... import outputs
from ...errors import InputRefusedError, OtherSearchError
from ...tasks.rows import Turn, own_rows
from ...tasks.task import Part
from ..processes import by_first, count, first, rank
from ..progress import Progress

is_checkpoint = outputs.tensors_with("state")
_STREAM = "stream "  # before the name of a stream: when its pass began


class Stream:
    """Batches of a part, pass after pass, whose place is kept in few numbers: gone on from, the same ones follow.

    Args:
        part: Part of a task.
        batch: examples a step.
        generator: decides order and augmentation; others may draw from it between two batches.
        augment: whether examples are augmented.
    """

    def __init__(self, part: Part, batch: int, generator: torch.Generator, *, augment: bool = False) -> None:
        self._part, self._batch, self._generator, self._augment = part, batch, generator, augment
        self._left: Iterator[tuple[Tensor, Tensor]] = iter(())
        self.began, self.taken = generator.get_state(), 0

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Return the next batch, of a new pass where one has ended."""
        if self.taken in {0, self._part.steps(self._batch)}:
            self.began, self.taken = self._generator.get_state(), 0
            self._left = self._part.batches(self._batch, self._generator, augment=self._augment)
        self.taken += 1
        return next(self._left)

    def go_to(self, began: Tensor, taken: int) -> None:
        """Go to where another stream was, by the generator's state when its pass began and the batches taken since.

        The generator is left as it is.
        """
        now = self._generator.get_state()
        self._generator.set_state(began)
        self.began, self.taken = began, taken
        if taken:  # the last one that was taken is taken again: what the pass draws at its start is drawn by then
            self._left = self._part.batches(self._batch, self._generator, augment=self._augment, start=taken - 1)
            next(self._left)
        self._generator.set_state(now)


class Resumable(ABC):
    """Training in epochs, saved after each, and between two steps where the last time is long ago.

    Attributes:
        kind: what the file holds, in a word, for errors.
        stage: what progress is told under.
        schema: Schema of the state in the file; a file that names none is of schema 1.
        later: what of its identity files of before do not say; they are gone on from.
        generator: where everything random comes from.
        compute: torch device that batches are handed to.
        save_every_s: seconds of training that an interruption may cost at most.
        step_done: steps of the running epoch that are done.
        tallies: numbers that these have told, by name.
        spent_s: seconds that they took.
        carried: what is kept in the file for whoever reads it, JSON-ready, and is nothing of this training's.
    """

    kind: ClassVar[str]
    stage: ClassVar[str]
    schema: ClassVar[int] = 1
    later: ClassVar[frozenset[str]] = frozenset()
    generator: torch.Generator
    compute: str = "cpu"

    def __init__(self, save_every_s: float = 300.0) -> None:
        self.save_every_s = save_every_s
        self.step_done, self.spent_s = 0, 0.0
        self.tallies: dict[str, list[float]] = {}
        self.carried: Mapping[str, Any] = {}
        self._streams: dict[str, Stream] = {}
        self._places: dict[str, tuple[Tensor, int]] = {}  # of streams that are not open yet
        self._path: Path | None = None
        self._saved_s = perf_counter()

    @property
    @abstractmethod
    def done(self) -> int:
        """Return the number of epochs trained."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Return the number of epochs in all."""

    @property
    def told(self) -> tuple[str, int, int]:
        """Return what progress is told: the stage, how much of it is done, and of how much."""
        return self.stage, self.done, self.total

    @abstractmethod
    def advance(self) -> Mapping[str, float]:
        """Train what is left of the running epoch; return numbers that tell how it went."""

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

    def file(self, folder: Path) -> Path:
        """Return where in a folder this very training is kept: any other one has another name."""
        text = json.dumps(self.identity(), sort_keys=True)
        return folder / f"{sha256(text.encode()).hexdigest()[:24]}.safetensors"

    def train(self, path: Path | None, progress: Progress, *, begins: bool = False) -> None:
        """Train the epochs that are left; a file that is there is gone on from, or, if this begins, replaced.

        Raises:
            InputRefusedError: the file cannot be read.
            OtherSearchError: it is of another training.
            DivergedError: a loss or gradient is no number any more; what was saved last is kept.
        """
        if path is not None and begins:
            self.save(path)
        elif path is not None and by_first(path.exists):
            self.load(path)
        self._path = path
        while self.done < self.total:
            numbers = self.advance()
            if path is not None:
                self.save(path)
            progress(*self.told, numbers)

    def steps(self, part: Part, batch: int, *, pieces: int = 1) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the steps of the running epoch that are left, each with an augmented batch; they may be saved between.

        After the last one, the epoch is to be ended by :meth:`end_epoch`.

        Args:
            part: Part of a task.
            batch: examples a step, of all processes together; each gets its own rows.
            pieces: that a batch will be run in.
        """
        stream, last_s = self.stream("steps", part, batch, augment=True, pieces=pieces), perf_counter()
        for step in range(self.step_done, part.steps(batch)):
            yield (step, *next(stream))
            now_s = perf_counter()
            self.step_done, self.spent_s, last_s = step + 1, self.spent_s + now_s - last_s, now_s
            if self._path is not None and now_s - self._saved_s >= self.save_every_s:
                self.save(self._path)

    def stream(self, name: str, part: Part, batch: int, *, augment: bool = False, pieces: int = 1) -> Stream:
        """Return the running epoch's stream of a name, where it was if the training was gone on from.

        Of several processes each gets its own rows of every batch. Inputs are on the device that computes.
        """
        if name not in self._streams:
            own = own_rows(part, Turn(rank(), count(), pieces), self.compute)
            self._streams[name] = Stream(own, batch, self.generator, augment=augment)
            if name in self._places:
                self._streams[name].go_to(*self._places.pop(name))
        return self._streams[name]

    def end_epoch(self) -> None:
        """Forget what was of the epoch that is over."""
        self.step_done, self.spent_s = 0, 0.0
        self.tallies, self._streams, self._places = {}, {}, {}

    def save(self, path: Path) -> None:
        """Write the file, in one of several processes; whoever reads meanwhile sees the old or the new one, whole.

        Raises:
            UsageError: something else is there.
            StoreError: the disk refuses.
        """
        from safetensors.torch import save

        if not first():
            return
        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        for name, part in self.moving().items():
            tensors |= {f"{name}/{key}": value for key, value in _tensors(part).items()}
        tensors |= {f"{_STREAM}{name}": stream.began for name, stream in self._streams.items()}
        epoch = {
            "step": self.step_done, "tallies": self.tallies, "spent_s": self.spent_s,
            "taken": {name: stream.taken for name, stream in self._streams.items()},
        }  # fmt: skip
        state = {"schema": self.schema, "identity": self.identity(), "epoch": epoch} | self.state()
        state |= {"carried": dict(self.carried)} if self.carried else {}
        copies = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        outputs.write({path: save(copies, metadata={"state": json.dumps(state)})}, is_checkpoint)
        self._saved_s = perf_counter()

    def load(self, path: Path) -> None:
        """Take over what a file holds.

        Raises:
            InputRefusedError: the file cannot be read.
            OtherSearchError: it is of another training; the message says in what they differ.
        """
        state, tensors = by_first(lambda: _read(path, self.kind))
        own, other = json.loads(json.dumps(self.identity())), state.get("identity", {})
        said = (own | other).keys() - (self.later - other.keys())
        differing = [key for key in own | other if key in said and own.get(key) != other.get(key)]
        if state.get("schema", 1) != self.schema:
            differing.append("schema")
        if differing:
            raise OtherSearchError(
                path,
                f"{path} is the {self.kind} of another search: other {', '.join(differing)}; delete it, or keep "
                "this search elsewhere: another --out, or another --supernet where that was given",
            )
        for name, part in self.moving().items():
            _load(part, {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
        self.generator.set_state(tensors["generator"])
        epoch: dict[str, Any] = state.get("epoch", {})  # files of before are of whole epochs
        self.end_epoch()
        self.step_done, self.spent_s = int(epoch.get("step", 0)), float(epoch.get("spent_s", 0))
        self.tallies = {name: list(numbers) for name, numbers in epoch.get("tallies", {}).items()}
        self._places = {name: (tensors[_STREAM + name], int(taken)) for name, taken in epoch.get("taken", {}).items()}
        self.restore(state)


def carried_by(path: Path, kind: str) -> dict[str, Any]:
    """Return what a file carries for whoever reads it; nothing where there is none.

    Raises:
        InputRefusedError: the file cannot be read.
    """
    return by_first(lambda: _read(path, kind)[0].get("carried", {}) if path.exists() else {})


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a file says, and its tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
            return state, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputRefusedError(f"{path} is not a {kind} ({error}); delete it to start anew") from error


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


def forget(folder: Path, names: str = "*.safetensors") -> None:
    """Delete the checkpoints in a folder, and the folder if nothing else is in it.

    Args:
        folder: where they are.
        names: pattern of their names.
    """
    for path in folder.glob(names):
        try:
            ours = is_checkpoint(path)
        except Exception:  # whatever a reader makes of foreign content
            continue
        if ours:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
