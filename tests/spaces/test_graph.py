import pytest
import torch

from tempograd.spaces.graph import INPUT, Graph, GraphBuilder, resolve, simplify
from tempograd.spaces.layers import Add, BatchNorm, Conv, Identity, Relu, Zero
from tempograd.spaces.network import Network


def built(*steps):
    builder = GraphBuilder((2, 4, 4))
    output = INPUT
    for name, operation, inputs in steps:
        output = builder.add(name, operation, *inputs)
    return builder.graph(output)


def names(graph: Graph):
    return [node.name for node in graph.nodes]


def test_identities_and_zero_terms_vanish():
    graph = built(("a", Identity(), [INPUT]), ("z", Zero(), [INPUT]), ("s", Add(), ["a", "z"]), ("r", Relu(), ["s"]))
    assert names(simplify(graph)) == ["r"]


def test_zeros_stop_at_batch_norm():
    graph = built(("z", Zero(), [INPUT]), ("c", Conv(3, 3), ["z"]), ("b", BatchNorm(), ["c"]), ("r", Relu(), ["b"]))
    assert names(simplify(graph)) == ["c", "b", "r"]
    assert isinstance(simplify(graph).nodes[0].operation, Zero)


def test_what_does_not_reach_the_output_is_dropped():
    graph = built(("dead", Conv(5), [INPUT]), ("r", Relu(), [INPUT]))
    assert names(simplify(graph)) == ["r"]


def test_simplified_graph_computes_the_same():
    graph = built(
        ("z", Zero(), [INPUT]),
        ("c", Conv(2, 3), [INPUT]),
        ("i", Identity(), ["c"]),
        ("s", Add(), ["i", "z"]),
        ("zc", Conv(2), ["z"]),
        ("b", BatchNorm(), ["zc"]),
        ("t", Add(), ["s", "b", INPUT]),
    )
    raw, simple = Network(graph).eval(), Network(simplify(graph)).eval()
    raw.layers["b"].bias.data.fill_(0.3)
    simple.load_state_dict({k: raw.state_dict()[k] for k in simple.state_dict()})
    x = torch.randn(3, 2, 4, 4)
    assert torch.allclose(raw(x), simple(x), atol=1e-6)


def test_options_of_a_choice_must_agree_in_shape():
    builder = GraphBuilder((2, 4, 4))
    options = {"same": lambda b, x: b.add("i", Identity(), x), "other": lambda b, x: b.add("c", Conv(3), x)}
    with pytest.raises(ValueError, match="differ in shape"):
        builder.choice("e", "e", options, INPUT)


def test_resolving_keeps_the_full_path_of_a_block():
    builder = GraphBuilder((2, 4, 4))
    x = builder.choice("e", "site", {"skip": lambda b, x: b.add("i", Identity(), x), "conv": _conv}, INPUT)
    graph = builder.graph(builder.add("r", Relu(), x))
    assert names(resolve(graph, {"site": 1})) == ["e/conv/c", "r"]
    assert list(graph.weights) == ["e/conv/c.weight"]


def _conv(builder, x):
    return builder.add("c", Conv(2), x)
