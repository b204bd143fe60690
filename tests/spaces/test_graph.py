import pytest
import torch

from tempograd.spaces.graph import INPUT, Graph, GraphBuilder, resolve, simplify
from tempograd.spaces.layers import Add, BatchNorm, Conv, Identity, Mask, Relu, Width, Zero, expanded
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


def test_a_rectifier_of_what_is_rectified_vanishes_and_no_other():
    graph = built(("r", Relu(), [INPUT]), ("i", Identity(), ["r"]), ("again", Relu(), ["i"]),
                  ("s", Add(), ["again", INPUT]), ("last", Relu(), ["s"]))  # fmt: skip
    assert names(simplify(graph)) == ["r", "s", "last"]
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(Network(simplify(graph))(x), Network(graph)(x))


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


def deep():
    """Two layers in a row, of which the second can be left out, and a block that is there only with it."""
    builder = GraphBuilder((2, 4, 4))
    first = builder.choice("a", "a", {"conv": _conv, "relu": lambda b, x: b.add("r", Relu(), x)}, INPUT)
    second = builder.choice("b", "b", {"conv": _conv, "relu": lambda b, x: b.add("r", Relu(), x)}, first)
    last = builder.block("last", "conv", _conv, second, when=(("depth", 1),))
    return builder.graph(builder.mix("end", {first: ("depth", 0), last: ("depth", 1)}))


def test_a_mix_takes_one_of_its_values_and_what_is_not_taken_is_left_out():
    assert names(resolve(deep(), {"a": 0, "b": -1, "depth": 0})) == ["a/conv/c"]
    assert names(resolve(deep(), {"a": 1, "b": 0, "depth": 1})) == ["a/relu/r", "b/conv/c", "last/conv/c"]


def test_a_value_may_enter_a_mix_by_several_options():
    builder = GraphBuilder((2, 4, 4))
    conv = builder.block("conv", "conv", _conv, INPUT, when=(("depth", 1), ("depth", 2)))
    terms = [(INPUT, ("depth", 0)), (conv, ("depth", 1)), (conv, ("depth", 2))]
    graph = builder.graph(builder.add("r", Relu(), builder.mix("either", terms)))
    assert [names(resolve(graph, {"depth": depth})) for depth in range(3)] == [["r"], *[["conv/conv/c", "r"]] * 2]
    network, x, gates = Network(graph), torch.randn(1, 2, 4, 4), torch.tensor([0.5, 0.2, 0.3])
    ends = [network(x, {"depth": torch.eye(3)[depth]}) for depth in range(3)]
    assert torch.equal(ends[1], ends[2])
    value = 0.5 * x + 0.5 * network.layers["conv/conv/c"](x)
    assert torch.allclose(network(x, {"depth": gates}), value.relu(), atol=1e-6)


def test_an_output_that_depends_on_nothing_decided_is_refused():
    with pytest.raises(ValueError, match="decides nothing"):
        resolve(deep(), {"a": 0, "b": -1, "depth": 1})


def test_chosen_widths_are_full_in_the_supernet_and_narrow_in_the_network():
    builder = GraphBuilder((2, 4, 4))
    width = Width.of("w", (3, 6))
    x = builder.add("c", Conv(width), INPUT)
    x = builder.add("d", Conv(expanded(width, "e", (0.5, 2.0)), 3), builder.add("m", Mask(width), x))
    graph = builder.graph(x)
    assert graph.weights == {"c.weight": (6, 2, 1, 1), "d.weight": (12, 6, 3, 3)}
    plain = resolve(graph, {"w": 0, "e": 1})
    assert plain.weights == {"c.weight": (3, 2, 1, 1), "d.weight": (6, 3, 3, 3)}
    assert names(simplify(plain)) == ["c", "d"]


def test_options_that_are_equal_at_full_width_only_must_not_be_mixed():
    builder = GraphBuilder((2, 4, 4))
    options = {"a": lambda b, x: b.add("c", Conv(Width.of("w", (1, 3))), x), "b": lambda b, x: b.add("c", Conv(3), x)}
    with pytest.raises(ValueError, match="differ in shape"):
        builder.choice("e", "e", options, INPUT)
