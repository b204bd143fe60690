"""Nodes, edges and leaves of ``nodedag``, written out by hand."""

import torch
from torch.nn import functional as F  # noqa: N812

from tempograd import registry
from tempograd.testing.spaces import random_weights

SPACE = registry.create("space", "nodedag:n=4,stages=1,width=4,size=8,channels=1")


def convolved(values, operation, edges, layers):
    """One convolution of values side by side, its weights those of the edges side by side."""
    x = torch.cat(values, dim=1)
    if operation == "sep_conv_3x3":
        kernels = torch.cat([layers[f"{edge}/depthwise"].weight for edge in edges])
        x = F.conv2d(x, kernels, padding=1, groups=len(kernels))
    return F.conv2d(x, torch.cat([layers[f"{edge}/pointwise"].weight for edge in edges], dim=1))


def written_out(network, architecture, x):
    """What a network gives, and how many inputs its nodes have and which of them are leaves."""
    layers, names = network.layers, SPACE.operations_of_nodes
    taken = {edge for edge, on in zip(SPACE.edges, architecture.choices, strict=True) if on}
    x = torch.relu(layers["stem/bn"](layers["stem/conv"](x)))
    values = {0: torch.relu(layers["stages/0/node0/bn"](convolved([x], names[0], ["stages/0/enter"], layers)))}
    seen = []
    for node in range(1, 4):
        sources = [source for source in range(node) if (source, node) in taken]
        if sources:
            edges = [f"stages/0/e{source}-{node}/{names[node]}" for source in sources]
            made = convolved([values[source] for source in sources], names[node], edges, layers)
            values[node] = torch.relu(layers[f"stages/0/node{node}/ready/norm_relu/bn"](made))
            seen.append((names[node], len(sources)))
    leaves = [node for node in values if not any(source == node for source, _ in taken)]
    weight = torch.cat([layers[f"stages/0/leaf{leaf}/leaf/conv"].weight for leaf in leaves], dim=1)
    left = F.conv2d(torch.cat([values[leaf] for leaf in leaves], dim=1), weight)
    left = torch.relu(layers["stages/0/leave/bn"](left))
    return layers["head/linear"](left.mean(dim=(2, 3))), seen, leaves


def test_a_node_convolves_its_inputs_side_by_side_and_the_leaves_side_by_side_leave():
    """Every graph of four nodes: one to three inputs of both operations, one to three leaves."""
    x, inputs, ends = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), set(), set()
    for architecture in SPACE.enumerate():
        network = random_weights(SPACE.to_torch(architecture))
        with torch.no_grad():
            expected, seen, leaves = written_out(network, architecture, x)
            assert torch.allclose(network(x), expected, atol=1e-5), architecture.key
        inputs |= {*seen}
        ends.add(len(leaves))
    assert {count for _, count in inputs} == {1, 2, 3}
    assert {operation for operation, _ in inputs} == {"sep_conv_3x3", "conv_1x1"}
    assert ends == {1, 2, 3}


def test_operations_are_dealt_out_to_its_nodes_and_alike_in_all_stages():
    space = registry.create("space", "nodedag:n=6,stages=3,width=4,size=8")
    assert sorted(space.operations_of_nodes) == ["conv_1x1"] * 3 + ["sep_conv_3x3"] * 3
    whole = space.raw_graph(space.architecture([1] * 15))
    for stage in range(3):
        deep = {node.name.split("/")[2] for node in whole.nodes
                if node.name.startswith(f"stages/{stage}/e") and node.name.endswith("/depthwise")}  # fmt: skip
        assert {int(edge.partition("-")[2]) for edge in deep if "-" in edge} == {
            node for node in range(1, 6) if space.operations_of_nodes[node] == "sep_conv_3x3"
        }
    channels = [whole.shapes[f"stages/{stage}/leave/relu"] for stage in range(3)]
    assert channels == [(4, 8, 8), (8, 4, 4), (16, 2, 2)]
