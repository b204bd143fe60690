import psutil
import pytest
from onnx import TensorProto, helper

from tempograd.errors import InputRefusedError, UsageError
from tempograd.graphs.network import Tensor, facts_of
from tempograd.graphs.shapes import check_held, check_operators, fixed, read_shapes, variants

from .models import convolution, make


@pytest.mark.parametrize("text", ["x=", "x=1x0x3", "x=1x-1", "1,3", "x=3x", "", "x=99999999999", "x=1xN"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(UsageError, match="allowed"):
        read_shapes([text])


def test_an_input_named_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        read_shapes(["x=1", "x=2"])


def test_names_may_hold_anything():
    assert read_shapes(["gpu_0/data=0=1x3"]) == {"gpu_0/data=0": (1, 3)}


def test_a_size_may_be_several_and_every_combination_is_there():
    assert variants(["x=1,8x3", "y=2,4"]) == [{"x": (b, 3), "y": (y,)} for b in (1, 8) for y in (2, 4)]
    assert variants([]) == [{}]
    with pytest.raises(UsageError, match="--shape x=1x; allowed"):
        variants(["x=1,2x"])
    with pytest.raises(UsageError, match="more than 64 combinations"):
        variants([f"x={','.join(map(str, range(1, 1000)))}x{','.join(map(str, range(1, 1000)))}"])


def test_a_size_that_the_model_names_is_given_by_its_name():
    model = convolution(sizes=("batch", 3, "h", "h"))
    assert facts_of(fixed(model, {"batch": (4,), "h": (16,)})[0]).inputs[0].shape == (4, 3, 16, 16)
    with pytest.raises(UsageError, match="unknown input 'batch'"):
        fixed(model, {"batch": (4, 4), "h": (16,)})
    with pytest.raises(UsageError, match="is open"):
        fixed(model, {"batch": (4,)})


def test_open_sizes_are_fixed_and_outputs_follow():
    model = convolution(sizes=("batch", 3, "h", "w"))
    changed, different = fixed(model, {"": (2, 3, 16, 12)})
    assert different
    assert facts_of(changed).outputs[0].shape == (2, 4, 16, 12)
    assert facts_of(model).inputs[0].shape == (None, 3, None, None), "the model given is left as it is"


def test_an_open_batch_becomes_one():
    assert facts_of(fixed(convolution(sizes=("n", 3, 8, 8)), {})[0]).inputs[0].shape == (1, 3, 8, 8)


def test_a_size_of_zero_is_no_open_one():
    model = convolution(sizes=(0, 3, 8, 8))
    with pytest.raises(UsageError, match=r"size of 0 in its file; give those that are meant: --shape x="):
        fixed(model, {})
    assert facts_of(fixed(model, {"x": (2, 3, 8, 8)})[0]).inputs[0].shape == (2, 3, 8, 8)


@pytest.mark.parametrize("sizes", [(1, 3, "h", "w"), (1, 3, 2**20, 2**20)], ids=["open", "fixed"])
def test_an_input_that_no_memory_holds_is_refused_with_its_size(sizes):
    with pytest.raises(
        UsageError, match=r"input x=1x3x1048576x1048576 float32 takes 12,288.0 GiB; allowed: .* machine"
    ):
        fixed(convolution(sizes=sizes), {"x": (1, 3, 2**20, 2**20)})


def test_all_that_memory_holds_is_allowed(monkeypatch):
    there = 3 * 16 * 16 * 4
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": there}))
    check_held([Tensor("x", "float32", (1, 3, 16, 16)), Tensor("sequence", "no tensor", ())])
    with pytest.raises(UsageError, match="smaller --shape"):
        check_held([Tensor("x", "float64", (1, 3, 16, 16))])


def test_a_model_of_fixed_sizes_is_left_as_it_is():
    model = convolution()
    assert fixed(model, {"x": (1, 3, 8, 8)}) == (model, False)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ({}, "is open; fix it: --shape x=SIZE"),
        ({"z": (1,)}, "unknown input 'z'; allowed: h, n, w, x"),
        ({"x": (1, 3, 8)}, "allowed: what fits it, with x between sizes: --shape x=SIZEx3xSIZExSIZE$"),
        ({"x": (1, 4, 8, 8)}, "allowed: what fits it"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(shapes, told):
    with pytest.raises(UsageError, match=told):
        fixed(convolution(sizes=("n", 3, "h", "w")), shapes)


def test_sizes_that_the_operators_do_not_take_are_refused():
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    inputs = [("a", TensorProto.FLOAT, (2, "k")), ("b", TensorProto.FLOAT, (5, 3))]
    model = make([node], inputs, [("y", TensorProto.FLOAT, (2, 3))])
    with pytest.raises(InputRefusedError, match="does not take a=2x4"):
        fixed(model, {"a": (2, 4)})


def test_an_operator_that_onnx_does_not_have_is_refused_by_name():
    node = helper.make_node("Konv", ["x"], ["y"], "first")
    model = make([node], [("x", TensorProto.FLOAT, (2,))], [("y", TensorProto.FLOAT, (2,))])
    with pytest.raises(InputRefusedError, match=r"'Konv' \(node 'first'\)"):
        check_operators(model)
    check_operators(convolution())
