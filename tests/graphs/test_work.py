"""The same work under the names of two runtimes."""

import pytest

from tempograd.graphs.kernels import Array, Kernel
from tempograd.graphs.work import operator_of, work_of


def kernel(op, family, inputs, out, constants=(), macs=0, **attributes):
    arrays = tuple(Array("float32", shape) for shape in inputs)
    return Kernel("k", op, family, arrays, (Array("float32", out),), attributes, constants=constants, macs=macs)


def conv(op, channels, out=24, strides=1, **more):
    told = {"kernel_shape": [3, 3], "strides": [strides] * 2, "group": 1} | more
    inputs = [(1, channels, 8, 8), (out, channels, 3, 3), (out,)]
    return kernel(op, "convolution", inputs, (1, out, 8, 8), (1, 2), **told)


def test_a_convolution_is_found_by_its_shapes_whatever_is_fused_and_however_channels_are_packed():
    mine = conv("nchwc.Conv", 32, 32, activation="Relu")
    theirs = conv("Conv", 24, 24, fused=["Relu", "Add"])
    assert work_of(mine) == work_of(theirs)
    assert operator_of(mine) == operator_of(theirs) == operator_of(conv("FusedConv", 1)) == "Conv"
    for other in (conv("Conv", 40), conv("Conv", 24, strides=2), conv("Conv", 24, kernel_shape=[5, 5])):
        assert work_of(other) != work_of(mine)


def test_a_product_is_found_by_the_sizes_of_its_factors():
    gemm = kernel("Gemm", "matmul", [(1, 64), (10, 64), (10,)], (1, 10), (1, 2), macs=640, transB=1)
    product = kernel("MatMul", "matmul", [(1, 64), (64, 10)], (1, 10), (1,), macs=640)
    assert work_of(gemm) == work_of(product)
    two = kernel("MatMul", "matmul", [(1, 64), (64, 10)], (1, 10), (), macs=640)
    assert work_of(two) != work_of(product), "whose second factor is no weight, and is not packed"


@pytest.mark.parametrize("op", ["Mul", "Add"])
def test_others_are_found_by_operator_and_shapes(op):
    assert work_of(kernel(op, "elementwise", [(1, 24, 8, 8), (1, 24, 1, 1)], (1, 24, 8, 8))) == work_of(
        kernel(op, "elementwise", [(1, 32, 1, 1), (1, 32, 8, 8)], (1, 32, 8, 8))
    )
    mean = kernel("nchwc.GlobalAveragePool", "pool", [(1, 32, 8, 8)], (1, 32, 1, 1))
    assert work_of(mean) == work_of(kernel("ReduceMean", "pool", [(1, 24, 8, 8)], (1, 24)))


def test_a_change_of_layout_is_no_work():
    assert work_of(kernel("nchwc.ReorderInput", "layout", [(1, 32, 8, 8)], (1, 32, 8, 8))) is None
    assert work_of(Kernel("k", "Relu", "elementwise", (), ())) is None
