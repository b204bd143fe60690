"""Every argument of every recipe arrives where it works: a recipe made with another value is made of other pieces."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import signature
from types import FunctionType, MethodType

import pytest

from tempograd import registry
from tempograd.errors import UsageError

BESIDE = {  # what has to be said for others to count
    ("autoshrink", "supernet_epochs"): {"shared": True}, ("autoshrink", "batch"): {"shared": True},
    ("gram", "train_epochs"): {"shared": False}, ("slim", "draws"): {"epochs": 1}, ("slim", "batch"): {"epochs": 1},
}  # fmt: skip
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
    value, beside = other(argument, default), BESIDE.get((name, argument), {})
    before = dict(leaves(registry.create("method", name, **beside | {argument: default})))
    after = dict(leaves(registry.create("method", name, **beside | {argument: value})))
    changed = {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    changed = {path: found for path, found in changed.items() if not path.startswith(".spec")}
    assert changed, f"{name} does not heed {argument}"
    if not isinstance(value, bool):
        assert value in changed.values(), f"{name}:{argument}={value} became {changed}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gram:shared=false,epochs=3", "epochs=3 of method gram counts only with shared=true, and shared is false; "
                                       "leave epochs out; with shared=false train_epochs count"),
        ("gram:shared=false,batch=8", "batch=8 of method gram counts only with shared=true"),
        ("gram:shared=true,train_epochs=9", "train_epochs=9 of method gram counts only with shared=false"),
        ("gram:train_epochs=9", "train_epochs=9 of method gram counts only with shared=false, and shared is true"),
        ("autoshrink:supernet_epochs=3", "supernet_epochs=3 of method autoshrink counts only with shared=true"),
        ("autoshrink:batch=8", "batch=8 of method autoshrink counts only with shared=true, and shared is false"),
        ("autoshrink:shared=true,epochs=3", "epochs=3 of method autoshrink counts only with shared=false"),
        ("autoshrink:shared=true,patience=3", "patience=3 of method autoshrink counts only with shared=false"),
        ("slim:draws=3", "draws=3 of method slim counts only with epochs above 0, and epochs is 0"),
        ("slim:batch=8", "batch=8 of method slim counts only with"),
        ("msgdas:distillation=0,teacher=mean", "teacher=mean of method msgdas counts only with distillation above 0"),
        ("hdas:feed=direct,draws=8", "draws=8 of method hdas counts only with feed=sampled, and feed is direct"),
        ("la_darts:feed=draw,draws=8", "draws=8 of method la_darts counts only with feed=sampled, and feed is draw"),
    ],
)  # fmt: skip
def test_what_nothing_in_the_recipe_would_heed_is_refused(spec, message):
    with pytest.raises(UsageError, match=f"^argument {message}"):
        registry.create("method", spec)


def test_what_counts_beside_the_others_is_taken():
    for spec in ("gram:epochs=3,batch=8", "gram:shared=false,train_epochs=9", "autoshrink:epochs=3,patience=2",
                 "autoshrink:shared=true,supernet_epochs=3,batch=8", "slim:epochs=1,draws=2,batch=8",
                 "msgdas:teacher=mean", "hdas:draws=8", "la_darts:draws=8"):  # fmt: skip
        registry.create("method", spec)
