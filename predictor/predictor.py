"""The protocols that every latency model fulfils.

Protocols and not base classes: a plug-in or any scikit-learn regressor that predicts milliseconds is a ``Predictor``
without importing this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[np.float64]
State = tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]  # arrays for safetensors, the rest for JSON


@runtime_checkable
class Predictor(Protocol):
    """Arrays in, milliseconds out, by scikit-learn's contract."""

    def fit(self, X: npt.ArrayLike, y_ms: npt.ArrayLike, /, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from encodings ``X (n, d)`` and positive latencies ``y_ms (n,)``.

        ``sample_weight (n,)`` is 1 / relative variance of the label, up to a common factor.
        """
        ...

    def predict(self, X: npt.ArrayLike, /) -> Array:
        """Return the latencies ``(n,)`` in ms of the encodings ``X (n, d)``."""
        ...


@runtime_checkable
class DifferentiablePredictor(Predictor, Protocol):
    """A predictor whose slope a gradient search can follow."""

    @property
    def module(self) -> nn.Module:
        """Return a new module ``(b, d) -> (b,)`` ms, float32, that predicts the same."""
        ...


@runtime_checkable
class SaveablePredictor(Predictor, Protocol):
    """A predictor whose state is named arrays and JSON, so that it can be kept without pickle."""

    def get_state(self) -> State:
        """Return everything that ``predict`` needs."""
        ...

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Self:
        """Restore a predictor.

        Raises:
            InputRefusedError: an array or entry is missing, or of another shape.
        """
        ...
