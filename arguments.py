"""Arguments by type and range: what may stand in a spec, and what an entry of a registry may be made of.

An entry says what it takes in the annotations of its signature, ``threads: Threads = 1``, ``noise: Share = 0.01``,
``feed: Literal["draw", "sampled"]``; `check` is the one door that holds every value against them. Values of other
types (a space, a table in memory) pass: they cannot be written in a spec, and their entry checks them.

The ranges are ``msgspec``'s, which boards have; they do without pydantic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import wraps
from importlib import import_module
from inspect import Parameter, signature, unwrap
from math import isfinite
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from .errors import UnknownNameError, UsageError

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Few = Annotated[int, Meta(ge=1, le=128)]  # layers, cells, stages: what a graph has as many nodes of
Size = Annotated[int, Meta(ge=1, le=8192)]  # pixels, channels
Classes = Annotated[int, Meta(ge=1, le=100_000)]
Threads = Annotated[int, Meta(ge=1, le=1024)]
Batch = Annotated[int, Meta(ge=1, le=65_536)]
Share = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0, le=1e9)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Seconds = Annotated[float, Meta(gt=0, le=1e7)]

_T = TypeVar("_T")
_Function = TypeVar("_Function", bound=Callable[..., Any])

LATER = {"later": True}
"""Metadata of a field that an entry got after a release: at its default no spec says it, so that old ones hold."""

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
_LARGEST = 2**63 - 1  # of whole numbers without a range: what arrays and files hold


class Beside:
    """Marks, within ``Annotated``, an argument that is heeded only beside some values of another one.

    Args:
        other: Name of the other argument.
        values: that it must have; none: any but 0, empty and false.

    >>> def read(*, unit: str = "letters", words: Annotated[int, Beside("unit", "words")] = 100): ...
    >>> check_heeded(read, ["words"], {"words": 5})
    Traceback (most recent call last):
    tempograd.errors.UsageError: argument words=5 counts only with unit=words, and unit is letters; leave words out
    """

    def __init__(self, other: str, *values: Any) -> None:
        self.other, self.values = other, values

    def holds(self, value: Any) -> bool:
        """Return whether the argument is heeded beside this value of the other one."""
        return value in self.values if self.values else bool(value)

    def words(self, now: Any) -> str:
        """Return the condition in words, where the other one has this value now."""
        values = self.values or ((True,) if isinstance(now, bool) else ())
        if values:
            return f"{self.other}={' or '.join(map(_said, values))}"
        return f"{self.other} above 0" if isinstance(now, int | float) else f"a {self.other}"


def read(text: str) -> Any:
    """Return what a text in a spec says: a whole number, a finite number, true or false, else the text itself.

    >>> [read(text) for text in ("2", "0.5", "true", "nan", "2-3")]
    [2, 0.5, True, 'nan', '2-3']
    """
    for cast in (int, float):
        try:
            value = cast(text)
        except ValueError:
            continue
        if isinstance(value, int) or isfinite(value):
            return value
    return {"true": True, "false": False}.get(text.lower(), text)


def read_all(factory: Callable[..., Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what the texts of a spec say; one of a parameter that takes text and no number stays as it was written."""
    allowed = _annotations(factory)
    values: dict[str, Any] = {}
    for name, text in texts.items():
        types = {_bare(member) for member in allowed.get(name, ())}
        values[name] = text if types & {str, Path} and not types & {int, float, bool} else read(text)
    return values


def check(factory: Callable[..., Any], values: Mapping[str, Any], *, what: str = "") -> None:
    """Hold arguments against the types and ranges that a signature asks for.

    Args:
        factory: a class or function whose parameters are annotated.
        values: argument -> value; those that the signature does not name pass.
        what: whose arguments they are, for the message.

    Raises:
        UsageError: a value of another type or out of its range; the message names argument, value and what is allowed.
    """
    allowed = _annotations(factory)
    for name, value in values.items():
        members = allowed.get(name, ())
        if members and isinstance(value, str | int | float | Path | NoneType) and not _fits(value, members):
            of = f" of {what}" if what else ""
            finite = ", finite" if isinstance(value, float) and not isfinite(value) else ""
            raise UsageError(f"argument {name}={value!r}{of}; allowed: {_told(members)}{finite}")


