"""What each verb of any network does with one that cannot be timed: one message, no store, and the others go on."""

import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import tempograd as tg
from tempograd.errors import InputRefusedError, TempogradError, UsageError
from tempograd.graphs.network import facts_of
from tempograd.profiler.kernels import see
from tempograd.verbs import kernels
from tempograd.verbs.compare import compare
from tempograd.verbs.measure import measure
from tempograd.verbs.networks import accepted_networks
from tempograd.verbs.profile import profile

from ..graphs.models import convolution, make

DEVICE = "simulated:noise=0.001,process_noise=0.001,sentinel_noise=0.001,slow=1"
ONE = [("x", TensorProto.FLOAT, (2,))], [("y", TensorProto.FLOAT, (2,))]
VERBS = {
    "measure": lambda bad, store: measure([bad], device=DEVICE, store=store),
    "measure both": lambda bad, store: measure([bad, bad], device=DEVICE, store=store),
    "profile": lambda bad, store: profile(bad, device=DEVICE, store=store),
    "compare": lambda bad, store: compare([bad, convolution()], devices=[DEVICE], store=store),
    "kernels collect": lambda bad, store: kernels.collect([bad], store, device=DEVICE),
    "kernels collect both": lambda bad, store: kernels.collect([bad, bad], store, device=DEVICE),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_network_that_is_refused_leaves_no_store(verb, tmp_path):
    store = tmp_path / "run.db"
    if verb == "measure both":
        assert VERBS[verb](b"nothing", store).exit_code == 6
    else:
        with pytest.raises(InputRefusedError, match="no ONNX model"):
            VERBS[verb](b"nothing", store)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", convolution().SerializeToString()[:200]], ids=["empty", "damaged"])
@pytest.mark.parametrize("verb", ["measure", "profile", "compare", "kernels collect"])
def test_a_file_that_is_refused_is_named(verb, content, tmp_path):
    bad = tmp_path / "n.onnx"  # what it is called stands in any message
    bad.write_bytes(content)
    with pytest.raises(InputRefusedError, match=r"\bn\.onnx\b"):
        VERBS[verb](bad, tmp_path / "run.db")


@pytest.mark.slow
def test_nobody_sees_through_a_network_and_there_is_no_store(tmp_path):
    with pytest.raises(InputRefusedError, match="cannot be inferred"):
        profile(unknown_to_shapes(), device=DEVICE, store=tmp_path / "run.db")
    with pytest.raises(InputRefusedError, match="cannot be inferred"):
        kernels.collect([unknown_to_shapes()], tmp_path / "run.db", device=DEVICE)
    assert not list(tmp_path.iterdir())


def unknown_to_shapes():
    """An operator of a runtime's own, which nobody but it can tell shapes of."""
    node = helper.make_node("Gelu", ["x"], ["t"], domain="com.microsoft")
    model = make(
        [node, helper.make_node("Relu", ["t"], ["y"])],
        [("x", TensorProto.FLOAT, (2,))],
        [("y", TensorProto.FLOAT, (2,))],
    )
    model.opset_import.add(domain="com.microsoft", version=1)
    return model


def external(location):
    model = convolution()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def huge():
    """Weights that no machine holds, made as the network runs."""
    size = helper.make_node("ConstantOfShape", ["n"], ["w"])
    value = [("n", TensorProto.INT64, (1,))]
    model = make([size, helper.make_node("Relu", ["w"], ["y"])], [], [("y", TensorProto.FLOAT, (2**36,))])
    model.graph.initializer.append(helper.make_tensor(value[0][0], TensorProto.INT64, (1,), [2**36]))
    return model


BAD = {
    "no ONNX": (b"no network at all", "no ONNX model"),
    "external weights that are missing": (external("gone.bin"), "gone.bin"),
    "external weights that lie outside": (external("../outside.bin"), "inside the model's directory"),
    "an operator that nobody has": (make([helper.make_node("Konv", ["x"], ["y"])], *ONE), "operator 'Konv'"),
    "sizes that stay open": (convolution(sizes=("n", 3, "h", "w")), "is open; fix it"),
    "larger than memory": (huge(), "generated weights|limit|GiB"),
}


@pytest.fixture(scope="module")
def batch():
    """One good network among all the bad ones, measured."""
    return measure([*(bad for bad, _ in BAD.values()), convolution()], device=DEVICE)


@pytest.mark.slow
@pytest.mark.parametrize("what", BAD)
def test_one_message_tells_why_and_the_others_go_on(batch, what):
    place = list(BAD).index(what)
    row = batch.document["networks"][place]
    assert row["verdict"] == "refused"
    assert batch.text.count(f"model{place + 1}: ") == 1
    assert "\n" not in row["failure"]["detail"]
    assert re.search(BAD[what][1], row["failure"]["detail"])
    assert batch.document["networks"][-1]["verdict"] == "ok"
    assert batch.exit_code == 6


@pytest.mark.slow
def test_kernels_of_the_others_are_collected(tmp_path):
    given = [b"nothing", unknown_to_shapes(), convolution()]
    found = kernels.collect(given, tmp_path / "run.db", device=DEVICE)
    assert found.exit_code == 6
    assert found.document["refused"].keys() == {"model1", "model2"}
    assert found.document["networks"] == ["model3"]
    assert "model2 is refused: " in found.text


@pytest.mark.parametrize(
    "model", [convolution(sizes=("n", 3, "h", "w")), torch.nn.Conv2d(3, 4, 3)], ids=["onnx", "torch"]
)
def test_an_input_that_no_memory_holds_is_refused_at_once(model):
    with pytest.raises(UsageError, match=r"=1x3x1000000x1000000 float32 takes 11,175.9 GiB; allowed: "):
        measure([model], shape=(1, 3, 10**6, 10**6), device=DEVICE)


def test_what_is_asked_wrongly_of_one_network_is_a_usage_error():
    with pytest.raises(UsageError, match="is open; fix it"):
        measure([convolution(sizes=("n", 3, "h", "w"))], device=DEVICE)


@pytest.mark.slow
def test_the_first_of_several_that_is_refused_is_named():
    with (
        pytest.raises(TempogradError, match=r"^model2: "),
        accepted_networks([convolution(), b"nothing"]),
    ):
        raise AssertionError("it was accepted")
    with accepted_networks([convolution()]) as (network,):
        assert facts_of(onnx.load(network.path)).key == network.key


@pytest.mark.slow
def test_several_sizes_are_several_networks_with_these_in_their_names(tmp_path):
    model = convolution(sizes=("batch", 3, "h", "h"), channels=64)
    shape = ["batch=1,8", "h=16"]
    found = measure([model], device=DEVICE, shape=shape, store=tmp_path / "run.db").document["networks"]
    assert [one["name"] for one in found] == ["model1 batch=1", "model1 batch=8"]
    assert found[1]["latency_ms"] > 2 * found[0]["latency_ms"]
    assert [one["inputs"][0]["shape"] for one in found] == [[1, 3, 16, 16], [8, 3, 16, 16]]
    with accepted_networks([model], ((1, 8), 3, 16, 16)) as networks:
        assert [one.name for one in networks] == ["model1 1x3x16x16", "model1 8x3x16x16"]
    with pytest.raises(UsageError, match="several shapes"):
        profile(model, device=DEVICE, shape=shape)
    with pytest.raises(UsageError, match="several shapes"):
        tg.measure(model, device=DEVICE, shape={"batch": (1,), "h": 16} | {"x": ((1, 8), 3, 16, 16)})


@pytest.mark.slow
def test_whole_numbers_go_in(tmp_path):
    node = helper.make_node("Gather", ["table", "at"], ["y"])
    model = make([node], [("at", TensorProto.INT64, ("n", 5))], [("y", TensorProto.FLOAT, ("n", 5, 4))])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((10, 4), np.float32), "table"))
    found = measure([model], device=DEVICE, shape=["n=1,2"], store=tmp_path / "run.db").document["networks"]
    assert [one["verdict"] for one in found] == ["ok", "ok"]
    assert found[0]["inputs"] == [{"name": "at", "dtype": "int64", "shape": [1, 5]}]


