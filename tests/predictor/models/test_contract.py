"""Every model of the folder fulfils the same contract; a new file is tested without an edit here."""

import pytest

from tempograd.registry import load, names
from tempograd.testing.models import ModelContract


@pytest.mark.slow
class TestModels(ModelContract):
    names = tuple(names("model"))


def test_all_but_the_trees_are_differentiable():
    sloped = {name for name in names("model") if isinstance(getattr(load("model", name), "module", None), property)}
    assert {"gp", "mlp", "ridge", "lookup"} <= sloped
    assert "trees" not in sloped
