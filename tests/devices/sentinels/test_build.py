"""How the sentinels were made: the recipe still gives what the files hold, and writes none of them again."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from tempograd.devices import sentinels
from tempograd.devices.sentinels import build as recipe
from tempograd.devices.sentinels.build import build


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("kind", sentinels.KINDS)
def test_the_files_hold_what_the_recipe_says(kind, small):
    made, kept = (ModelProto.FromString(content) for content in (build(kind, small=small), read(kind, small)))
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in kept.graph.node]
    assert made.graph.input == kept.graph.input
    for one, other in zip(made.graph.initializer, kept.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))


def read(kind: str, small: bool = False) -> bytes:
    return sentinels.read(kind, small=small)


def test_what_is_there_is_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "path", lambda kind, small=False: tmp_path / f"{kind}{'-small' * small}.onnx")
    (tmp_path / "mixed.onnx").write_bytes(b"kept")
    recipe.main()
    assert (tmp_path / "mixed.onnx").read_bytes() == b"kept"
    assert (tmp_path / "overhead.onnx").read_bytes() == build("overhead")
