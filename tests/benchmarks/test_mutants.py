"""The table of mutants is of the tree as it is; whether each is noticed is the benchmark's own question."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load():
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "benchmarks" / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


MUTANTS = load().MUTANTS


def test_each_replaces_what_occurs_once_and_names_tests_that_are_there():
    for mutant in MUTANTS:
        text = (ROOT / mutant.file).read_text()
        assert text.count(mutant.old) == 1, f"{mutant.method}: {mutant.mechanism}, in {mutant.file}: {mutant.old}"
        assert mutant.old != mutant.new
        compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
        assert all((ROOT / "tests" / test).is_file() for test in mutant.tests), mutant.tests


def test_no_two_are_one():
    """Recipes may share a mechanism, which the tests of each must notice."""
    assert len({(mutant.file, mutant.old, mutant.new, mutant.tests) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize(
    "method",
    ["la_darts", "densenas", "fbnetv2", "toponas", "msgdas", "proxylessnas", "lightnas", "hardcorenas", "ofa", "gram",
     "autoshrink", "scalenas", "hdas", "egdas", "slim"],
)  # fmt: skip
def test_every_recipe_has_mutants_of_its_own(method):
    assert sum(mutant.method == method for mutant in MUTANTS) >= 5
