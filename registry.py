"""The folders are the registries: one file, one entry, imported when it is asked for.

A spec is a name with arguments, ``darts:layers=5,width=8``; plug-ins of other packages come in through the entry
point group ``tempograd.<folder>`` under the same contracts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from .arguments import check, check_heeded, read, read_all
from .errors import MismatchError, UnknownNameError, UsageError

_FOLDERS = {
    "space": ("spaces.zoo", "SPACE"),
    "device": ("devices.places", "DEVICE"),
    "runtime": ("devices.runtime.engines", "RUNTIME"),
    "model": ("predictor.models", "MODEL"),
    "law": ("search.laws", "LAW"),
    "method": ("search.methods", "METHOD"),
    "task": ("tasks.zoo", "TASK"),
}


_given: dict[tuple[str, str], Any] = {}  # what a user named in this process, by its spec
_asked: dict[tuple[str, str], str] = {}  # and how he named it


def names(kind: str) -> list[str]:
    """Return the sorted names of one kind (``space``, ``device``, ``task`` and so on)."""
    folder, _ = _FOLDERS[kind]
    files = (Path(__file__).parent / folder.replace(".", "/")).glob("[!_]*.py")
    return sorted({file.stem for file in files} | set(_plugins(kind, tuple(sys.path)).names))


@cache
def _plugins(kind: str, _path: tuple[str, ...]) -> EntryPoints:
    """Return what other packages bring; read once for a search path, since every installed package is looked into."""
    return entry_points(group=f"tempograd.{kind}s")


def check_name(kind: str, spec: str) -> None:
    """Refuse a spec whose name no file and no entry point has; nothing is imported. What is a user's own passes.

    Raises:
        UnknownNameError: there is none.
    """
    name = re.split("[:,]", spec, maxsplit=1)[0]
    if "@" not in name and not name.endswith(".py") and name not in names(kind):
        raise UnknownNameError(kind, name, names(kind))


def load(kind: str, name: str) -> Any:
    """Import one entry and return what its module exports for this kind.

    Raises:
        UnknownNameError: no file and no entry point has this name.
    """
    folder, attribute = _FOLDERS[kind]
    if name not in names(kind):
        raise UnknownNameError(kind, name, names(kind))
    plugins = _plugins(kind, tuple(sys.path))
    if name in plugins.names:
        return plugins[name].load()
    return getattr(import_module(f".{folder}.{name}", package=__package__), attribute)


def split_spec(spec: str, bare: str | None = None) -> tuple[str, dict[str, str]]:
    """Split ``name:key=value,key=value`` into a name and arguments as they are written.

    Args:
        spec: the text.
        bare: a key that may be left out at the first argument.

    Raises:
        UsageError: the text is no spec, or a key is given twice.
    """
    name, _, rest = spec.partition(":")
    arguments: dict[str, str] = {}
    for number, part in enumerate(filter(None, rest.split(","))):
        if bare is not None and number == 0 and "=" not in part:
            arguments[bare] = part
            continue
        key, equals, text = part.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"cannot read {part!r} in {spec!r}; write name:key=value,key=value")
        if key in arguments:
            raise UsageError(f"{key} is given twice in {spec!r}; give it once")
        arguments[key] = text
    return name, arguments


def parse_spec(spec: str, bare: str | None = None) -> tuple[str, dict[str, Any]]:
    """Split ``name:key=value,key=value`` into a name and typed arguments; ``bare`` is a key that may be left out.

    >>> parse_spec("darts:layers=5,width=8")
    ('darts', {'layers': 5, 'width': 8})
    >>> parse_spec("farm:pi5,patience_s=60", bare="kind")
    ('farm', {'kind': 'pi5', 'patience_s': 60})
    """
    name, texts = split_spec(spec, bare)
    return name, {key: read(text) for key, text in texts.items()}


def give(kind: str, spec: str, entry: Any, asked: str | None = None) -> None:
    """Keep an entry of the user's own, whose spec is ``NAME@DIGEST:ARGUMENTS``: from now on `create` returns it.

    Args:
        kind: such as ``space``.
        spec: Spec of the entry.
        entry: that he gave.
        asked: the text that he gave it by, if he did.
    """
    _given[kind, spec] = entry
    if asked is not None:
        _asked[kind, spec] = asked


def typed(kind: str, spec: str) -> str:
    """Return how to ask for an entry on a command line: as the user did, where it is his own."""
    return _asked.get((kind, spec), spec)


def _given_again(kind: str, spec: str) -> Any:
    if (kind, spec) in _given:
        return _given[kind, spec]
    own = spec.partition("@")[0]
    others = sorted(other for held, other in _given if held == kind and other.partition("@")[0] == own)
    if others:
        raise MismatchError(
            f"{kind} {own} is {', '.join(others)} now, and {spec} is asked for: it has changed since, or has other "
            "arguments. Give it as it was, or measure anew"
        )
    raise UsageError(
        f"{kind} {spec} is of your own, and opening a file runs no code: give it again, --{kind} FILE.py:{own}, or "
        f"tg.{kind}(...) in Python"
    )


def create(kind: str, spec: str, **extra: Any) -> Any:
    """Create the entry that a spec names, with the spec's arguments; one that forwards them checks them itself.

    An entry of the user's own, ``NAME@DIGEST``, is never loaded here: it is found if he gave it in this process.

    Raises:
        UnknownNameError: no such entry.
        UsageError: an argument that the entry does not take, lacks, or would not heed beside the others; or a value of
            another type or out of its range.
        MismatchError: an entry of the user's own that has changed.
    """
    if "@" in spec.partition(":")[0]:
        return _given_again(kind, spec)
    factory = load(kind, spec.partition(":")[0])
    name, texts = split_spec(spec, getattr(factory, "bare", None))
    return make(kind, name, texts, spec, **extra)


def make(kind: str, name: str, texts: Mapping[str, str], spec: str, **extra: Any) -> Any:
    """Create an entry of arguments as they are written, ``spec`` being what they were read from.

    Raises:
        UnknownNameError, UsageError: as `create`.
    """
    factory = load(kind, name)
    bare = getattr(factory, "bare", None)
    arguments = read_all(factory, texts)
    allowed = signature(factory).parameters
    forwards = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in allowed.values())
    for key in () if forwards else {**arguments, **extra}:
        if key not in allowed:
            raise UnknownNameError(f"argument of {kind} {name}", key, allowed)
    for key in arguments.keys() & extra.keys():
        raise UsageError(f"{key} is given twice, as {arguments[key]} in {spec!r} and as {extra[key]}; give it once")
    given = {**arguments, **extra}
    check(factory, given, what=f"{kind} {name}")
    check_heeded(factory, given, given, what=f"{kind} {name}")
    for key, parameter in allowed.items():
        needed = parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_KEYWORD
        if needed and key not in given:
            shown = key.upper() if key == bare else f"{key}=..."
            raise UsageError(f"{kind} {spec!r} lacks its argument {key}; write {name}:{shown}")
    return factory(**given)