@pytest.mark.real
def test_a_runtime_that_refuses_an_operator_says_so_and_the_others_go_on(tmp_path):
    model = make([helper.make_node("Mine", ["x"], ["y"], domain="com.microsoft")], *ONE)
    model.opset_import.add(domain="com.microsoft", version=1)
    done = measure([model, branched(), convolution()], plan="quick", store=tmp_path / "run.db")
    refused, whole, other = done.document["networks"]
    assert done.exit_code == 6
    assert refused["failure"]["cause"] == "refused"
    assert "Mine" in refused["failure"]["detail"]
    assert whole["latency_ms"] > 0, "control flow is measured as a whole"
    assert other["latency_ms"] > 0
    with accepted_networks([model, branched(), convolution()]) as networks:
        seen = see(tg.device("local"), networks)
    assert seen.refused.keys() == {"model1", "model2"}
    assert "holds graphs of its own" in str(seen.refused["model2"])
    assert [network.name for network, _ in seen.networks] == ["model3"]


def branched():
    """Control flow: a rectifier or a sigmoid."""

    def branch(kind):
        node = helper.make_node(kind, ["x"], ["out"])
        return helper.make_graph([node], kind, [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, (2,))])

    chosen = helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Sigmoid"))
    inputs = [("x", TensorProto.FLOAT, (2,)), ("c", TensorProto.BOOL, ())]
    return make([chosen], inputs, [("y", TensorProto.FLOAT, (2,))])
