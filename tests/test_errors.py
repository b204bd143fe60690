"""Errors carry the exit code that the command line ends with, and tell what is allowed."""

import inspect
import pickle
from pathlib import Path

import pytest

from tempograd import errors


def test_every_error_has_the_exit_code_of_its_table():
    codes = {
        name: kind.exit_code
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.TempogradError)
    }
    told = {}
    for line in errors.__doc__.splitlines():
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if words and words[0] in codes:
            told[words[0]] = int(words[1]) if words[1].isdigit() else None
    assert codes.keys() - {"TempogradError"} == told.keys() - {"TempogradError"}
    for name, code in told.items():
        if code is not None:
            assert codes[name] == code, name
        elif name != "TempogradError":
            assert codes[name] == getattr(errors, name).__mro__[1].exit_code


def test_an_unknown_name_is_told_with_the_nearest_and_all_that_are_allowed():
    error = errors.UnknownNameError("space", "dart", ["mbconv", "darts"])
    assert str(error) == "unknown space 'dart'; allowed: darts, mbconv. Did you mean 'darts'?"
    assert "allowed: none" in str(errors.UnknownNameError("space", "x", []))


def test_of_many_allowed_names_forty_are_shown_and_all_are_counted():
    text = str(errors.UnknownNameError("key", "x", [f"n{i:03}" for i in range(50)]))
    assert "n039" in text
    assert "n040" not in text
    assert "(50 in all)" in text


SENT = [errors.UnknownNameError("space", "dart", ["darts"]), errors.OtherSearchError(Path("a"), "of another search")]


@pytest.mark.parametrize("error", SENT, ids=lambda error: type(error).__name__)
def test_an_error_comes_to_another_process_as_it_was(error):
    """Those that train together raise what the first one met, whatever it was made of."""
    error.silent = True
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert (str(found), found.args, vars(found)) == (str(error), error.args, vars(error))
