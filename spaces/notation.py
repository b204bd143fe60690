"""Notations: the ways in which people write an architecture, read by a parser and never evaluated.

Some of them are literals of Python, as published code prints them: lists, dictionaries, calls of a named tuple.
:func:`literal` reads these into parts that know their place in the text, so that a mistake is shown where it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidArchitectureError
from .architecture import Architecture, Site

LONGEST = 20_000  # characters of an architecture; the published ones take some 500
_AROUND = 24  # characters shown before and after a mistake
_SHOWN = 160  # characters of an example


@dataclass(frozen=True)
class Notation:
    """One way in which the architectures of a space are written.

    Attributes:
        name: for people, such as ``genotype of DARTS``.
        pattern: how such a text begins, as a regular expression; no other notation of the space begins so.
        read: text to architecture; it raises what :func:`mistake` makes.
        write: architecture to text.
    """

    name: str
    pattern: str
    read: Callable[[str], Architecture]
    write: Callable[[Architecture], str]

    def matches(self, text: str) -> bool:
        """Return whether a text is meant to be of this notation."""
        return re.match(self.pattern, text) is not None

    def example(self, architecture: Architecture) -> str:
        """Return the architecture as an example, the middle left out where it is long."""
        text = self.write(architecture)
        short = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 45]} ... {text[-40:]}"
        return f"{self.name}: {short}"


def read_any(text: str, notations: Sequence[Notation], *, of: str, example: Callable[[], Architecture]) -> Architecture:
    """Read an architecture in the notation that it is meant to be in.

    Args:
        text: the architecture.
        notations: those of a space.
        of: the space's name, for messages.
        example: makes one of its architectures, which a message shows in all notations.

    Raises:
        InvalidArchitectureError: it is of no notation, or has a mistake, which is shown at its place.
    """
    meant = next((notation for notation in notations if notation.matches(text)), None)
    try:
        if meant is None:
            raise mistake(text, 0, f"no notation of {of} begins so")
        return meant.read(text)
    except InvalidArchitectureError as error:
        shown = example()
        ways = "; or as ".join(notation.example(shown) for notation in notations)
        raise InvalidArchitectureError(f"{error}. Written as {ways}") from error


def by_sites(sites: Sequence[Site], make: Callable[[list[int]], Architecture]) -> Notation:
    """Return the notation that every space has: ``SITE=OPTION;...``, without sites that decide nothing.

    Args:
        sites: Sites of the space.
        make: architecture of the option indices, -1 where none is given.

    Example:
        >>> notation = by_sites([Site("a", ("x", "y"))], lambda choices: Architecture("s", tuple(choices)))
        >>> notation.read("a=y"), notation.write(Architecture("s", (0,)))
        (Architecture(space='s', choices=(1,)), 'a=x')
    """
    places = {site.name: index for index, site in enumerate(sites)}

    def read(text: str) -> Architecture:
        choices = [-1] * len(sites)
        for part, at in spans(text, ";"):
            name, _, option = part.partition("=")
            index = places.get(name.strip())
            if index is None:
                allowed = _some(places)
                raise mistake(text, at, f"no site {name[:40]!r}; allowed: SITE=OPTION with one of {allowed}")
            options = sites[index].options
            if option.strip() not in options:
                why = f"no option {option[:40]!r} at {name}; allowed: {', '.join(options)}"
                raise mistake(text, at + len(name) + 1, why)
            choices[index] = options.index(option.strip())
        return make(choices)

    def write(architecture: Architecture) -> str:
        taken = zip(sites, architecture.choices, strict=True)
        return ";".join(f"{site.name}={site.options[choice]}" for site, choice in taken if choice >= 0)

    return Notation("sites", r"[^\s=({\[|]+=", read, write)


def by_key(number: int, make: Callable[[list[int]], Architecture]) -> Notation:
    """Return the notation of `Architecture.key`: ``0.3.x``, an option index for each of ``number`` sites, x for -1."""

    def read(key: str) -> Architecture:
        parts = key.split(".")
        if not all(part.isdecimal() or part == "x" for part in parts):
            raise InvalidArchitectureError(f"cannot read {key!r} as choices; write {number} numbers joined by dots")
        return make([-1 if part == "x" else int(part) for part in parts])

    return Notation("key", r"(\d+|x)(\.(\d+|x))*$", read, _key)


def _key(architecture: Architecture) -> str:
    return architecture.key


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:12]) + (f", ... ({len(shown)} in all)" if len(shown) > 12 else "")


def mistake(text: str, at: int, why: str) -> InvalidArchitectureError:
    """Return an error that shows a mistake at its place: its character, counted from 1, and what stands around it.

    >>> str(mistake("|none~0|what~0|", 8, "no operation"))
    "character 9, here >>> in '|none~0|>>>what~0|': no operation"
    """
    before, after = text[max(0, at - _AROUND) : at], text[at : at + _AROUND]
    shown = f"{'...' if at > _AROUND else ''}{before}>>>{after}{'...' if at + _AROUND < len(text) else ''}"
    return InvalidArchitectureError(f"character {at + 1}, here >>> in {shown!r}: {why}")


def spans(text: str, separator: str, at: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the parts between separators, with the place of each; ``at`` is that of the text itself."""
    for part in text.split(separator):
        yield part, at
        at += len(part) + len(separator)


