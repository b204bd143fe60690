"""``spaces``, ``tasks``, ``methods NAME``: what a name is that a spec may begin with, and the arguments of its spec."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from .. import registry
from .outcome import Outcome, filled, is_table, listed

_ARGUMENT = re.compile(r"(\w+(?:, \w+)*): (.*)")
_NEVER_ASKED = {"law": ("space", "generator", "sites")}  # what a recipe gives its law, and no spec


@dataclass(frozen=True)
class Argument:
    """One argument of a spec.

    Attributes:
        name: as it is given; several that are told together are joined by commas.
        default: as it is written in a spec; empty where there is none, or where it depends on others.
        text: what it is.
    """

    name: str
    default: str
    text: str


@dataclass(frozen=True)
class Entry:
    """A name of a kind, by its docstrings.

    Attributes:
        name: in the registry.
        about: paragraphs of text; of a space, those at the top of its file.
        arguments: in their order, those without a text last.
    """

    name: str
    about: str
    arguments: tuple[Argument, ...]

    @property
    def headline(self) -> str:
        """Return the first sentence of what it is, on one line."""
        first = " ".join(self.about.split("\n\n")[0].split())
        return re.split(r"(?<=[^.]\.) (?=[A-Z])", first)[0]


def entry(kind: str, name: str) -> Entry:
    """Return what is known of a name.

    Raises:
        UnknownNameError: there is none of this kind.

    >>> [argument.name for argument in entry("task", "digits").arguments]
    ['limit', 'seed']
    """
    factory = registry.load(kind, name)
    about, told = _sections(inspect.getdoc(factory) or "")
    if kind == "space":  # what a space is stands at the top of its file
        about, _ = _sections(inspect.cleandoc(getattr(inspect.getmodule(factory), "__doc__", None) or about))
    parameters = inspect.signature(factory).parameters
    defaults = {key: each.default for key, each in parameters.items() if key not in _NEVER_ASKED.get(kind, ())}
    rows: list[Argument] = []
    for names, text in told.items():
        given = [_written(defaults.pop(key)) for key in names.split(", ") if key in defaults]
        if given:
            rows.append(Argument(names, ", ".join(filter(None, given)), text))
    rows += [Argument(key, _written(default), "") for key, default in defaults.items()]
    return Entry(name, about, tuple(rows))


def names(kind: str, name: str | None = None) -> Outcome:
    """List the names of a kind, ``space``, ``task`` and so on, or tell one of them with its arguments.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if name is None:
        found = [entry(kind, each) for each in registry.names(kind)]
        rows = [{kind: one.name, "is": one.headline, "arguments": [a.name for a in one.arguments]} for one in found]
        text = listed([(one.name, _plain(one.headline)) for one in found])
        return Outcome({f"{kind}s": rows}, text, following=f"tempograd {kind}s {found[0].name}")
    one = entry(kind, name)
    arguments = [{"argument": a.name, "default": a.default, "is": a.text} for a in one.arguments]
    heads = [f"{a.name}={a.default}" if a.default else a.name for a in one.arguments]
    told = listed([(head, _plain(a.text) or "-") for head, a in zip(heads, one.arguments, strict=True)])
    text = filled(_plain(one.about)) + (f"\n\narguments, as in {name}:{heads[0]}\n{told}" if heads else "")
    return Outcome({kind: name, "about": one.about, "arguments": arguments}, text)


def _plain(text: str) -> str:
    """Return a text without the marks of code, but tables, whose columns are counted in characters."""
    parts = text.split("\n\n")
    return "\n\n".join(part if is_table(part) else part.replace("``", "`") for part in parts)


def _sections(text: str) -> tuple[str, dict[str, str]]:
    """Return the text of a docstring in Google's style, and its arguments by name."""
    about, _, rest = text.partition("\nArgs:\n")
    told: dict[str, str] = {}
    name = ""
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break  # the next section
        if (found := _ARGUMENT.fullmatch(line.strip())) and len(line) - len(line.lstrip()) == 4:
            name, told[found[1]] = found[1], found[2]
        elif name and line.strip():
            told[name] += f" {line.strip()}"
    about = re.split(r"\n\n?(?:Example|Attributes|Returns|Raises)s?:\n", about)[0]
    return about.strip(), told


def _written(default: Any) -> str:
    """Return a default as a spec has it."""
    if default in (None, inspect.Parameter.empty, "", ()):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.3g}" if isinstance(default, float) else str(default)
