"""Options of a verb as fields: type, range, default, unit, help and who accepts them stand in one place.

A group of options is a frozen dataclass whose fields are made by `option`; a request is a dataclass of groups. The
command line (`terminal.takes`), the keywords in Python (`takes_keywords`), the checks (`groups_of`) and the refusals
(`verbs.flags`) are read off the fields. It imports nothing heavy, so that ``--help`` is light.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from inspect import Parameter, signature
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..arguments import allowed_by, read, words_of
from ..errors import UnknownNameError, UsageError

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTION = "option"


@dataclass(frozen=True)
class Option:
    """What is said of an option beside its type, its range and its default value.

    Attributes:
        help: one sentence, without default and range.
        unit: what stands for the value in ``--help``, and what a number counts: ``ms``, ``networks``.
        example: a value, for refusals.
        otherwise: what happens without it, in words, where the default is None.
        names: gives the names to choose from, for ``--help``.
        check: raises a UsageError for a text that is not allowed; it imports nothing heavy.
        device, table: whether a search on a device accepts it, and one on a table.
        lacks: what a method lacks that does not accept it; empty where all accept it.
        predicted: whether on a device it is accepted only where a predictor prices networks.
        scratch: whether it is accepted only where networks are trained from scratch.
        told: whether it is part of what a result is an answer to: with another value it is another search.
    """

    help: str
    unit: str = ""
    example: str = ""
    otherwise: str = ""
    names: Callable[[], Iterable[str]] | None = None
    check: Callable[[str], object] | None = None
    device: bool = True
    table: bool = False
    lacks: str = ""
    predicted: bool = False
    scratch: bool = False
    told: bool = True


def option(help: str, default: Any = MISSING, **rest: Any) -> Any:  # noqa: A002 - the word of every command line
    """Return a field of a group of options; ``rest`` as in `Option`."""
    return field(default=default, metadata={_OPTION: Option(help, **rest)})


@dataclass(frozen=True)
class Field:
    """One option of a request.

    Attributes:
        name: in Python, such as ``target_ms``.
        group: the name of its group in the request.
        title: Title of the group, for people.
        hint: its annotation.
        default: MISSING where it must be given.
        option: what else is said of it.
    """

    name: str
    group: str
    title: str
    hint: Any
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """Return how it is written on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def repeated(self) -> bool:
        """Return whether it may be given several times."""
        return get_origin(self.hint) is tuple

    @property
    def element(self) -> Any:
        """Return the annotation of one value."""
        return get_args(self.hint)[0] if self.repeated else self.hint

    @cached_property
    def types(self) -> frozenset[type]:
        """Return the plain types of one value."""
        return frozenset(_plain(self.element))

    @property
    def help(self) -> str:
        """Return its help text: names, sentence, and what happens without it."""
        names = "" if self.option.names is None else f"{one_of(self.option.names())}: "
        sentence = self.option.help[0].lower() + self.option.help[1:] if names else self.option.help
        repeated = " Repeatable." if self.repeated else ""
        without = self.option.otherwise
        if not without and was_given(self.default) and self.default is not MISSING:
            without = str(self.default)
        least = re.search(r"(from|above) \S+", words_of(self.element)) if self.types & {int, float} else None
        notes = [least[0]] if least else []
        notes += [f"default: {without}"] if without else []
        return names + sentence + repeated + (f" [{'; '.join(notes)}]" if notes else "")

    def read(self, text: str) -> Any:
        """Return what a text on the command line says."""
        return text if self.types & {str, Path} and not self.types & {int, float} else read(text)

    def take(self, value: Any) -> Any:
        """Return a value as the request keeps it.

        Raises:
            UsageError: it is of another type, out of range, or refused by its check.
        """
        if self.repeated:
            several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            return tuple(self._one(one) for one in several)
        return self._one(value)

    def _one(self, value: Any) -> Any:
        odd = isinstance(value, (list, tuple, dict, set)) or (isinstance(value, float) and not isfinite(value))
        if odd or not allowed_by(self.element, value):
            unit = f" ({self.option.unit})" if float in self.types and self.option.unit else ""
            example = f", such as {self.option.example}" if self.option.example else ""
            shown = repr(value) if isinstance(value, str) and self.read(value) != value else value  # '1.5' is no number
            raise UsageError(f"{self.flag} {shown}; allowed: {words_of(self.element)}{unit}{example}")
        if self.option.check is not None and isinstance(value, str):
            self.option.check(value)
        if Path in self.types and isinstance(value, str):
            return Path(value)
        return float(value) if float in self.types and type(value) is int else value


def one_of(names: Iterable[str]) -> str:
    """Return names as a choice: ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def fields_of(request: type) -> Iterator[Field]:
    """Yield every option of a request, group by group."""
    for name, group in get_type_hints(request, include_extras=True).items():
        hints = get_type_hints(group, include_extras=True) if hasattr(group, "title") else {}
        for one in fields(group) if hints else ():
            about: Option = one.metadata[_OPTION]
            yield Field(one.name, name, group.title, hints[one.name], one.default, about)


def was_given(value: Any) -> bool:
    """Return whether an argument says anything: None, False and no values do not."""
    return value is not None and value is not False and not (isinstance(value, (list, tuple)) and not value)


def groups_of(request: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the groups of a request, made of what is given; everything else has its default.

    Raises:
        UsageError: a name that is no option, or a value that its option does not allow.
    """
    known = {one.name: one for one in fields_of(request)}
    for name in given:
        if name not in known:
            raise UnknownNameError("argument", name, known)
    taken = {name: known[name].take(value) for name, value in given.items() if was_given(value)}
    if lacking := [name for name, one in known.items() if one.default is MISSING and name not in taken]:
        raise UsageError(f"argument {lacking[0]} is not given; {known[lacking[0]].option.help}")
    kinds = get_type_hints(request)
    return {
        group: kinds[group](**{name: value for name, value in taken.items() if known[name].group == group})
        for group in dict.fromkeys(one.group for one in known.values())
    }


def takes_keywords(request: type) -> Callable[[_Function], _Function]:
    """Let a function's ``**options`` be told as what they are: the options of a request that it does not name."""

    def decorate(function: _Function) -> _Function:
        own = signature(function)
        *named, _ = own.parameters.values()
        more = [
            Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=one.hint)
            for one in fields_of(request)
            if one.name not in own.parameters
        ]
        setattr(function, "__signature__", own.replace(parameters=[*named, *more]))  # noqa: B010 - no attribute of its type
        return function

    return decorate


def _plain(hint: Any) -> Iterator[type]:
    if get_origin(hint) is Annotated:
        yield from _plain(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for member in get_args(hint):
            yield from _plain(member)
    elif hint in (int, float, bool, str, Path):
        yield hint
