"""A layer of common networks alone in a network: what each file of them is tested with."""

import inspect

import onnx
import onnxruntime
import torch

from tempograd.spaces.common.layer import Layer
from tempograd.spaces.common.reshaping import Input
from tempograd.spaces.export import WeightPool, to_onnx
from tempograd.spaces.graph import INPUT, GraphBuilder, ports
from tempograd.spaces.network import Network

MAP, ROW, STEPS, TOKENS = (4, 6, 8), (4, 9), (7, 6), (5, 8)


def told(value):
    return str(value)[:70] if isinstance(value, Layer) else ""


def layers_of(module):
    """The layers that a file defines."""
    classes = (value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Layer))
    return {one for one in classes if one.__module__ == module.__name__ and one is not Layer}


def network_of(layer, shapes):
    """The layer alone, behind as many inputs as it takes; a list of one shape is the first input."""
    builder = GraphBuilder(shapes[0])
    more = [builder.add(f"in{i}", Input(f"in{i}", shape)) for i, shape in enumerate(shapes[1:])]
    graph = builder.graph(builder.add("layer", layer, INPUT, *more))
    network = Network(graph)
    torch.manual_seed(1)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.3, 1) if name.endswith("var") else value.uniform_(-1, 1)
    values = []
    for shape, whole in ports(graph).values():
        torch.manual_seed(2)
        values.append(torch.randint(0, 11, (2, *shape)) if whole else torch.rand(2, *shape) + 0.1)
    return network.eval(), values


def run(network, values, weights=None):
    model = to_onnx(network.graph, weights or network.arrays(), batch=2)
    if weights is None:
        onnx.checker.check_model(model, full_check=True)
    names = [one.name for one in model.graph.input]
    feed = {name: value.numpy() for name, value in zip(names, values, strict=True)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(found) for found in session.run(None, feed)]


def readings_agree(layer, shapes, macs):
    """ONNX Runtime equals torch, work is what a hand counted, and a pool has every weight."""
    network, values = network_of(layer, shapes)
    with torch.no_grad():
        expected = network(values)
    assert network.graph.shape == tuple(expected.shape[1:])
    (found,) = run(network, values)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert network.graph.macs() == macs
    assert network.graph.parameters() == sum(p.numel() for p in network.parameters())
    pool = WeightPool.of(network.graph, 3)
    assert set(pool.weights(network.graph)) == set(network.graph.weights)


def as_torchs_own(layer, reference, shapes, names):
    """With the weights of torch's module, by their names there, the layer gives what it gives."""
    network, values = network_of(layer, shapes)
    given = reference.eval().state_dict()
    own = network.layers["layer"]
    own.load_state_dict({key: given[names.get(key, key)] for key in own.state_dict()})
    expected = reference(*values)
    with torch.no_grad():
        assert torch.allclose(network(values), expected[0] if isinstance(expected, tuple) else expected, atol=1e-5)