@dataclass(frozen=True)
class Part:
    """A literal, or a part of one.

    Attributes:
        value: a number, text, None, a list of parts, or a dictionary of them.
        at: where it begins in the text.
        text: the whole that it is a part of.
        name: Name of the call that a dictionary stands for; empty if it is none.
    """

    value: Any
    at: int
    text: str
    name: str = ""

    def wrong(self, why: str) -> InvalidArchitectureError:
        """Return the error that this part is wrong."""
        return mistake(self.text, self.at, why)

    def items(self, number: int, of: str) -> list[Part]:
        """Return the parts of a list or tuple of a known length.

        Raises:
            InvalidArchitectureError: it is no list, or of another length.
        """
        if not isinstance(self.value, list):
            raise self.wrong(f"expected a list of {number} {of}")
        if len(self.value) != number:
            raise self.wrong(f"{len(self.value)} {of}; expected {number}")
        return self.value

    def fields(self, needed: Sequence[str], optional: Sequence[str] = (), name: str = "") -> dict[str, Part]:
        """Return the parts of a dictionary, or of the call of ``name``, by key.

        Raises:
            InvalidArchitectureError: it is none, a key is missing or unknown.
        """
        if not isinstance(self.value, dict) or self.name != name:
            raise self.wrong(f"expected {name}({', '.join(needed)})" if name else f"expected {{{', '.join(needed)}}}")
        found: dict[Any, Part] = self.value
        if name:  # arguments may stand without names, in order
            found = {needed[key] if isinstance(key, int) and key < len(needed) else key: p for key, p in found.items()}
        for key, part in found.items():
            if key not in needed and key not in optional:
                raise part.wrong(f"unknown {key!r}; allowed: {', '.join([*needed, *optional])}")
        missing = [key for key in needed if key not in found]
        if missing:
            raise self.wrong(f"{missing[0]!r} is missing; needed: {', '.join(needed)}")
        return found


def literal(text: str) -> Part:
    """Return a text as the literal of Python that it is: numbers, strings, lists, dictionaries, one call, ``range``.

    A name before it, as in ``DARTS_V2 = Genotype(...)``, is passed over. Nothing is evaluated.

    Raises:
        InvalidArchitectureError: it is none, or longer than 20,000 characters.
    """
    if len(text) > LONGEST:
        raise InvalidArchitectureError(f"{len(text)} characters; an architecture takes at most {LONGEST}")
    found = re.match(r"\s*\w+\s*=\s*", text)
    code = re.sub(r"\s", " ", text)
    code = " " * found.end() + code[found.end() :] if found else code
    code = re.sub(r"[^\x20-\x7e]", "?", code)  # so that a column is a character
    start = len(code) - len(code.lstrip())
    try:
        tree = ast.parse(code.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = start + max(0, (getattr(error, "offset", None) or 1) - 1)
        raise mistake(text, min(at, len(text)), "a bracket, comma or quote is wrong or missing") from error
    return _part(tree.body, text, start)


def _part(node: ast.expr, text: str, start: int) -> Part:
    at = start + node.col_offset
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return Part(node.value, at, text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return Part(f"-{node.operand.value}", at, text)  # never an option; it is shown as it stands
    if isinstance(node, ast.List | ast.Tuple):
        return Part([_part(item, text, start) for item in node.elts], at, text)
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return Part({key.value: _part(v, text, start) for key, v in pairs if isinstance(key, ast.Constant)}, at, text)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        arguments = [_part(argument, text, start) for argument in node.args]
        if node.func.id == "range":
            bounds = [argument.value for argument in arguments]
            if not all(isinstance(bound, int) and 0 <= bound <= 100 for bound in bounds) or len(bounds) not in (1, 2):
                raise mistake(text, at, "expected range(FROM, TO) with numbers up to 100")
            return Part([Part(value, at, text) for value in range(*bounds)], at, text)
        named = {k.arg: _part(k.value, text, start) for k in node.keywords if k.arg is not None}
        return Part(dict[Any, Part](enumerate(arguments)) | named, at, text, node.func.id)
    raise mistake(text, at, "expected a number, a text in quotes, a list or a dictionary")
