"""Opening a foreign network in a limited process; the process is real."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tempograd.devices.worker import opening
from tempograd.errors import InputRefusedError, UsageError

from ...graphs.models import convolution, make


@pytest.fixture
def written(tmp_path):
    def write(model, name="model.onnx"):
        path = tmp_path / "given" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return write


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_a_file_that_can_be_timed_as_it_is_is_not_copied(written, scratch):
    path = written(convolution())
    found = opening.opened(path, {}, scratch)
    assert found.path == path
    assert not list(scratch.iterdir())
    assert found.facts.parameters == 108


def test_open_sizes_are_fixed_in_a_copy_with_its_external_weights(written, scratch):
    model = convolution(sizes=("n", 3, "h", "w"))
    path = written(b"")
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    found = opening.opened(path, {"x": (1, 3, 9, 9)}, scratch)
    assert found.path == scratch / "network.onnx"
    assert found.facts.outputs[0].shape == (1, 4, 9, 9)
    inputs = onnx.load(found.path)
    assert inputs.graph.initializer[0].dims == [4, 3, 3, 3]
    assert np.all(onnx.numpy_helper.to_array(inputs.graph.initializer[0]) == 1)


@pytest.mark.slow
def test_a_light_copy_has_the_same_identity_and_no_weights_of_its_own(written, scratch):
    model = convolution(channels=64)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((64, 3, 3, 3), np.float32), "w"))
    path = written(model)
    whole = opening.opened(path, {}, scratch)
    light = opening.opened(path, {}, scratch, light=True)
    assert light.facts == whole.facts
    assert light.path == scratch / "network.onnx"
    assert not np.all(onnx.numpy_helper.to_array(onnx.load(light.path).graph.initializer[0]) == 1)


def broken(**entries):
    model = convolution()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


NODE = helper.make_node("Konv", ["x"], ["y"])
ONE = [("x", TensorProto.FLOAT, (2,))], [("y", TensorProto.FLOAT, (2,))]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (b"no network at all", "is no ONNX model"),
        (b"", "no ONNX model: its graph has no nodes|not an ONNX model"),
        (broken(location="gone.bin"), "gone.bin.*No such file"),
        (broken(location="../outside.bin"), "inside the model's directory"),
        (make([NODE], *ONE), "operator 'Konv'"),
        (make([helper.make_node("Mine", ["x"], ["y"], domain="mine")], *ONE), "custom operators|Mine|opset"),
    ],
)
def test_what_cannot_be_timed_is_refused_with_one_line(written, scratch, model, told):
    if not isinstance(model, bytes) and model.graph.node[0].domain:
        model.opset_import.add(domain="mine", version=1)
    with pytest.raises(InputRefusedError, match=told) as raised:
        opening.opened(written(model), {}, scratch)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_file_that_is_not_there_a_folder_and_a_pipe_are_refused(tmp_path, scratch):
    os.mkfifo(tmp_path / "pipe")
    for path, told in (
        (tmp_path / "gone.onnx", f"cannot open {tmp_path}/gone.onnx: No such file.*; give"),
        (tmp_path / "mine.py:net", "torch modules are measured in Python"),
        (scratch, "regular"),
        (tmp_path / "pipe", "regular"),
    ):
        with pytest.raises(InputRefusedError, match=told):
            opening.opened(path, {}, scratch)


def test_a_file_that_is_too_large_says_what_to_do(tmp_path, scratch):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(InputRefusedError, match="external data"):
        opening.opened(path, {}, scratch)


def test_a_shape_that_does_not_fit_is_a_matter_of_usage(written, scratch):
    with pytest.raises(UsageError, match="unknown input 'z'"):
        opening.opened(written(convolution()), {"z": (1,)}, scratch)


def test_a_reader_that_never_ends_is_ended(written, scratch, monkeypatch):
    monkeypatch.setattr(opening, "TIMEOUT_S", 0.01)
    with pytest.raises(InputRefusedError, match="took more than"):
        opening.opened(written(convolution()), {}, scratch)
