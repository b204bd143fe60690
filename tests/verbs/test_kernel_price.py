"""A space priced by its kernels, none of its networks timed, on a device whose truth is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.store import Store
from tempograd.errors import MismatchError, UsageError
from tempograd.predictor.kernels import KernelPredictor
from tempograd.profiler.plan import QUICK, Items
from tempograd.profiler.verify import measure as verify
from tempograd.verbs import kernels
from tempograd.verbs.costs import priced
from tempograd.verbs.kernel_price import by_kernels, sums
from tempograd.verbs.search import search

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
LARGER = "nasbench201:cells=1,width=64,size=32,channels=1"
DEVICE = "simulated:noise=0.002,process_noise=0.002,sentinel_noise=0.002,slow=1,overhead_us=20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What was learnt of the kernels of eight networks."""
    found = tmp_path_factory.mktemp("kernels")
    kernels.collect([], found / "run.db", space=SPACE, networks=8, device=DEVICE)
    kernels.fit(found / "run.db", found / "kernels")
    return found / "kernels"


@pytest.fixture(scope="module")
def told(folder):
    space, device, kept = (
        registry.create("space", SPACE),
        registry.create("device", DEVICE),
        KernelPredictor.load(folder),
    )
    return space, device, kept, sums(space, device, kept)


def truth_of(space, device, networks, tmp_path):
    from tempograd.devices.device import Model

    return np.array([device.true_ms(Model(a.key, *space.write_onnx(a, tmp_path))) for a in networks])


@pytest.mark.slow
def test_networks_that_were_never_timed_are_priced_near_their_truth(told, tmp_path):
    space, device, kept, found = told
    price = by_kernels(space, kept, found, upper_bound=False)
    networks = [a for a in space.sample(60, np.random.default_rng(5)) if space.is_connected(a)]
    ratio = price.predict(networks) / truth_of(space, device, networks, tmp_path)
    assert np.median(np.abs(ratio - 1)) < 0.05
    assert price.told["model"] == "kernels"
    assert price.told["out_of_support"] == []
    assert price.chance(price.predict(networks), 1e3).min() > 0.9
    upper = by_kernels(space, kept, found, upper_bound=True)
    assert np.all(upper.predict(networks) > price.predict(networks))


@pytest.mark.slow
def test_the_price_has_a_slope_in_the_gates(told):
    import torch

    from tempograd.search.cost import PredictorCost

    space, _, kept, found = told
    cost = by_kernels(space, kept, found, upper_bound=False).as_cost(PredictorCost)
    gates = {
        name: g[:1].clone().requires_grad_()
        for name, g in space.gates(space.sample(1, np.random.default_rng(0))).items()
    }
    cost(gates).sum().backward()
    slope = torch.stack([g.grad[0] for g in gates.values()])
    options = space.sites[0].options
    assert slope[:, options.index("nor_conv_3x3")].mean() > slope[:, options.index("skip_connect")].mean()


def test_kernels_unlike_those_that_were_timed_are_named(told, monkeypatch):
    monkeypatch.setattr("tempograd.verbs.kernel_price.NETWORKS", 20)
    _, device, kept, _ = told
    space = registry.create("space", LARGER)
    found = sums(space, device, kept)
    assert sum(found.outside.values()) > 0.5
    assert any(name.startswith("Conv 3x3 to 1x") for name in found.named)
    assert len(found.named) <= 5


@pytest.mark.slow
def test_what_a_search_goes_on_with_is_kept(told, tmp_path):
    space, device, kept, _ = told
    networks = space.sample(5, np.random.default_rng(1))
    ask = {"upper_bound": False, "inputs": tmp_path / "cost.json"}
    with Store(tmp_path / "run.db", write=True) as store:
        first = priced("kernels", space, kept, store, device, None, **ask)
        other = replace(kept, known=dict.fromkeys(kept.known, 99.0))
        again = priced("kernels", space, other, store, device, None, **ask)
    assert again.predict(networks) == pytest.approx(first.predict(networks))
    assert len(json.loads((tmp_path / "cost.json").read_text())["kernels"]["ms"]) > 100


@pytest.mark.slow
def test_kernels_are_a_share_of_a_price_too(told, tmp_path):
    space, device, kept, _ = told
    with Store(tmp_path / "run.db", write=True) as store:

        def measure(networks):
            return verify(device, Items.of(space, networks), QUICK, store)

        price = priced("0.5*kernels+0.5*flops", space, kept, store, device, measure, upper_bound=False)
    networks = [a for a in space.sample(20, np.random.default_rng(5)) if space.is_connected(a)]
    ratio = price.predict(networks) / truth_of(space, device, networks, tmp_path)
    assert np.median(np.abs(ratio - 1)) < 0.2
    assert price.told["model"] == "0.5*kernels+0.5*flops"
    assert price.told["out_of_support"] == []


def test_what_does_not_fit_is_refused(told, tmp_path, folder):
    space, device, kept, found = told
    with pytest.raises(MismatchError, match="are of device"):
        sums(space, registry.create("device", DEVICE + ",seed=9"), kept)
    with pytest.raises(UsageError, match="--upper-bound"):
        by_kernels(space, KernelPredictor("x", 1.0), found, upper_bound=True)
    with Store(tmp_path / "run.db", write=True) as store:
        for cost, learnt, why in (("kernels", None, "kernels fit"), ("predictor", kept, "say --cost kernels")):
            with pytest.raises(UsageError, match=why):
                priced(cost, space, learnt, store, device, None, upper_bound=False)


@pytest.mark.slow
def test_a_search_follows_the_kernels_and_what_it_found_is_measured(folder, tmp_path):
    done = search(
        SPACE, folder, tmp_path / "result", target_ms=1.0, device=DEVICE, method="la_darts", epochs=1, train_epochs=1,
        random=0, plan="quick", task="digits",
    )  # fmt: skip
    found = done.document
    assert found["verdict"] == "pass"
    assert found["predictor"]["model"] == "kernels"
    assert found["asked"]["cost"] == "kernels", "what the folder holds says which cost it is"
