"""What a search would not heed is refused with the reason, by what the options of its request say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from .. import registry
from ..errors import UsageError
from .choices import HEADS
from .request import SEARCH

if TYPE_CHECKING:
    from ..search.method import Method
    from ..tasks.task import Task

OPTIONS = {one.name: one for one in SEARCH}
OF_TRAINING = ("task", "recipe", "train_epochs", "compute", "proxy", "finalists")
BY_RECIPE = ("recipe", "train_epochs", "compute")


NOT_TIMED = ("device", "store", "plan", "predictor", "cost")  # where latencies are of a table


def check_kind(given: Mapping[str, Any], *, on_table: bool) -> None:
    """Refuse what is given and is for the other kind of search: on a table, or on a device.

    With ``latency`` but no table of accuracies, latencies are of a table and all else is as on a device.

    Args:
        given: options by name.
        on_table: whether a table is searched.

    Raises:
        UsageError: an option is not accepted, or a table has no target.
    """
    if not on_table and "latency" in given:
        odd = [OPTIONS[name].flag for name in NOT_TIMED if name in given]
        if odd:
            raise UsageError(
                f"--latency {given['latency']} and {', '.join(odd)}: latency is learnt from the table and looked up "
                "there, nothing is timed; leave one of both out"
            )
        return
    if not on_table:
        for one in (OPTIONS[name] for name in given):
            if not one.option.device:
                raise UsageError(
                    f"{_shown(one.name, given)} is for a table; write --task and --latency as table:FILE:COLUMN"
                )
        return
    odd = [one.flag for one in SEARCH if one.name in given and not one.option.table]
    if odd or "target_ms" not in given:
        what = f"takes no {', '.join(odd)}" if odd else "needs --target-ms"
        accepted = ", ".join(one.flag for one in SEARCH if one.option.table)
        raise UsageError(
            f"a search on a table {what}: latency is learnt from its rows, nothing is trained and nothing timed; "
            f"it takes {accepted}"
        )


def check(given: Mapping[str, Any], method: Method, *, on_table: bool, costs: Collection[str] = ()) -> None:
    """Refuse what is given and would not be heeded.

    Args:
        given: options by name.
        method: that searches.
        on_table: whether it searches a table.
        costs: what prices networks on a device, see :mod:`.costs`.

    Raises:
        UsageError: an option is not accepted, the method cannot search a table, or a table has no target.
    """
    check_kind(given, on_table=on_table)
    if on_table and method.trains_supernet and "accuracy" not in given:
        able = ", ".join(_methods(lambda one: "queries" in one.accepts and not one.trains_supernet))
        raise UsageError(
            f"{method.name} trains networks, and a table has no images; use {able}, or predict accuracies: --accuracy"
        )
    for name in given:
        about, shown = OPTIONS[name].option, _shown(name, given)
        if about.scratch and method.deploys == "inherited":
            raise UsageError(
                f"{shown}: {method.name} keeps the supernet's weights and trains no network from scratch; leave it "
                f"out{method.or_trained}"
            )
        if about.lacks and name not in method.accepts:
            able = _methods(lambda one, name=name: name in one.accepts)
            who = f"{method.name} with these arguments" if method.name in able else method.name
            others = ", ".join(one for one in able if one != method.name)
            raise UsageError(f"{shown}: {who} {about.lacks}; leave it out, or use {others}")
        if not on_table and "accuracy" in given and name in OF_TRAINING:
            raise UsageError(f"{shown}: with --accuracy nothing is trained, accuracies are predicted; leave it out")
        if not on_table and about.predicted and not {"predictor", "kernels", *HEADS} & set(costs):
            raise UsageError(
                f"{shown}: no predictor prices networks here, but {' and '.join(costs)}; leave it out"
                + ("" if method.table_only else ", or say --cost predictor")
            )


def check_task(given: Mapping[str, Any], task: Task) -> None:
    """Refuse what says how networks are trained where a task trains them itself, or not at all.

    Raises:
        UsageError: an option would not be heeded.
    """
    for name in () if task.by_recipe else BY_RECIPE:
        if name in given and given[name] != OPTIONS[name].default:
            raise UsageError(f"{_shown(name, given)}: {task.name} trains networks itself, or not at all; leave it out")


def _shown(name: str, given: Mapping[str, Any]) -> str:
    value, flag = given[name], OPTIONS[name].flag
    words = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return flag if value is True else f"{flag} {words}"


def _methods(able: Callable[[Method], bool]) -> list[str]:
    """Return the names of the methods that are able to."""
    return [name for name in registry.names("method") if able(registry.create("method", name))]
