"""Who accepts which flag of ``search``: one table, by which a flag that would be ignored is refused with the reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .. import registry
from ..errors import UsageError
from ..search.method import Method


@dataclass(frozen=True)
class Flag:
    """Who accepts a flag.

    Attributes:
        device, table: whether a search on a device accepts it, and one on a table.
        lacks: what a method lacks that does not accept it; empty where all accept it.
        predicted: whether on a device it is accepted only where a predictor prices networks.
    """

    device: bool = True
    table: bool = False
    lacks: str = ""
    predicted: bool = False


FLAGS = {
    "compute": Flag(),
    "cost": Flag(),
    "device": Flag(),
    "epochs": Flag(lacks="has no epochs"),
    "finalists": Flag(lacks="trains nothing that could name others"),
    "lam": Flag(),
    "latency-rows": Flag(device=False, table=True),
    "overwrite": Flag(table=True),
    "plan": Flag(),
    "predictor": Flag(predicted=True),
    "proxy": Flag(lacks="trains no supernet"),
    "queries": Flag(table=True, lacks="asks for no accuracies"),
    "random": Flag(),
    "store": Flag(),
    "supernet": Flag(lacks="trains no supernet that serves every target"),
    "target-ms": Flag(table=True),
    "train-epochs": Flag(),
    "train-threads": Flag(),
    "upper-bound": Flag(table=True, predicted=True),
    "where": Flag(device=False, table=True),
}


def check(given: Mapping[str, object], method: Method, *, on_table: bool, costs: Collection[str] = ()) -> None:
    """Refuse what is given and would not be accepted.

    Args:
        given: values by flag without its dashes; None where a flag was not given.
        method: that searches.
        on_table: whether it searches a table.
        costs: what prices networks on a device, see :mod:`.costs`.

    Raises:
        UsageError: a flag is not accepted, the method cannot search a table, or a table has no target.
    """
    there = [name for name, value in given.items() if value is not None]
    if on_table:
        accepted = ", ".join(f"--{name}" for name, flag in FLAGS.items() if flag.table)
        odd = [f"--{name}" for name in there if not FLAGS[name].table]
        if odd or "target-ms" not in there:
            what = f"takes no {', '.join(odd)}" if odd else "needs --target-ms"
            raise UsageError(
                f"a search on a table {what}: latency is learnt from its rows, nothing is trained and nothing timed; "
                f"it takes {accepted}"
            )
        if "proxy" in method.accepts:
            able = ", ".join(_methods(accepting="queries", refusing="proxy"))
            raise UsageError(f"{method.name} trains networks, and a table has no images; use {able}")
    for name in there:
        flag, shown = FLAGS[name], f"--{name}" + ("" if given[name] is True else f" {given[name]}")
        if not on_table and not flag.device:
            raise UsageError(f"{shown} is for a table; write --task and --latency as table:FILE:COLUMN")
        if flag.lacks and name not in method.accepts:
            able = ", ".join(_methods(accepting=name))
            raise UsageError(f"{shown}: {method.name} {flag.lacks}; leave it out, or use {able}")
        if not on_table and flag.predicted and "predictor" not in costs:
            raise UsageError(
                f"{shown}: no predictor prices networks here, but {' and '.join(costs)}; leave it out"
                + ("" if method.table_only else ", or say --cost predictor")
            )


def _methods(*, accepting: str, refusing: str = "") -> list[str]:
    """Return the methods that accept one flag and not another."""
    every = ((name, registry.create("method", name).accepts) for name in registry.names("method"))
    return [name for name, accepts in every if accepting in accepts and refusing not in accepts]
