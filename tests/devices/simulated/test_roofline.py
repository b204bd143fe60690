from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tempograd.devices.simulated.roofline import Roofline
from tempograd.errors import InputRefusedError


def network(nodes, x, y, **weights):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


ARITHMETIC = Roofline(gflops=1.0, gbps=1e9, overhead_us=0.0)
TRAFFIC = Roofline(gflops=1e9, gbps=1.0, overhead_us=0.0)
FEES = Roofline(gflops=1e9, gbps=1e9, overhead_us=7.0)


def test_a_convolution_counts_two_operations_for_every_product():
    content = network(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=2)], [1, 8, 5, 5], [1, 6, 5, 5], w=(6, 4, 3, 3)
    )
    assert ARITHMETIC.latency_ms(content) == pytest.approx(2 * 6 * 25 * 4 * 9 / 1e6)
    assert TRAFFIC.latency_ms(content) == pytest.approx(4 * (8 * 25 + 6 * 25 + 6 * 4 * 9) / 1e6)
    assert FEES.latency_ms(content) == pytest.approx(7e-3)


@pytest.mark.parametrize(("trans_a", "x"), [(0, [3, 5]), (1, [5, 3])])
def test_a_matrix_product(trans_a, x):
    content = network([helper.make_node("Gemm", ["x", "w"], ["y"], transA=trans_a)], x, [3, 7], w=(5, 7))
    assert ARITHMETIC.latency_ms(content) == pytest.approx(2 * 3 * 7 * 5 / 1e6)
    plain = network([helper.make_node("MatMul", ["x", "w"], ["y"])], [3, 5], [3, 7], w=(5, 7))
    assert ARITHMETIC.latency_ms(plain) == pytest.approx(2 * 3 * 7 * 5 / 1e6)


def test_the_longer_of_arithmetic_and_traffic_counts_for_every_node():
    content = network(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Flatten", ["a"], ["y"])], [1, 4, 2], [1, 8]
    )
    both = Roofline(gflops=1.0, gbps=1.0, overhead_us=2.0)
    assert both.latency_ms(content) == pytest.approx(4 * 16 / 1e6 + 2e-3)  # Flatten is free


def test_what_cannot_be_inferred_is_refused():
    with pytest.raises(InputRefusedError, match="not an ONNX model"):
        ARITHMETIC.latency_ms(b"\x00\x01\x02")
    content = network(
        [helper.make_node("NonZero", ["x"], ["a"]), helper.make_node("Cast", ["a"], ["y"], to=1)], [1, 4], ["n", "m"]
    )
    with pytest.raises(InputRefusedError, match=r"NonZero.*table or latency_of"):
        ARITHMETIC.latency_ms(content)


def test_a_network_of_identities_still_costs_a_call():
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [shape], [out])
    assert Roofline(overhead_us=4.0).latency_ms(helper.make_model(graph).SerializeToString()) == pytest.approx(0.004)
