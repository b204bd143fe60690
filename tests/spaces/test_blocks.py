"""Blocks give the shapes and the parameters that their papers say."""

import pytest

from tempograd.spaces.blocks import basic, conv_bn, inverted_residual, relu_conv_bn
from tempograd.spaces.graph import block_graph
from tempograd.spaces.layers import Conv, Relu

X = (8, 6, 6)


def names(graph):
    return [type(node.operation).__name__ for node in graph.nodes]


def test_cells_rectify_first_and_normalise_last():
    graph = block_graph(X, relu_conv_bn(12, 3, 2))
    assert names(graph) == ["Relu", "Conv", "BatchNorm"]
    assert tuple(graph.shape) == (12, 3, 3)


def test_a_convolution_is_activated_where_it_is_asked():
    assert names(block_graph(X, conv_bn(Conv(4), Relu()))) == ["Conv", "BatchNorm", "Relu"]
    assert names(block_graph(X, conv_bn(Conv(4)))) == ["Conv", "BatchNorm"]


@pytest.mark.parametrize(("out", "stride", "residual"), [(8, 1, True), (8, 2, False), (12, 1, False)])
def test_an_inverted_residual_adds_its_input_where_shapes_are_equal(out, stride, residual):
    graph = block_graph(X, inverted_residual(out, 24, 3, stride))
    assert ("Add" in names(graph)) is residual
    assert graph.shape[0] == out
    convolutions = [node.operation for node in graph.nodes if isinstance(node.operation, Conv)]
    assert [(conv.out, conv.groups) for conv in convolutions] == [(24, 1), (24, 24), (out, 1)]


def test_squeeze_and_excitation_and_shuffled_groups_are_put_in_where_asked():
    plain = names(block_graph(X, inverted_residual(8, 24, 3)))
    squeezed = names(block_graph(X, inverted_residual(8, 24, 3, squeeze=True)))
    assert {"GlobalPool", "Scale", "HardSigmoid"} <= set(squeezed) - set(plain)
    assert "Shuffle" in names(block_graph(X, inverted_residual(8, 24, 3, groups=2)))


def test_a_basic_block_has_a_short_cut_of_its_own_only_where_shapes_differ():
    same, other = block_graph(X, basic(8)), block_graph(X, basic(16, 2))
    assert names(same).count("Conv") == 2
    assert names(other).count("Conv") == 3
    assert tuple(other.shape) == (16, 3, 3)
