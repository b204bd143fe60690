"""Text, of which the next character or word is to be told; Python's own documentation where no file is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from ...arguments import Beside, Count, Seed
from ...errors import InputRefusedError, UsageError
from ...metric import Metric
from ...spaces.space import SearchSpace
from ..examples import PASSAGE, passage
from ..parts import Example, NumberedPart
from ..task import Input, Meter, Output, Task, check_outputs, metered

_SHARES = (0.7, 0.15)  # of the text, from its beginning: weights and law
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class Windows(NumberedPart[None]):
    """One part of a text, cut into windows that do not overlap: what a network is given, and the same one token on.

    Attributes:
        tokens: ``(n,)`` int64.
        length: tokens of a window.
    """

    tokens: Tensor
    length: int

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length

    def read(self, order: Iterable[Tensor]) -> Iterator[Example]:
        """Yield windows ``(n, length)`` and what follows each of their tokens ``(n, length)``, int64."""
        for index in order:
            places = index[:, None] * self.length + torch.arange(self.length)
            yield self.tokens[places], self.tokens[places + 1]


@dataclass(frozen=True)
class Language(Task):
    """What comes next in a text, in three parts one after the other.

    Attributes:
        name: as it stands in results.
        weights, law, test: the parts.
        class_names: the tokens, by index; the first stands for all that the part ``weights`` has not.
        unit: what a token is.
    """

    name: str
    weights: Windows  # pyright: ignore[reportIncompatibleVariableOverride]
    law: Windows  # pyright: ignore[reportIncompatibleVariableOverride]
    test: Windows  # pyright: ignore[reportIncompatibleVariableOverride]
    class_names: tuple[str, ...]
    unit: str = "characters"

    @property
    def metric(self) -> Metric:  # pyright: ignore[reportIncompatibleVariableOverride]
        return Metric("perplexity", higher_is_better=False, unit="", chance=float(len(self.class_names)))

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input((self.weights.length,), "int64"),)

    @property
    def output(self) -> Output:
        return Output("sequence", len(self.class_names))

    def fitted(self, space: SearchSpace) -> Task:
        """Return the task: a space takes its windows whole, or one symbol a step and is run along them."""
        check_outputs(self, space)
        takes = tuple(space.graph.input_shape)
        if takes not in {(1,), self.inputs[0].shape}:
            raise UsageError(
                f"{self.name} gives {self.weights.length} tokens at once, {space.spec} takes {takes}; allowed: 1, or "
                f"all of them: set length={takes[0]} in the task"
            )
        return self

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        return metered(self.meter(), outputs, targets)

    def examples(self, network: nn.Module, compute: str = "cpu") -> Mapping[str, Any]:
        windows = -(-PASSAGE // self.test.length)
        inputs, targets = self.test.take(torch.arange(min(windows, len(self.test))))
        joint = "" if self.unit == "characters" else " "
        with torch.no_grad():
            return passage(network, inputs, targets, self.class_names, joint, compute)

    def meter(self) -> Meter:
        return Surprise("bits per character" if self.unit == "characters" else "bits per word")


@dataclass
class Surprise:
    """Adds up how unlikely a network holds what comes: perplexity is the exponential of the mean."""

    bits: str
    total: float = 0.0
    seen: int = 0

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.total += float(F.cross_entropy(outputs.double(), targets, reduction="sum"))
        self.seen += targets.numel()

    def values(self) -> dict[str, float]:
        mean = self.total / self.seen
        return {"perplexity": exp(min(mean, 700.0)), self.bits: mean / log(2)}


def text(
    path: Path | None = None,
    *,
    unit: Literal["characters", "words"] = "characters",
    length: Annotated[int, Meta(ge=2, le=65_536)] = 64,
    words: Annotated[int, Meta(ge=2, le=1_000_000), Beside("unit", "words")] = 8192,
    limit: Count | None = None,
    seed: Seed = 0,
) -> Language:
    """Read a text file, in UTF-8; without one, the text of Python's own documentation that comes with Python.

    The first 70 % train networks, the next 15 % validate, the rest is the test. Perplexity counts, less is better; bits
    per character, or per word, stand beside it. A recurrent network is run along each window from an empty state, in
    training and in the score alike: back-propagation is truncated at ``length``.

    Args:
        path: the file.
        unit: what comes next: ``characters`` or ``words``.
        length: tokens that a network is given at once.
        words: Words of the vocabulary, the most frequent ones; with ``unit=words`` only.
        limit: characters that are kept, from the beginning.
        seed: Not used, since a text is not shuffled into parts.
    """
    content = _content(path)[:limit]
    pieces: list[str] = list(content) if unit == "characters" else content.split()
    ends = [round(_SHARES[0] * len(pieces)), round(sum(_SHARES) * len(pieces))]
    if min(ends[0], ends[1] - ends[0], len(pieces) - ends[1]) < 2 * length:
        raise InputRefusedError(
            f"{path or 'the text'} has {len(pieces)} {unit}: too few for windows of {length}, of which each part needs "
            "two; take a longer text, or a smaller length"
        )
    counted = Counter(pieces[: ends[0]])
    known = sorted(counted) if unit == "characters" else sorted(word for word, _ in counted.most_common(words - 1))
    number = {piece: index for index, piece in enumerate(known, 1)}
    tokens = torch.from_numpy(np.array([number.get(piece, 0) for piece in pieces], np.int64))
    parts = [Windows(tokens[a:b], length) for a, b in zip((0, *ends), (*ends, len(pieces)), strict=True)]
    name = f"text:{path}" if path else "text"
    suffix = "" if limit is None else f",limit={limit}"
    return Language(name + suffix, *parts[:3], class_names=(_UNKNOWN, *known), unit=unit)


def _content(path: Path | None) -> str:
    if path is None:
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in sorted(topics))
    file = Path(path)
    if not file.is_file():
        raise InputRefusedError(f"{file} is no file; name a text file")
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputRefusedError(f"{file} is larger than {_MOST_BYTES / 2**30:.0f} GiB; cut it, or set limit")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputRefusedError(f"{file} cannot be read ({error.strerror}); name a text file") from error
    except UnicodeDecodeError as error:
        raise InputRefusedError(f"{file} is not UTF-8 (byte {error.start}); convert it first") from error


TASK = text