def check_heeded(
    factory: Callable[..., Any], given: Iterable[str], values: Mapping[str, Any], *, what: str = ""
) -> None:
    """Refuse arguments that nothing would heed beside the others, as their marks `Beside` say.

    Args:
        factory: a class or function whose parameters are annotated.
        given: the arguments that were said.
        values: their values, and those of others that differ from the signature's.
        what: whose arguments they are, for the message.

    Raises:
        UsageError: the message names the argument, what it would need, and what counts in its place.
    """
    marks = dict(_marks(factory))
    for name in given:
        if name not in marks:
            continue
        mark = marks[name]
        now = _value(factory, mark.other, values)
        if mark.holds(now):
            continue
        others = [one for one, its in marks.items() if its.other == mark.other and its.holds(now)]
        counts = f"; with {mark.other}={_said(now)} {' and '.join(others)} count" if others else ""
        of = f" of {what}" if what else ""
        raise UsageError(
            f"argument {name}={_said(_value(factory, name, values))}{of} counts only with {mark.words(now)}, and "
            f"{mark.other} is {_said(now)}; leave {name} out{counts}"
        )


def heeded(factory: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some values that a function takes and would heed beside the others, as its marks `Beside` say.

    >>> def read(*, unit: str = "letters", words: Annotated[int, Beside("unit", "words")] = 100): ...
    >>> heeded(read, {"unit": "letters", "words": 5, "seed": 1})
    {'unit': 'letters'}
    """
    marks, taken = dict(_marks(factory)), signature(factory).parameters
    given = {name: value for name, value in values.items() if name in taken}
    return {
        name: value
        for name, value in given.items()
        if name not in marks or marks[name].holds(_value(factory, marks[name].other, given))
    }


def public(more: str = "") -> Callable[[_Function], _Function]:
    """Let a function that users call refuse keywords that it does not take, and a progress that cannot be called.

    Args:
        more: ``MODULE:NAME`` of the function, within this package, that its ``**options`` go to. Without it, what they
            may be is for the function itself to check.

    >>> @public()
    ... def bake(minutes=30, progress=None): ...
    >>> bake(minuts=20)
    Traceback (most recent call last):
    tempograd.errors.UnknownNameError: unknown argument 'minuts'; allowed: minutes, progress. Did you mean 'minutes'?
    """

    def decorate(function: _Function) -> _Function:
        own = signature(function).parameters
        open_ended = any(one.kind is Parameter.VAR_KEYWORD for one in own.values())

        @wraps(function)
        def called(*arguments: Any, **keywords: Any) -> Any:
            strange = [] if open_ended and not more else sorted(keywords.keys() - own.keys())
            if strange:
                allowed = {name for name, one in own.items() if one.kind is not Parameter.VAR_KEYWORD}
                if more:
                    module, _, name = more.partition(":")
                    taken = signature(getattr(import_module(f"{__package__}.{module}"), name)).parameters
                    allowed |= {one.name for one in taken.values() if one.kind is Parameter.KEYWORD_ONLY}
                if foreign := [name for name in strange if name not in allowed]:
                    raise UnknownNameError("argument", foreign[0], allowed)
            progress = keywords.get("progress")
            if progress is not None and not callable(progress):
                raise UsageError(
                    f"argument progress={progress!r}; allowed: a function of what is done, how much of it, and of how "
                    "much, or nothing"
                )
            return function(*arguments, **keywords)

        return called  # pyright: ignore[reportReturnType] - it takes and returns what the function does

    return decorate


def path(name: str, value: Any) -> Path:
    """Return a path that somebody gave in Python.

    Raises:
        UsageError: it is no path, or an empty text, which would mean the working directory.

    >>> path("store", "run.db").name
    'run.db'
    """
    if not isinstance(value, str | PathLike) or value == "" or "\0" in str(value):
        raise UsageError(f"argument {name}={value!r}; allowed: a path")
    return Path(value)


def several(name: str, values: Any, each: Callable[[str, Any], _T]) -> list[_T]:
    """Return a list that somebody gave in Python; one value alone, such as a text, is a list of one.

    Args:
        name: Name of the argument.
        values: What was given.
        each: Reads one value, such as `path` or `text`.

    Raises:
        UsageError: a value is refused.

    >>> several("quantities", "latency_ms", text), several("sources", ["a.db"], path)
    (['latency_ms'], [PosixPath('a.db')])
    """
    if isinstance(values, str | PathLike) or not isinstance(values, Iterable):
        return [each(name, values)]
    every: Iterable[Any] = values  # pyright: ignore[reportUnknownVariableType]
    return [each(name, value) for value in every]


def text(name: str, value: Any) -> str:
    """Return a text that somebody gave in Python.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str):
        raise UsageError(f"argument {name}={value!r}; allowed: a text")
    return value


