"""What may say how good a network is: one finite number, and nothing that only looks like one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import DivergedError, InputRefusedError
from ..metric import SHARE

if TYPE_CHECKING:
    from .task import Task

_ROUNDED = 1e-6  # by which a share may be off
_SHOWN = 100  # characters of what is no figure


def figure(value: Any, what: str) -> float:
    """Return a figure that a task gave, as a float.

    Args:
        value: a number of Python, numpy or torch, or an array or tensor of one.
        what: names it in messages, such as ``the loss of mine.py:MyTask``.

    Raises:
        InputRefusedError: it is NaN or infinite, a truth value, complex, several numbers, or no number at all.

    Example:
        >>> figure(3, "the loss of mine.py:MyTask")
        3.0
    """
    number = _number(value)
    if number is None or not isfinite(number):
        raise _refusal(value, what, "one finite number")
    return number


def score_of(task: Task, value: Any) -> float:
    """Return the main metric of a network, as a task gave it.

    Raises:
        InputRefusedError: it is no figure, see `figure`, or a share below 0 or above 1.
    """
    what = f"the {task.metric.name} of {task.name}"
    number = figure(value, what)
    if task.metric.unit == SHARE and not -_ROUNDED <= number <= 1 + _ROUNDED:
        raise _refusal(value, what, "a share from 0 to 1, as the unit of its metric says")
    return number


def scores_of(task: Task, values: Mapping[str, Any]) -> dict[str, float]:
    """Return every metric of a network by name, as a task gave them.

    Raises:
        InputRefusedError: the main one is not among them, or is no figure, see `figure`; or another is no number. That
            one may be NaN or infinite: nothing is chosen by it.
    """
    main = task.metric.name
    if main not in values:
        raise InputRefusedError(f"{task.name} gave the metrics {', '.join(values) or 'none'}; expected {main} too")
    found = {main: score_of(task, values[main])}
    for name, value in values.items():
        number = _number(value)
        if number is None:
            raise _refusal(value, f"the {name} of {task.name}", "one number")
        found.setdefault(name, number)
    return found


def outputs_of(outputs: Tensor, task: str) -> Tensor:
    """Return outputs ``(b, ...)`` of a network; minus infinity may stand for what cannot be.

    Args:
        outputs: on any device.
        task: Name of the task, for the message.

    Raises:
        DivergedError: one is NaN or infinite: no metric of them would mean anything.
    """
    if not bool(outputs.amax().isfinite()):
        raise DivergedError(
            f"a network gives NaN or infinity for examples of {task}: its training diverged, and it has no score; what "
            "was saved before is kept. Try a lower learning rate"
        )
    return outputs


def _number(value: Any) -> float | None:
    """Return a value as a float, None where it is no single number."""
    try:
        single = value.item() if hasattr(value, "item") else value
        return float(single) if not isinstance(single, bool) and isinstance(single, Real | Decimal) else None
    except (ArithmeticError, RuntimeError, TypeError, ValueError):  # several numbers, or one that no float holds
        return None


def _refusal(value: Any, what: str, allowed: str) -> InputRefusedError:
    shown = " ".join(repr(value).split())
    return InputRefusedError(
        f"{what} is {shown[:_SHOWN]}{'...' if len(shown) > _SHOWN else ''}; allowed: {allowed}. Mend the task and give "
        "the same command again: what was measured is kept"
    )
