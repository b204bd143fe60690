import pytest

from tempograd.graphs.operators import FAMILIES, family_of, macs_of


@pytest.mark.parametrize(
    ("op", "inputs", "group", "family"),
    [
        ("Conv", [(1, 8, 4, 4), (16, 8, 3, 3)], 1, "convolution"),
        ("FusedConv", [(1, 8, 4, 4), (16, 8, 1, 1)], 1, "pointwise"),
        ("Conv", [(1, 8, 4, 4), (8, 1, 3, 3)], 8, "depthwise"),
        ("Conv", [(1, 8, 4, 4), (8, 4, 3, 3)], 2, "grouped"),
        ("QLinearConv", [(1, 8, 4, 4), (), (), (8, 8, 1, 1)], 1, "pointwise"),
        ("Gemm", [(1, 8), (8, 4)], 1, "matmul"),
        ("Softmax", [(1, 8)], 1, "attention"),
        ("ReduceMean", [(1, 8)], 1, "pool"),
        ("ReorderInput", [(1, 8, 4, 4)], 1, "layout"),
        ("LSTM", [(5, 1, 8)], 1, "recurrent"),
        ("SomethingNew", [], 1, "rest"),
    ],
)
def test_families(op, inputs, group, family):
    assert family_of(op, inputs, group) == family
    assert family in FAMILIES


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "attributes", "macs"),
    [
        ("Conv", [(2, 8, 4, 4), (16, 4, 3, 3)], [(2, 16, 4, 4)], {"group": 2}, 2 * 16 * 16 * 4 * 9),
        ("ConvTranspose", [(1, 8, 4, 4), (8, 3, 2, 2)], [(1, 3, 8, 8)], {}, 8 * 16 * 3 * 4),
        ("Gemm", [(5, 7), (7, 3)], [(5, 3)], {}, 5 * 7 * 3),
        ("Gemm", [(7, 5), (7, 3)], [(5, 3)], {"transA": 1}, 5 * 7 * 3),
        ("MatMul", [(2, 5, 7), (7, 3)], [(2, 5, 3)], {}, 2 * 5 * 7 * 3),
        ("Einsum", [(2, 5, 7), (2, 7, 3)], [(2, 5, 3)], {"equation": "bik,bkj->bij"}, 2 * 5 * 7 * 3),
        ("LSTM", [(6, 1, 8), (1, 16, 8), (1, 16, 4)], [], {}, 6 * (16 * 8 + 16 * 4)),
        ("MultiHeadAttention", [(1, 6, 8), (1, 9, 8)], [(1, 6, 8)], {}, 2 * 6 * 9 * 8),
        ("Relu", [(1, 8)], [(1, 8)], {}, 0),
    ],
)
def test_multiply_accumulates(op, inputs, outputs, attributes, macs):
    assert macs_of(op, inputs, outputs, attributes) == macs
