import numpy as np
import pytest
from onnx import TensorProto, helper

from tempograd.graphs.network import facts_of, key_of

from .models import convolution, make


def test_a_network_is_the_same_under_other_weights_and_names():
    assert key_of(convolution()) == key_of(convolution(scale=2.0)) == key_of(convolution(names="model/"))


@pytest.mark.parametrize(
    "other",
    [
        {"sizes": (2, 3, 8, 8)},
        {"sizes": (1, 3, 9, 8)},
        {"channels": 8},
        {"pads": (0, 0, 0, 0)},
    ],
)
def test_it_is_another_one_with_other_shapes_or_attributes(other):
    assert key_of(convolution(**other)) != key_of(convolution())


def reshaped(shape):
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    weights = {"shape": np.array(shape, np.int64)}
    return make([node], [("x", TensorProto.FLOAT, (4, 6))], [("y", TensorProto.FLOAT, None)], weights)


def test_constants_that_hold_shapes_count():
    assert key_of(reshaped((6, 4))) != key_of(reshaped((3, 8)))


def twice(first, second):
    nodes = [helper.make_node("Add", [first, second], ["y"])]
    inputs = [("a", TensorProto.FLOAT, (2,)), ("b", TensorProto.FLOAT, (2,))]
    return make(nodes, inputs, [("y", TensorProto.FLOAT, (2,))])


def test_which_value_goes_where_counts():
    assert len({key_of(twice("a", "a")), key_of(twice("b", "a")), key_of(twice("a", "b"))}) == 3


def test_facts():
    facts = facts_of(convolution())
    assert [one.text for one in facts.inputs] == ["x=1x3x8x8 float32"]
    assert facts.outputs[0].shape == (1, 4, None, None)
    assert (facts.parameters, facts.operators, facts.control_flow, facts.opset) == (108, {"Conv": 1, "Relu": 1}, (), 17)


def test_operators_within_a_branch_are_counted_and_control_flow_is_named():
    def branch(kind):
        node = helper.make_node(kind, ["x"], ["out"])
        return helper.make_graph([node], kind, [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, (2,))])

    chosen = helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Sigmoid"))
    inputs = [("x", TensorProto.FLOAT, (2,)), ("c", TensorProto.BOOL, ())]
    facts = facts_of(make([chosen], inputs, [("y", TensorProto.FLOAT, (2,))]))
    assert facts.operators == {"If": 1, "Relu": 1, "Sigmoid": 1}
    assert facts.control_flow == ("If",)
    assert facts.inputs[1].text == "c=scalar bool"
