"""What the runtimes share: seeded inputs, and a program made of an engine's own calls."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tempograd.devices.runtime.program import (
    INPUTS,
    PreparedProgram,
    at_least_one_thread,
    halved,
    inputs_of,
    line,
    not_finite,
    one_of,
    only_shape,
    seeded,
    whole,
)
from tempograd.errors import InputRefusedError, UnknownNameError, UsageError
from tempograd.testing.networks import conv


class Queue:
    """A GPU's queue that writes down what it is asked."""

    def __init__(self, calls):
        self.calls = calls

    def start(self):
        self.calls.append("start")

    def stop_ms(self):
        self.calls.append("stop")
        return 1.5

    def wait(self):
        self.calls.append("wait")


def made(calls, outputs=None, *, gpu=False, shape=(1, 2)):
    runs = [lambda i=i: calls.append(i) for i in range(INPUTS)]
    return PreparedProgram(
        runs, lambda: outputs or {}, lambda x: x.astype(np.float64) * 2, input_shape=shape,
        providers={"p": 1}, kernels={}, gpu=Queue(calls) if gpu else None,
    )  # fmt: skip


def test_inputs_are_taken_in_turn_unless_one_is_held():
    calls = []
    program = made(calls)
    for _ in range(4):
        program.run()
    program.hold(True)
    program.run()
    program.run()
    program.hold(False)
    program.run()
    program.run()
    assert calls == [0, 1, 2, 0, 0, 0, 0, 1]
    assert program.gpu_time is None


def test_on_a_gpu_runs_are_only_launched_and_the_queue_keeps_the_time():
    calls = []
    program = made(calls, gpu=True)
    gpu_ms, host_ms = program.gpu_time(4)
    assert calls == ["start", 0, 1, 2, 0, "stop"]
    assert gpu_ms == 1.5
    assert host_ms >= 0
    program.run()
    assert calls[-2:] == [1, "wait"]


def test_the_first_output_is_of_the_values_given_in_single_precision():
    found = made([]).compute(np.array([[1, 2]], np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == [[2, 4]]
    with pytest.raises(InputRefusedError, match=r"an input of shape \(2,\); allowed: \(1, 2\)"):
        made([]).compute(np.zeros(2, np.float32))
    with pytest.raises(InputRefusedError, match="allowed: one input"):
        made([], shape=None).compute(np.zeros(2, np.float32))


def test_outputs_that_are_not_finite_are_counted_and_whole_numbers_are_finite():
    good = {"a": np.ones(3), "n": np.array([1, 2])}
    assert not_finite(good) is None
    assert made([], good | {"b": np.array([1.0, np.nan, np.inf])}).invalid_output() == (
        "output 'b' holds 2 of 3 values not finite"
    )


def test_inputs_are_seeded_and_constants_are_none():
    model = ModelProto.FromString(conv(batch=2))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [8, 3, 3, 3]))
    first, second = inputs_of(model), inputs_of(model)
    assert len(first) == INPUTS
    assert [set(one) for one in first] == [{"x"}] * INPUTS
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0]["x"], first[1]["x"])
    assert only_shape(first[0]) == (2, 3, 8, 8)
    assert only_shape(first[0] | {"y": first[0]["x"]}) is None


@pytest.mark.parametrize(
    ("dtype", "shape", "told"),
    [
        (np.float32, [1, "n"], r"shape \[1, 'n'\]; every size must be fixed"),
        (np.float32, [0, 3], "every size must be fixed"),
        (np.dtype("O"), [2], "holds object; allowed: numbers"),
    ],
)
def test_inputs_of_open_sizes_or_no_numbers_are_refused(dtype, shape, told):
    with pytest.raises(InputRefusedError, match=told):
        seeded("x", dtype, shape, np.random.default_rng(0))


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8])
def test_whole_numbers_are_zero_or_one(dtype):
    values = seeded("x", dtype, [50], np.random.default_rng(0))
    assert values.dtype == dtype
    assert set(values.tolist()) == {0, 1}


def test_external_weights_are_taken_in(tmp_path):
    model = ModelProto.FromString(conv())
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    loaded = whole((tmp_path / "m.onnx").read_bytes(), tmp_path)
    expected = numpy_helper.to_array(ModelProto.FromString(conv()).graph.initializer[0])
    assert np.array_equal(numpy_helper.to_array(loaded.graph.initializer[0]), expected)


def test_a_network_in_half_precision_has_half_inputs_and_outputs():
    graph = halved(ModelProto.FromString(conv())).graph
    kinds = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert kinds == [TensorProto.FLOAT16] * 2
    assert graph.initializer[0].data_type == TensorProto.FLOAT16


def test_options_are_refused_with_what_is_allowed():
    one_of("precision", "fp32", ("fp32", "fp16"))
    with pytest.raises(UnknownNameError, match="unknown precision 'fp8'; allowed: "):
        one_of("precision", "fp8", ("fp32", "fp16"))
    with pytest.raises(UsageError, match="threads=0; at least 1"):
        at_least_one_thread(0)


def test_an_engines_message_is_one_short_line():
    assert line(ValueError("a\n  b" + "c" * 600)) == "a b" + "c" * 497
