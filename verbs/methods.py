"""``methods``: the search methods, what they need and what they are made of."""

from __future__ import annotations

from .. import registry
from .outcome import Outcome, listed, space_of, table


def methods(space: str | None = None) -> Outcome:
    """List the methods with their papers and pieces; with a space, those that can search it."""
    chosen = None if space is None else space_of(space)
    rows = []
    for name in registry.names("method"):
        method = registry.create("method", name)
        if chosen is None or method.needs.holds(chosen):
            modes = [word for word, able in (("target", method.targets), ("weight", method.weighs)) if able]
            rows.append({
                "method": name, "paper": method.paper, "needs": method.needs.text, **method.pieces, "modes": modes,
                "first_for": method.first_for, "accepts": sorted(f"--{flag}" for flag in method.accepts),
                "cost": "table, flops or parameters" if method.table_only else "any",
            })  # fmt: skip
    columns = ("method", "paper", "law", "objective", "deriver")
    shown = [[str(row.get(column, "")) for column in columns] + [" or ".join(row["modes"])] for row in rows]
    needs = (f"{row['method']} needs {row['needs']}; accepts {', '.join(row['accepts'])}" for row in rows)
    told = (
        f"{row['method']}: read in the paper: {row['read']}; ours: {row['ours']}"
        for row in rows
        if {"read", "ours"} <= row.keys()
    )
    begin = listed([(row["method"], row["first_for"]) for row in rows if row["first_for"]])
    every = table((*columns, "modes"), shown) + "\n\n" + "\n".join([*needs, "", *told]).rstrip()
    text = f"begin with\n{begin}\n\n{every}" if begin else every
    return Outcome({"space": chosen and chosen.spec, "methods": rows}, text)