def allowed_by(hint: Any, value: Any) -> bool:
    """Return whether a value is of an annotation's types and in its range; values that no spec can hold pass.

    >>> allowed_by(Count | None, 3), allowed_by(Count | None, 0)
    (True, False)
    """
    members = tuple(_members(hint))
    return not members or not isinstance(value, str | int | float | Path | NoneType) or _fits(value, members)


def words_of(hint: Any) -> str:
    """Return in words what an annotation allows.

    >>> words_of(Count | None)
    'a whole number from 1 to 1000000'
    """
    return _told(tuple(_members(hint)))


def check_fields(instance: Any, *, what: str = "") -> None:
    """Hold every field of a dataclass against its annotation.

    Raises:
        UsageError: as `check`.
    """
    names = signature(type(instance)).parameters
    check(type(instance), {name: getattr(instance, name) for name in names}, what=what)


def written(instance: Any) -> str:
    """Return the arguments of a dataclass as a spec says them, ``layers=5,width=8``; empty where it takes none."""
    asked = (f for f in fields(instance) if f.init)
    said = [f for f in asked if not (f.metadata.get("later") and getattr(instance, f.name) == f.default)]
    return ",".join(f"{f.name}={getattr(instance, f.name)}" for f in said)


def told(factory: Callable[..., Any], name: str) -> str:
    """Return in words what an argument may be; empty where a spec cannot hold it.

    >>> from tempograd.registry import load
    >>> told(load("device", "local"), "threads")
    'a whole number from 1 to 1024'
    """
    return _told(_annotations(factory).get(name, ()))


def _told(members: tuple[Any, ...]) -> str:
    return ", or ".join(_words(member) for member in members if member is not NoneType)


def _words(member: Any) -> str:
    if get_origin(_bare(member)) is Literal:
        return " or ".join(map(str, get_args(_bare(member))))
    words = [_WORDS[_bare(member)]]
    extras = get_args(member)[1:] if get_origin(member) is Annotated else ()
    for one in (each for each in extras if isinstance(each, Meta)):
        ends = (("from", one.ge), ("above", one.gt), ("to", one.le), ("below", one.lt))
        words += [f"{word} {int(end) if end == int(end) else end}" for word, end in ends if end is not None]
    return " ".join(words)


def _said(value: Any) -> str:
    """Return a value as a spec says it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bare(member: Any) -> Any:
    return get_args(member)[0] if get_origin(member) is Annotated else member


def _fits(value: Any, members: tuple[Any, ...]) -> bool:
    if isinstance(value, str | Path):
        if "\0" in str(value):
            return False
        if Path in members:
            return True
    if isinstance(value, Path) or (isinstance(value, float) and not isfinite(value)):
        return False
    if isinstance(value, int) and abs(value) > _LARGEST:
        return False
    kinds: Any = Union[tuple(member for member in members if member is not Path)]  # noqa: UP007 - made at run time
    try:
        msgspec.convert(value, kinds)
    except msgspec.ValidationError:
        return False
    return True


def _marks(factory: Callable[..., Any]) -> Iterator[tuple[str, Beside]]:
    for name, members in _annotations(factory).items():
        for member in members:
            extras = get_args(member)[1:] if get_origin(member) is Annotated else ()
            yield from ((name, one) for one in extras if isinstance(one, Beside))


def _value(factory: Callable[..., Any], name: str, values: Mapping[str, Any]) -> Any:
    return values[name] if name in values else signature(factory).parameters[name].default


def _annotations(factory: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return for every parameter the types of it that a spec can hold."""
    function: Any = factory.__init__ if isinstance(factory, type) else unwrap(factory)
    names: dict[str, Any] = getattr(function, "__globals__", {})
    found: dict[str, tuple[Any, ...]] = {}
    for name, parameter in signature(factory).parameters.items():
        if parameter.kind is Parameter.VAR_KEYWORD or parameter.annotation is Parameter.empty:
            continue
        holder = type("Holder", (), {"__annotations__": {name: parameter.annotation}})
        try:
            hint = get_type_hints(holder, globalns=names, include_extras=True)[name]
        except NameError:  # a type that is imported for type checkers only: no spec holds it
            continue
        found[name] = tuple(_members(hint))
    return found


def _members(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, UnionType):
        return [one for member in get_args(hint) for one in _members(member)]
    bare = _bare(hint)
    return [hint] if bare in _WORDS or hint is NoneType or get_origin(bare) is Literal else []
