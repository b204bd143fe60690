"""A step run along a sequence: what a loop written out gives, in torch and on ONNX Runtime, and the slope of it."""

import onnxruntime
import pytest
import torch

from tempograd import registry
from tempograd.spaces.export import to_onnx
from tempograd.spaces.unrolled import Unrolled

CLASSES, HIDDEN = 5, 4
F = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": lambda x: x}


@pytest.fixture(scope="module")
def cell():
    return registry.create("space", f"recurrent:n=4,hidden={HIDDEN},classes={CLASSES}")


@pytest.fixture
def network(cell):
    torch.manual_seed(0)
    return cell.to_torch(cell.parse("0>1 0>2 1>2 0>3")).eval()


def written_out(network, kinds, tokens):
    """The cell by hand: nodes 2 and 3 are the leaves, node 2 the mean of what comes from 0 and 1."""
    weights = {name.removeprefix("layers."): value for name, value in network.state_dict().items()}

    def gate(name, kind, state, *more):
        opened, made = (torch.cat([state, *more], dim=1) @ weights[name].T).chunk(2, dim=1)
        return state + opened.sigmoid() * (F[kind](made) - state)

    state, told = torch.zeros(len(tokens), HIDDEN), []
    for place in range(tokens.shape[1]):
        s0 = gate("node0.weight", "tanh", state, weights["embedding.weight"][tokens[:, place]])
        edge = {(i, j): f"e{i}-{j}/{kinds[j - 1]}/gate.weight" for i, j in ((0, 1), (0, 2), (1, 2), (0, 3))}
        s1 = gate(edge[0, 1], kinds[0], s0)
        s2 = (gate(edge[0, 2], kinds[1], s0) + gate(edge[1, 2], kinds[1], s1)) / 2
        state = (s2 + gate(edge[0, 3], kinds[2], s0)) / 2
        told.append(state @ weights["logits.weight"].T + weights["logits.bias"])
    return torch.stack(told, dim=2), state


def test_it_gives_what_a_loop_written_out_gives(cell, network):
    tokens = torch.randint(0, CLASSES, (3, 6), generator=torch.Generator().manual_seed(1))
    assert isinstance(network, Unrolled)
    assert set(cell.operations_of_nodes) <= set(F)
    expected, _ = written_out(network, cell.operations_of_nodes, tokens)
    assert torch.allclose(network(tokens), expected, atol=1e-5)


def test_steps_through_onnx_runtime_with_the_state_fed_back_are_the_network_along_the_sequence(cell, network):
    tokens = torch.tensor([[1, 4, 0], [2, 2, 3]])
    model = to_onnx(network.graph, network.arrays(), batch=2).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["input", "state"]
    state = torch.zeros(2, HIDDEN).numpy()
    for place in range(tokens.shape[1]):
        told, state = session.run(None, {"input": tokens[:, place : place + 1].numpy(), "state": state})
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(told), network(tokens)[:, :, place], atol=1e-5)


@pytest.mark.slow
def test_the_gradient_through_time_is_that_of_finite_differences(cell):
    torch.manual_seed(2)
    network = cell.to_torch(cell.parse("0>1 0>2 1>3")).double()
    tokens, targets = torch.tensor([[1, 2, 0, 4]]), torch.tensor([[2, 0, 4, 3]])
    weights = dict(network.named_parameters())
    assert any("e1-3" in name for name in weights)

    def loss(*values):
        told = torch.func.functional_call(network, dict(zip(weights, values, strict=True)), (tokens,))
        return torch.nn.functional.cross_entropy(told, targets)

    assert torch.autograd.gradcheck(loss, tuple(weights.values()))


def test_a_window_is_read_from_an_empty_state(network):
    one, other = torch.tensor([[1, 2, 3]]), torch.tensor([[0, 2, 3]])
    both = network(torch.cat([one, other]))
    assert torch.allclose(both[:1], network(one), atol=1e-6)
    assert not torch.allclose(both[0, :, 2], both[1, :, 2], atol=1e-6)  # the state remembers the first symbol


def test_a_node_that_is_only_run_beside_has_no_mean(cell):
    """Edges of gate 0 that are run all the same make no state of their own."""
    supernet, tokens = cell.supernet().eval(), torch.tensor([[1, 2]])
    gates = {site: gate[0] for site, gate in cell.gates([cell.parse("0>1")]).items()}
    every = {site.name: (0, 1) for site in cell.sites}
    assert torch.allclose(supernet(tokens, gates, beside=every), supernet(tokens, gates))
