import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tempograd import registry
from tempograd.data.table import read_table
from tempograd.errors import InvalidArchitectureError, UsageError
from tempograd.spaces.circuit import counts
from tempograd.spaces.export import to_onnx
from tempograd.spaces.graph import ports
from tempograd.spaces.layers import Mask
from tempograd.spaces.network import inherit
from tempograd.testing.spaces import random_weights

FBNET = registry.create("space", "mbconv")
OFA = registry.create("space", "mbconv:family=ofa,size=224,classes=1000,resolution_options=25")
MASKED = "mbconv:family=fbnetv2,size=16,classes=5,stages=3,layers=2"
TABLES = Path(os.environ.get("TEMPOGRAD_LATENCY_TABLES", "."))


def public(name):
    path = TABLES / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no public table {path}; set TEMPOGRAD_LATENCY_TABLES to their folder")
    import pyarrow.parquet as pq

    return path, pq.read_table(path).slice(0, 300)


def test_the_published_numbers_of_architectures():
    assert FBNET.size_log10 == pytest.approx(22 * np.log10(9))
    depths = sum(9**depth for depth in (2, 3, 4))
    assert OFA.size_log10 == pytest.approx(5 * np.log10(depths) + np.log10(25))  # "over 10^19" at one resolution


def test_a_row_of_ids_is_an_architecture_and_depth_decides_which_layers_are():
    row = {f"ks{i}": 3 for i in range(20)} | {f"e{i}": 6 for i in range(20)} | {f"d{i}": 2 for i in range(5)}
    architecture = OFA.from_row(row | {"r": 132})
    assert OFA.sizes[1] == 132
    assert architecture == OFA.from_row(row | {"r": 132, "ks3": 7, "e3": 4})  # the fourth layer of a stage of two
    assert architecture != OFA.from_row(row | {"r": 132, "ks1": 7})
    assert [OFA.format(architecture).count(part) for part in ("/op=", "/expand=e6", "/depth=2")] == [10, 10, 5]
    with pytest.raises(InvalidArchitectureError, match="r=130"):
        OFA.from_row(row | {"r": 130})


def test_rows_of_the_public_fbnet_table_have_its_counts():
    path, table = public("fbnet")
    read = read_table(path, FBNET, "help:raspi4")
    assert len(read.architectures) == 5000
    for architecture, parameters, flops in zip(
        read.architectures, table["params"].to_pylist(), table["flops"].to_pylist(), strict=False
    ):
        graph = FBNET.network_graph(architecture)
        assert graph.parameters() == parameters
        assert 0.9 * flops < graph.macs() <= flops  # theirs also count normalisation and activation


def test_rows_of_the_public_ofa_table_are_architectures():
    path, table = public("ofa")
    read = read_table(path, OFA, "help:titan_rtx_1")
    assert len(read.architectures) == 5000
    for architecture, row in zip(read.architectures, table.to_pylist(), strict=False):
        depths = [row[f"d{s}"] for s in range(5)]
        kernels = [row[f"ks{4 * s + layer}"] for s in range(5) for layer in range(depths[s])]
        text = OFA.format(architecture)
        assert [int(part.split("=k")[1][0]) for part in text.split(";") if "/op=" in part] == kernels
        assert text.startswith(f"resolution={OFA.sites[0].options[OFA.sizes.index(row['r'])]};")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_masked_supernet_equals_the_narrow_network(mode):
    """Also where statistics are taken from the batch: masked channels touch no other channel."""
    space = registry.create("space", f"{MASKED},width_options=3")
    torch.manual_seed(0)
    supernet, x = random_weights(space.supernet()), torch.randn(4, 3, 16, 16)
    for architecture in space.sample(10, np.random.default_rng(1)):
        network = inherit(space.to_torch(architecture), supernet)
        gates = {site: gate[0] for site, gate in space.gates([architecture]).items()}
        for module in (supernet, network):
            module.train(mode == "train")
        with torch.no_grad():
            narrow = network(x)
            difference = supernet(x, gates) - narrow
        assert difference.abs().max() < 1e-5 * max(1.0, float(narrow.abs().max()))


def test_a_mask_before_the_normalisation_would_leak():
    """The reason for its place: the shift of a normalisation is not zero where its input is."""
    torch.manual_seed(0)
    norm, wide = torch.nn.BatchNorm2d(8).eval(), torch.randn(2, 8, 4, 4)
    norm.bias.data.fill_(0.5)
    mask = (torch.arange(8) < 5)[:, None, None]
    with torch.no_grad():
        assert norm(wide * mask)[:, 5:].abs().max() > 0.4
        assert (norm(wide) * mask)[:, 5:].abs().max() == 0


def run_cost(space):
    """Multiply-accumulates and activations of one pass of the supernet with all gates on, counted as it runs."""
    supernet, done = space.supernet().eval(), {"macs": 0, "activations": 0}

    def count(layer, inputs, output):
        done["activations"] += output.numel()
        if isinstance(layer, torch.nn.Conv2d):
            done["macs"] += layer.weight[0].numel() * output.numel()

    for layer in supernet.layers.values():
        layer.register_forward_hook(count)
    gates = {s.name: torch.full((len(s.options),), 1 / len(s.options)) for s in space.sites}
    supernet(torch.zeros(1, 3, 16, 16), gates)
    return done


