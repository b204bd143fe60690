from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tempograd.devices.worker.foreign import Limits, check, read
from tempograd.errors import InputRefusedError


def relu(x_shape=(1, 4), weights=(), nodes=None, kind: int = TensorProto.FLOAT) -> ModelProto:
    graph = helper.make_graph(
        nodes or [helper.make_node("Relu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", kind, x_shape)],
        [helper.make_tensor_value_info("y", kind, x_shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def refuse(model: ModelProto, match: str, folder: Path = Path("/nowhere"), limits: Limits | None = None) -> None:
    with pytest.raises(InputRefusedError, match=match):
        check(model.SerializeToString(), folder, 1, limits)


def external(**entries: str) -> ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return relu(weights=[tensor], nodes=[helper.make_node("Add", ["x", "w"], ["y"])])


def test_a_plain_network_passes():
    check(relu().SerializeToString(), Path("/nowhere"), 1)
    check(relu((2, 4)).SerializeToString(), Path("/nowhere"), 2)


@pytest.mark.fault(21)
@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"not onnx at all", b"\x0a\xff\xff\xff\xff\x0f"])
def test_what_is_no_model_is_refused(content):
    with pytest.raises(InputRefusedError, match="not an ONNX model"):
        check(content, Path("/nowhere"), 1)


@pytest.mark.parametrize(
    ("shape", "match"),
    [(("n", 4), "fixed shape"), ((1, 0), "fixed shape"), ((1, -1), "fixed shape"), ((2, 4), "batch 2")],
)
def test_shapes_are_fixed_and_of_the_devices_batch(shape, match):
    refuse(relu(shape), match)


def test_inputs_that_are_no_tensors_and_foreign_operators_are_refused_with_what_is_allowed():
    given = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, (2, 3))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)
    refuse(helper.make_model(helper.make_graph([node], "g", [given], [y])), "'s' is of type sequence; allowed: tensors")
    model = relu()
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    refuse(model, "'com.acme'.*allowed: ai.onnx, .*export the network without")


def test_every_limit_is_counted():
    refuse(relu(nodes=[helper.make_node("Relu", ["x"], ["y"])] * 5), "5 nodes", limits=Limits(nodes=4))
    refuse(relu(nodes=[helper.make_node("Relu", ["x"], ["y"], name="n" * 2000)]), "2000 bytes of a name")
    refuse(relu(weights=[numpy_helper.from_array(np.zeros([1] * 9, np.float32), "w")]), "9 dimensions")
    big = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**40, 2**40])
    refuse(relu(weights=[big]), "bytes of tensor 'w'")
    negative = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-3])
    refuse(relu(weights=[negative]), "negative dimension")
    unknown = TensorProto(name="w", data_type=99, dims=[1])
    refuse(relu(weights=[unknown]), "unknown element type 99")
    short = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], raw_data=b"1234")
    refuse(relu(weights=[short]), "declares 16 bytes, holds 4")
    model = relu()
    model.metadata_props.add(key="k", value="v" * 70_000)
    refuse(model, "metadata")
    model = relu()
    model.opset_import.add(domain="evil.ops", version=1)
    refuse(model, r"\['evil.ops'\]")


def test_weights_generated_at_run_time_are_counted():
    shape = numpy_helper.from_array(np.array([2**20, 2**10], np.int64), "shape")
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["big"]), helper.make_node("Relu", ["x"], ["y"])]
    refuse(relu(weights=[shape], nodes=nodes), "generated weights")


def test_nesting_is_bounded_and_walked():
    def nest(depth: int, weights=()):
        inner = helper.make_node("Identity", ["x"], ["z"])
        for level in range(depth):
            out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4])
            graph = helper.make_graph([inner], f"g{level}", [], [out], weights if level == 0 else ())
            inner = helper.make_node("If", ["c"], ["z"], then_branch=graph, else_branch=graph)
        return relu(nodes=[inner])

    check(nest(5).SerializeToString(), Path("/nowhere"), 1)
    refuse(nest(8), "9 nested subgraphs")
    bad = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], raw_data=b"1234")
    refuse(nest(2, [bad]), "declares 16 bytes")
    refuse(relu(nodes=[helper.make_node("Constant", [], ["y"], value=bad)]), "declares 16 bytes")


@pytest.mark.parametrize("location", ["", "/etc/passwd", "../w.bin", "sub/../../w.bin", "a\\b", "."])
def test_external_data_stay_in_the_directory(tmp_path, location):
    (tmp_path.parent / "w.bin").write_bytes(bytes(16))
    refuse(external(location=location), "external data", folder=tmp_path)


def test_external_data_are_whole_regular_files(tmp_path):
    weights = tmp_path / "w.bin"
    weights.write_bytes(bytes(32))
    check(external(location="w.bin", offset="16", length="16").SerializeToString(), tmp_path, 1)
    refuse(external(location="w.bin", offset="20", length="16"), "of a file of 32", folder=tmp_path)
    refuse(external(location="w.bin", offset="-4", length="16"), "of a file of 32", folder=tmp_path)
    refuse(external(location="w.bin", length="32"), "needs 16 bytes", folder=tmp_path)
    refuse(external(location="w.bin", length="many"), "'many'.*allowed: whole numbers", folder=tmp_path)
    refuse(external(location="w.bin", basepath="/etc"), "external fields", folder=tmp_path)
    refuse(external(location="none.bin"), "No such file", folder=tmp_path)
    refuse(external(location="sub"), "No such file", folder=tmp_path)


@pytest.mark.fault(21)
def test_external_data_are_no_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "w.bin").write_bytes(bytes(16))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "soft.bin").symlink_to(outside / "w.bin")
    (inside / "sub").symlink_to(outside)
    (inside / "hard.bin").hardlink_to(outside / "w.bin")
    refuse(external(location="soft.bin"), "symbolic link", folder=inside)
    refuse(external(location="sub/w.bin"), "symbolic link", folder=inside)
    refuse(external(location="hard.bin"), "hard links", folder=inside)
    (inside / "folder").mkdir()
    refuse(external(location="folder"), "no regular file", folder=inside)


def test_files_are_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"content")
    digest = sha256(b"content").hexdigest()
    assert read(path, digest) == b"content"
    assert read(path, digest.upper()) == b"content"
    with pytest.raises(InputRefusedError, match="as announced"):
        read(path, sha256(b"other").hexdigest())
    with pytest.raises(InputRefusedError, match="the limit is 3"):
        read(path, digest, Limits(file_bytes=3))
    link = tmp_path / "link.onnx"
    link.symlink_to(path)
    with pytest.raises(InputRefusedError, match="links are not followed"):
        read(link, digest)
    with pytest.raises(InputRefusedError, match="not a regular file"):
        read(tmp_path, digest)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(InputRefusedError, match="not a regular file"):
        read(fifo, digest)
