"""Every argument of every recipe arrives where it works: a recipe made with another value is made of other pieces."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import signature
from types import FunctionType, MethodType

import pytest

from tempograd import registry

BESIDE = {"autoshrink": {"shared": True}}  # what has to be said for others to count
WORDS = {"feed": "direct", "teacher": "mean", "deploy": "inherited"}
CASES = [
    (name, argument)
    for name in registry.names("method")
    for argument in signature(registry.load("method", name)).parameters
]


def leaves(value, path="", seen=()):
    """Yield every value that an object is made of, with its place."""
    if any(value is each for each in seen):
        return
    seen = (*seen, value)
    parts = {}
    if is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        yield path, type(value).__qualname__
    elif isinstance(value, partial):
        parts = {"func": value.func, **{str(i): each for i, each in enumerate(value.args)}, **value.keywords}
    elif isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        parts = {name: cell.cell_contents for name, cell in cells}
        yield path, value.__qualname__
    elif isinstance(value, MethodType):
        parts = {"self": value.__self__}
    elif isinstance(value, Mapping):
        parts = value
    elif isinstance(value, tuple | list):
        parts = dict(enumerate(value))
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts = vars(value)
    else:
        yield path, value
    for name, part in parts.items():
        yield from leaves(part, f"{path}.{name}", seen)


def other(argument, default):
    """Return a value that a recipe does not have by itself."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, str):
        return WORDS[argument]
    if isinstance(default, int):
        return default + 3
    return default / 2 + 0.0123 if default else 0.4321


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_an_argument_reaches_the_pieces_of_the_recipe_as_it_is(name, argument):
    default = signature(registry.load("method", name)).parameters[argument].default
    value, beside = other(argument, default), BESIDE.get(name, {})
    before = dict(leaves(registry.create("method", name, **beside | {argument: default})))
    after = dict(leaves(registry.create("method", name, **beside | {argument: value})))
    changed = {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    changed = {path: found for path, found in changed.items() if not path.startswith(".spec")}
    assert changed, f"{name} does not heed {argument}"
    if not isinstance(value, bool):
        assert value in changed.values(), f"{name}:{argument}={value} became {changed}"
