"""Strict JSON: what is sent is one dataclass, and what is read has exactly its fields, each of its kind, or is refused.

A message is a JSON object in UTF-8 with the fields of one dataclass and its ``schema``; above 1 KiB it is compressed.
A field that came after a release is left out at its default. Fields that are missing, unknown or given twice, numbers
that are none, and whatever is larger than 1 MiB once decompressed are refused, all with `InputRefusedError` and nothing
else.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from math import isfinite
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputRefusedError, UsageError

LIMIT_BYTES = 2**20  # of a message, on the wire and decompressed
PLAIN_BYTES = 2**10  # above, a message is compressed
MAX_DEPTH = 8  # of objects within objects whose fields are free


class NewerSchemaError(InputRefusedError):
    """A message of a version that this one does not know."""


class Schema(Protocol):
    """A dataclass that is sent as a message of its own."""

    SCHEMA: ClassVar[str]


_S = TypeVar("_S", bound=Schema)


def inside(other: str) -> dict[str, str]:
    """Return the metadata of a field that is written into the object of another field, beside that one's own."""
    return {_INSIDE: other}


_INSIDE = "inside"


def encode(message: Schema) -> bytes:
    """Return a message as it stands on the wire.

    Raises:
        InputRefusedError: it holds a number that is none, or is too large.
    """
    try:
        tree = {"schema": message.SCHEMA} | plain(message)
        text = json.dumps(tree, default=plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputRefusedError(f"a {message.SCHEMA} cannot be written: {error}") from error
    if len(text) > LIMIT_BYTES:
        raise InputRefusedError(f"a {message.SCHEMA} of {len(text)} bytes; allowed: up to {LIMIT_BYTES}")
    return text if len(text) <= PLAIN_BYTES else zlib.compress(text, 1)


def decode(data: bytes, kind: type[_S]) -> _S:
    """Read what ``encode`` wrote.

    Raises:
        NewerSchemaError: a version that this one does not know.
        InputRefusedError: anything else that is not exactly such a message.
    """
    try:
        text = _inflate(data).decode()
        tree = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
        if not isinstance(tree, dict):
            raise refused("message", tree, "an object")
        _check_schema(tree.pop("schema", None), kind.SCHEMA)
        if "\\u" in text:
            json.dumps(tree, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
        return _reader(kind)(tree, "message")
    except InputRefusedError as error:
        raise type(error)(f"{kind.SCHEMA} refused: {error}") from error
    except (ValueError, RecursionError, UsageError) as error:  # UsageError: of a value that is checked where it is used
        raise InputRefusedError(f"{kind.SCHEMA} refused: {error}") from error


def plain(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, as they are written; those within are left as they are."""
    later = _later(type(value))
    tree = {name: getattr(value, name) for name in _names(type(value))}
    tree = {name: own for name, own in tree.items() if name not in later or own != later[name]}
    for name, other in _insides(type(value)).items():
        tree[other] = plain(tree[other]) | {name: tree.pop(name)}
    return tree


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, hexadecimal."""
    return sha256(data).hexdigest()


def digest_of(tree: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a tree, in which dataclasses may stand."""
    return digest(json.dumps(tree, default=plain, sort_keys=True, allow_nan=False, separators=(",", ":")).encode())


# -- what a value may be ---------------------------------------------------------------------------------------------


def refused(name: str, found: object, allowed: str) -> InputRefusedError:
    """Return the error that says which value is refused, and what is allowed."""
    return InputRefusedError(f"{name}={str(found)[:80]!r}; allowed: {allowed}")


def match(name: str, text: str, pattern: re.Pattern[str]) -> None:
    """Refuse text that is not, as a whole, what a pattern says."""
    if not pattern.fullmatch(text):
        raise refused(name, text, f"text that matches {pattern.pattern}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number below ``low`` or above ``high``."""
    if not low <= value <= high:
        raise refused(name, value, f"from {low:g} to {high:g}")


# -- bytes -----------------------------------------------------------------------------------------------------------


def _inflate(data: bytes) -> bytes:
    if len(data) > LIMIT_BYTES:
        raise refused("message", f"{len(data)} bytes", f"up to {LIMIT_BYTES}")
    if data[:1] == b"{":
        return data
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, LIMIT_BYTES)
    except zlib.error as error:
        raise InputRefusedError(f"neither JSON nor compressed JSON ({error})") from error
    if not reader.eof or reader.unused_data:
        raise refused("compressed message", f"{len(data)} bytes", f"whole, alone, and up to {LIMIT_BYTES} inflated")
    return text


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


@cache
def _insides(kind: type) -> dict[str, str]:
    return {f.name: f.metadata[_INSIDE] for f in fields(kind) if _INSIDE in f.metadata}


@cache
def _later(kind: type) -> dict[str, Any]:
    """Return the fields that a dataclass got after a release, with their defaults: at those they are not written."""
    return {f.name: f.default for f in fields(kind) if f.metadata.get("later")}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputRefusedError("a field is given twice")
    return found


def _no_number(text: str) -> float:
    raise InputRefusedError(f"{text} is no number")


def _check_schema(found: object, mine: str) -> None:
    if found == mine:
        return
    name = mine.partition("/")[0]
    if isinstance(found, str) and re.fullmatch(rf"{re.escape(name)}/[1-9][0-9]{{0,5}}", found):
        raise NewerSchemaError(
            f"schema {found!r}; this version reads {mine!r}. Upgrade with: pip install --upgrade tempograd"
        )
    raise refused("schema", found, repr(mine))


# -- fields ----------------------------------------------------------------------------------------------------------

_Reader = Callable[[Any, str], Any]


@cache
def _reader(kind: Any) -> _Reader:
    """Return a function that takes a value as JSON gives it and returns it as ``kind``, or refuses it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass_reader(kind)  # pyright: ignore[reportArgumentType]
    if origin in (Union, UnionType):
        (other,) = (a for a in arguments if a is not NoneType)
        inner = _reader(other)
        return lambda value, where: None if value is None else inner(value, where)
    if origin is Literal:
        return lambda value, where: value if value in arguments else _refuse(where, value, f"one of {arguments}")
    if origin is tuple:
        return _sequence_reader(arguments[0])
    if origin is dict:
        return _free_reader if arguments[1] is Any else _mapping_reader(arguments[1])
    return {int: _integer, float: _number, bool: _boolean, str: _text}[kind]


def _dataclass_reader(kind: type) -> _Reader:
    hints = get_type_hints(kind)
    readers = {name: _reader(hints[name]) for name in _names(kind)}
    insides, later = _insides(kind), _later(kind)

    def read(value: Any, where: str) -> Any:
        value = _taken_out(value, insides)
        given: set[str] = set(value) if isinstance(value, dict) else set()
        if not isinstance(value, dict) or given | later.keys() != readers.keys():
            raise refused(where, sorted(given ^ readers.keys()) or value, "exactly its fields; these differ")
        return kind(**{name: reader(value[name], name) for name, reader in readers.items() if name in given})

    return read


def _taken_out(value: Any, insides: Mapping[str, str]) -> Any:
    """Return an object with those fields in it that were written inside its others; anything else as it is."""
    if not isinstance(value, dict):
        return value
    for name, other in insides.items():
        if name in value:
            raise refused(name, value[name], f"it only as a field of {other}")
        host = value.get(other)
        if isinstance(host, dict) and name in host:
            rest = {key: inner for key, inner in host.items() if key != name}
            value = value | {other: rest, name: host[name]}
    return value


def _sequence_reader(item: Any) -> _Reader:
    inner = _reader(item)

    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise refused(where, value, "a list")
        if item is float and set(map(type, value)) == {float} and all(map(isfinite, value)):
            return tuple(value)
        return tuple([inner(v, where) for v in value])

    return read


def _mapping_reader(item: Any) -> _Reader:
    inner = _reader(item)

    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise refused(where, value, "an object")
        return {name: inner(v, where) for name, v in value.items()}

    return read


def _free_reader(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refused(where, value, "an object")
    _check_free(value, where, MAX_DEPTH)
    return value


def _check_free(value: Any, where: str, depth: int) -> None:
    if depth == 0:
        raise refused(where, value, f"objects within objects, {MAX_DEPTH} deep")
    if isinstance(value, int) and not isinstance(value, bool):
        _integer(value, where)
    elif isinstance(value, float):
        _number(value, where)
    elif isinstance(value, Mapping):
        for inner in value.values():
            _check_free(inner, where, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_free(inner, where, depth - 1)


def _refuse(where: str, value: object, allowed: str) -> Any:
    raise refused(where, value, allowed)


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise refused(where, value, "a whole number of 64 bits")
    return value


def _number(value: Any, where: str) -> float:
    if type(value) is int:
        return float(_integer(value, where))
    if type(value) is not float or not isfinite(value):
        raise refused(where, value, "a finite number")
    return value


def _boolean(value: Any, where: str) -> bool:
    return value if isinstance(value, bool) else _refuse(where, value, "true or false")


def _text(value: Any, where: str) -> str:
    return value if isinstance(value, str) else _refuse(where, value, "text")
