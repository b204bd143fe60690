"""What every layer of common networks states; each file's layers are put to the test by the file of its name."""

from importlib import import_module
from pathlib import Path

import pytest

import tempograd
from tempograd.spaces.common.convolution import Convolution
from tempograd.spaces.common.layer import Layer, decided
from tempograd.spaces.layers import Width

from .alone import layers_of


def test_every_file_with_layers_has_a_test_that_takes_all_of_them():
    for path in (Path(tempograd.__file__).parent / "spaces" / "common").glob("[!_]*.py"):
        if layers_of(import_module(f"tempograd.spaces.common.{path.stem}")):
            assert f"layers_of({path.stem})" in (Path(__file__).parent / f"test_{path.stem}.py").read_text()


def test_widths_in_a_layers_arguments_are_decided_also_in_tuples():
    width = Width.of("w", (4, 8))
    assert decided((width, (width, 3), True, "w"), {"w": 0}) == (4, (4, 3), True, "w")
    conv = Convolution(width, (3, 3), (1, 1), (1, 1), (1, 1))
    assert conv.resolved({"w": 0}).out == 4
    assert conv.resolved({"w": 1}) == Convolution(8, (3, 3), (1, 1), (1, 1), (1, 1))


def test_a_layer_without_a_reading_says_which():
    with pytest.raises(NotImplementedError, match="Layer has no torch reading"):
        Layer().run()
    with pytest.raises(NotImplementedError, match="Layer has no ONNX reading"):
        Layer().emit(None, None)
