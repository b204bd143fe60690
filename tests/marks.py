"""Which tests bear the number of a promise or a fault, and whether each number was put to the test."""

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
KINDS = ("promise", "fault")


@dataclass(frozen=True)
class Outcome:
    """How one test of a number ended: ``passed``, ``failed`` or ``skipped`` with its reason."""

    function: str
    ended: str
    reason: str = ""


def lists() -> dict[str, dict[int, str]]:
    """Return kind -> number -> what it is."""
    known = tomllib.loads((TESTS / "marks.toml").read_text())
    return {kind: {int(number): text for number, text in known[kind].items()} for kind in KINDS}


def reasons() -> dict[tuple[str, int], str]:
    """Return (kind, number) -> pattern of the reasons for which all its tests may skip."""
    known = tomllib.loads((TESTS / "marks.toml").read_text())["skips"]
    return {(name.partition("-")[0], int(name.partition("-")[2])): pattern for name, pattern in known.items()}


def bearers() -> dict[tuple[str, int], set[str]]:
    """Return (kind, number) -> names of the test functions that bear it, as they stand in the files."""
    found: dict[tuple[str, int], set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if not any(f"mark.{kind}(" in text for kind in KINDS):
            continue
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef):
                for one in (mark for decorator in function.decorator_list if (mark := _mark(decorator))):
                    found.setdefault(one, set()).add(function.name)
    return found


def _mark(decorator: ast.expr) -> tuple[str, int] | None:
    if not (isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)):
        return None
    if decorator.func.attr not in KINDS or not isinstance(decorator.args[0], ast.Constant):
        return None
    return decorator.func.attr, int(decorator.args[0].value)


def judge(
    outcomes: Mapping[tuple[str, int], Iterable[Outcome]],
    borne: Mapping[tuple[str, int], set[str]],
    allowed: Mapping[tuple[str, int], str],
) -> list[str]:
    """Return what is wrong: a number whose tests all skipped for a reason that is not recorded.

    A number of which only some tests were run is not judged.
    """
    wrong = []
    for one, ended in sorted(outcomes.items()):
        ended = list(ended)
        if {o.function for o in ended} < borne.get(one, set()) or any(o.ended != "skipped" for o in ended):
            continue
        unknown = {o.reason for o in ended if not re.search(allowed.get(one, "(?!)"), o.reason)}
        if unknown:
            wrong.append(f"{one[0]} {one[1]}: every test was skipped, and marks.toml records no {sorted(unknown)}")
    return wrong