def test_a_supernet_does_not_grow_with_the_number_of_widths():
    """The point of masks: 2 or 8 widths a stage are the same layers, the same work and the same memory."""
    few, many = (registry.create("space", f"{MASKED},width_options={n}") for n in (2, 8))
    assert run_cost(few) == run_cost(many)
    weights = [sum(p.numel() for p in space.supernet().parameters()) for space in (few, many)]
    assert weights[0] == weights[1]
    assert many.size_log10 - few.size_log10 == pytest.approx(3 * np.log10(4))


def test_effective_shapes_are_exact_where_a_width_enters_twice():
    """A hidden width is expansion times input width: the cost needs E[C * e C], not E[C] E[e C]."""
    space = registry.create("space", f"{MASKED},width_options=3")
    table = counts(space.graph, space.operations, "macs")
    gates = {
        s.name: gate[0].double()
        for s, gate in zip(space.sites, space.gates(space.sample(1, np.random.default_rng(2))).values(), strict=True)
    }
    for name, row in gates.items():
        if not row.any():
            gates[name] = torch.eye(len(row), dtype=torch.float64)[0]
    gates["s1l1/op"] = torch.eye(9, dtype=torch.float64)[0]
    p, q = (torch.tensor(np.random.default_rng(3).dirichlet(np.ones(k))) for k in (3, 6))
    exact = sum(
        float(a * b)
        * space.raw_graph(space.decode(space.relax(gates | {"s1/width": u, "s1l1/expand": v}).numpy())[0]).macs()
        for a, u in zip(p, torch.eye(3, dtype=torch.float64), strict=True)
        for b, v in zip(q, torch.eye(6, dtype=torch.float64), strict=True)
    )
    found = space.circuit.cost(table, gates | {"s1/width": p, "s1l1/expand": q})
    assert float(found) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("family", ["ofa", "ofa_mbv3"])
def test_a_resolution_of_once_for_all_is_the_size_of_the_input_that_is_exported(family):
    spec = f"mbconv:family={family},size=16,classes=5,width=0.25,stages=2,layers=2,resolution_options=3"
    space = registry.create("space", spec)
    assert space.columns["resolution"] == ("r", (9, 13, 16))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    supernet = space.supernet().eval()
    for option, side in enumerate(space.sizes):
        architecture = space.architecture([option, *[1] * (len(space.sites) - 1)])
        graph = space.network_graph(architecture)
        assert ports(graph) == {"input": ((3, side, side), False)}
        fixed = registry.create("space", f"{spec.rpartition(',')[0].replace('size=16', f'size={side}')}")
        alone = fixed.network_graph(fixed.architecture(architecture.choices[1:]))
        assert (graph.macs(), graph.parameters()) == (alone.macs(), alone.parameters())
        network = inherit(space.to_torch(architecture), supernet).eval()
        small = torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
        model = to_onnx(graph, network.arrays(), batch=2)
        assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, side, side]
        assert not {"Resize", "Gather", "Identity"} & {node.op_type for node in model.graph.node}
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        told = torch.from_numpy(session.run(None, {"input": small.numpy()})[0])
        gates = {site: gate[0] for site, gate in space.gates([architecture]).items()}
        with torch.no_grad():
            for found in (network(images), network(small), supernet(images, gates)):
                assert torch.allclose(found, told, atol=1e-4)


def test_a_resolution_runs_the_network_on_a_grid_of_the_image():
    space = registry.create(
        "space", "mbconv:family=proxyless,size=8,classes=5,width=0.25,stages=2,layers=1,resolution_options=2"
    )
    small = space.network_graph(space.architecture([0] * len(space.sites)))
    grid = next(node for node in small.nodes if node.name == "net/grid")
    assert grid.shape == (3, 5, 5)
    assert grid.operation.rows(8) == [0, 2, 4, 5, 7]
    assert (
        small.parameters() == space.network_graph(space.architecture([1, *[0] * (len(space.sites) - 1)])).parameters()
    )
    assert not any(isinstance(node.operation, Mask) for node in small.nodes)


@pytest.mark.parametrize(
    "spec",
    ["family=fbnetv3", "width=0", "layers=1,family=ofa", "width_options=3", "family=fbnetv2,width_options=40"],
)
def test_wrong_arguments_are_refused(spec):
    with pytest.raises(UsageError):
        registry.create("space", f"mbconv:{spec}")


def test_the_families_whose_widths_can_be_chosen_are_named_and_can():
    able = ("proxyless", "ofa", "fbnetv2", "ofa_mbv3")
    with pytest.raises(UsageError, match=f"in fbnet, .* cannot be masked; .* a family of {', '.join(able)}$"):
        registry.create("space", "mbconv:stages=3,width=0.25,layers=2,width_options=2")
    for family in able:
        registry.create("space", f"mbconv:family={family},width_options=2")
