"""Whole searches on a device that is a formula."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from tempograd import registry
from tempograd.errors import MismatchError, TargetError, UsageError
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Round
from tempograd.search.price import Price
from tempograd.search.result import verdict_of
from tempograd.search.run import Options, _fed, search
from tempograd.search.searchers.gradient import GradientSearcher
from tempograd.search.searchers.one_shot import OneShot
from tempograd.search.training import Training
from tempograd.spaces.network import inherit
from tempograd.tasks.load import load_task
from tempograd.tasks.predicted import PredictedTask
from tempograd.tasks.task import Preprocessing
from tempograd.testing.methods import device, priced

from .tables import Worth

SPECS = {
    "nasbench201": "nasbench201:cells=1,width=4,size=8,channels=1",
    "darts": "darts:layers=2,width=4,size=8,channels=1",
}
QUICK = Options(training=Training(epochs=1, batch=32), random_networks=2)
METHODS = {
    "la_darts": "la_darts:epochs=2,warm_up=0.5,batch=32,one_path=true",
    "random_search": "random_search:networks=2",
    "evolution": "evolution:queries=4,population=2",
    "regularized_evolution": "regularized_evolution:queries=4,population=2,tournament=1",
    "surrogate_search": "surrogate_search:queries=4,rounds=2",
    "ofa": "ofa:epochs=1,largest=1,draws=1,batch=32,queries=6,population=4",
}


class Device:
    """Latency is a sum over choices, of which the predictor promises 80 %."""

    def __init__(self, space, *, verdict="ok"):
        self.space, self.verdict, self.measured = space, verdict, []
        self.values = np.random.default_rng(0).random((len(space.sites), max(space.widths)))
        weights = torch.cat([torch.from_numpy(row[:k]) for row, k in zip(self.values, space.widths, strict=True)])
        linear = torch.nn.Linear(len(weights), 1)
        with torch.no_grad():
            linear.weight.copy_(0.8 * weights[None].float())
            linear.bias.fill_(0.8)
        self.module = torch.nn.Sequential(linear, torch.nn.Flatten(0))

    def truth_ms(self, architecture):
        return 1 + float(self.values[np.arange(len(self.values)), architecture.choices].sum())

    def __call__(self, architectures):
        self.measured += architectures
        return [self._one(a, self.truth_ms(a)) for a in architectures]

    def _one(self, architecture, ms):
        spread = (0.5, 1.5) if self.verdict == "noisy" else (1.0, 1.0)
        rounds = tuple(
            Round(architecture.key, float(i), (1.0,), (1.0,), (ms * spread[i % 2],), (1.0,)) for i in range(8)
        )
        plan = {"target": 0.05}
        return Measurement(architecture.key, self.space.spec, "fake", plan, "", "wall", rounds, Reference(1.0, 1.1))


@pytest.fixture(params=SPECS, scope="module")
def space(request):
    return registry.create("space", SPECS[request.param])


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=150")


def run(space, task, *, method="la_darts", device=None, options=QUICK, interval=None, **kwargs):
    device = device or Device(space)
    recipe = registry.create("method", METHODS.get(method, method))
    price = Price(device.module, space, interval=interval)
    return search(space, recipe, price, task, measure=device, options=options, **kwargs)


def middle_ms(space):
    device = Device(space)
    return float(np.median([device.truth_ms(a) for a in space.sample(200, np.random.default_rng(1))]))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_meets_a_target_as_measured(space, task, method):
    device = Device(space)
    target_ms = 0.9 * middle_ms(space)
    result = run(space, task, method=method, device=device, target_ms=target_ms)
    assert result.verdict == "pass"
    assert result.found.measurement.latency_ms == pytest.approx(device.truth_ms(result.architecture))
    assert result.found.measurement.latency_ms <= target_ms
    assert result.steps[-1] is result.found
    assert [rival.step.predicted_ms <= target_ms for rival in result.rivals] == [True, True]
    assert f"{target_ms:.4g}" in result.summary()
    assert task.fitted(space).score(result.trained.network, "test") == result.trained.score


OFA = registry.create("space", "mbconv:family=ofa,size=8,channels=1,classes=10,width=0.25,stages=1,layers=3")


@pytest.mark.slow
def test_ofa_keeps_the_very_weights_of_its_supernet_and_trains_nothing_where_it_is_asked_to(task, tmp_path):
    """Random networks inherit alike; a second target trains nothing at all."""
    told, path = [], tmp_path / "supernet.safetensors"
    method = METHODS["ofa"] + ",deploy=inherited"
    options = replace(QUICK, supernet=path, random_networks=1)
    target_ms = middle_ms(OFA)
    result = run(OFA, task, method=method, options=options, target_ms=target_ms,
                 progress=lambda stage, *_: told.append(stage))  # fmt: skip
    assert told.count("supernet") == 2
    assert "train" not in told
    assert result.trained.record["started"]["source"] == "inherited"
    assert result.trained.passes == 0
    shot = OneShot(OFA, task.fitted(OFA), registry.create("method", method).find.schedule, seed=0, compute="cpu")
    supernet = shot.run(path)
    for each, architecture in [(result.trained, result.architecture)] + [
        (rival.trained, rival.step.architecture) for rival in result.rivals
    ]:
        own, whole = each.network.state_dict(), inherit(OFA.to_torch(architecture), supernet).state_dict()
        learnt = [key for key in own if "running" not in key and "tracked" not in key]
        assert len(learnt) > 20
        assert all(torch.equal(own[key], whole[key]) for key in learnt)
        assert task.fitted(OFA).score(each.network, "test") == each.score
    told.clear()
    run(OFA, task, method=method, options=options, target_ms=1.1 * target_ms,
        progress=lambda stage, *_: told.append(stage))  # fmt: skip
    assert not {"supernet", "train"} & {*told}


def test_a_searcher_that_gives_no_weights_is_not_trained_in_silence(task):
    space = registry.create("space", SPECS["nasbench201"])
    device = Device(space)
    method = replace(registry.create("method", METHODS["la_darts"]), deploys="inherited")
    with pytest.raises(UsageError, match="la_darts keeps inherited weights, and its searcher gave none"):
        search(space, method, Price(device.module, space), task, measure=device, options=QUICK, lam=0.1)


def test_weights_of_a_smaller_space_are_not_deployed(task):
    proxy = replace(OFA, width=0.125)
    with pytest.raises(UsageError, match=r"proxy mbconv.*width=0.125.*: ofa keeps the supernet's weights"):
        run(OFA, task, method="ofa:deploy=inherited", target_ms=5.0, proxy=proxy)


@pytest.mark.slow
def test_finalists_are_trained_and_the_best_of_them_is_kept(space, task):
    device = Device(space)
    target_ms = middle_ms(space)
    result = run(space, task, device=device, options=replace(QUICK, finalists=3), target_ms=target_ms)
    told = result.document().to_json()["finalists"]
    assert 2 <= len(told) <= 3
    assert all(0.93 * target_ms <= each["measured_ms"] <= target_ms for each in told)
    assert result.trained.validation_score == max(each["validation_score"] for each in told)
    assert result.steps[-1] is result.found
    assert result.architecture.key in {each["key"] for each in told}
    assert "finalists" not in run(space, task, device=device, target_ms=target_ms).document().to_json()


@pytest.mark.parametrize(("method", "factor"), [("la_darts:epochs=2", 1.25), ("ofa", 1.25), ("la_darts:epochs=2", 1.0)])
def test_where_less_is_measured_than_predicted_a_network_of_higher_accuracy_uses_the_room(method, factor):
    space = registry.create("space", SPECS["nasbench201"])
    device, accuracy = Device(space), Worth()
    with torch.no_grad():
        for parameter in device.module.parameters():
            parameter.mul_(factor / 0.8)  # it promised 80 %
    task = PredictedTask("table:t.csv:acc", space, accuracy, "raw", 2.0, {"rows": 20})
    result = run(space, task, method=method, device=device, options=Options(random_networks=0), target_ms=4.0)
    first, kept = result.steps[0], result.found
    worth = accuracy(torch.from_numpy(space.encode([first.architecture, kept.architecture], "raw"))).tolist()
    assert result.verdict == "pass"
    assert first.predicted_ms == pytest.approx(factor * device.truth_ms(first.architecture), rel=1e-3)
    assert (worth[1] > worth[0] + 0.1) is (factor > 1)
    assert (kept.measurement.latency_ms > first.measurement.latency_ms) is (factor > 1)


@pytest.mark.parametrize("method", ["la_darts:epochs=2", "ofa"])
def test_where_more_is_measured_than_predicted_the_best_network_that_fits_is_asked_for(method):
    space = registry.create("space", SPECS["nasbench201"])
    device, accuracy = Device(space), Worth()  # it promised 80 %
    task = PredictedTask("table:t.csv:acc", space, accuracy, "raw", 2.0, {"rows": 20})
    result = run(space, task, method=method, device=device, options=Options(random_networks=0), target_ms=4.0)
    assert result.verdict == "pass"
    assert len(device.measured) <= 4  # one that is above, one that fits, and that once more
    assert result.found.measurement.latency_ms <= 0.98 * 4.0  # another process may say a little more
    fits = [a for a in space.enumerate() if space.is_connected(a) and device.truth_ms(a) <= 0.98 * 4.0]
    worth = accuracy(torch.from_numpy(space.encode([*fits, result.architecture], "raw"))).tolist()
    assert worth[-1] >= np.quantile(worth, 0.999)


@pytest.mark.slow
def test_a_weight_of_latency_measures_what_was_derived(space, task):
    result = run(space, task, lam=0.3)
    assert result.verdict == "measured"
    assert [step.architecture for step in result.steps] == [result.architecture]
    assert all(rival.step.predicted_ms <= result.found.predicted_ms for rival in result.rivals)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(task):
    space = registry.create("space", SPECS["nasbench201"])
    one, two = (run(space, task, target_ms=middle_ms(space)).document().to_json() for _ in range(2))
    for result in (one, two):
        result.pop("seconds")
        result["trace"].pop("seconds")
    assert one == two


@pytest.mark.slow
def test_an_impossible_target_stops_before_any_training_or_measuring(space, task):
    device, told = Device(space), []
    with pytest.raises(TargetError, match="below the smallest network"):
        run(space, task, device=device, target_ms=0.5, progress=lambda *call: told.append(call))
    assert device.measured == told == []


@pytest.mark.slow
def test_a_measurement_that_cannot_be_trusted_makes_the_result_unreliable(task):
    space = registry.create("space", SPECS["nasbench201"])
    result = run(space, task, device=Device(space, verdict="noisy"), lam=0.1)
    assert result.verdict == "unreliable"


@pytest.mark.slow
def test_a_random_network_is_measured_until_its_latency_is_trusted_or_a_few_times(task):
    space = registry.create("space", SPECS["nasbench201"])

    class Noisy(Device):
        def __call__(self, architectures):
            found = []
            for architecture in architectures:
                self.verdict = "noisy" if self.measured.count(architecture) < self.slow else "ok"
                self.measured.append(architecture)
                found.append(self._one(architecture, self.truth_ms(architecture)))
            return found

    for slow, verdict in ((2, "ok"), (9, "noisy")):
        device = Noisy(space)
        device.slow = slow
        result = run(space, task, device=device, lam=0.3)
        assert {rival.step.measurement.verdict for rival in result.rivals} == {verdict}
        assert all(device.measured.count(rival.step.architecture) == 3 for rival in result.rivals)


@pytest.mark.slow
def test_without_repair_a_miss_is_a_fail(task):
    space = registry.create("space", SPECS["nasbench201"])
    device = Device(space)
    probe = run(space, task, device=device, lam=0.0)
    target_ms = 0.9 * probe.found.measurement.latency_ms
    assert verdict_of(probe.found.measurement, target_ms) == "fail"
    options = Options(training=QUICK.training, random_networks=0, repair=False)
    result = run(space, task, device=device, target_ms=target_ms, options=options)
    assert len(result.steps) == 1
    assert result.verdict == ("pass" if result.found.measurement.latency_ms <= target_ms else "fail")
    assert result.rivals == []


@pytest.mark.slow
def test_the_folder_holds_the_trained_network_and_every_number(tmp_path, space, task):
    device = Device(space)

    def interval(many):
        predicted = np.array([device.truth_ms(a) for a in many])
        return 0.7 * predicted, 1.1 * predicted

    result = run(space, task, device=device, target_ms=middle_ms(space), interval=interval)
    provenance = {"device": {"place": "fake", "id": "fake"}, "predictor": {"model": "linear"}, "command": "a command"}
    result.save(tmp_path / "result", provenance)
    folder = tmp_path / "result"
    assert sorted(p.name for p in folder.iterdir()) == [
        "architecture.json", "network.onnx", "predict.py", "result.json", "weights.safetensors",
    ]  # fmt: skip
    told = json.loads((folder / "result.json").read_text())
    assert set(told) == {
        "schema", "space", "method", "task", "seed", "mode", "target_ms", "lam", "device", "predictor", "feasibility",
        "found", "verdict", "repairs", "random", "trace", "sentinels", "environment", "versions", "command", "seconds",
        "training", "rebuild", "metric", "preprocessing", "class_names", "remarks",
        "examples",
    }  # fmt: skip
    counts = np.array(told["examples"]["counts"])
    assert counts.diagonal().sum() / counts.sum() == pytest.approx(result.trained.score)
    assert told["predictor"] == {"model": "linear", "feed": "sampled"}
    assert set(told["found"]) == {
        "key", "text", "predicted_ms", "predicted_low_ms", "predicted_high_ms", "measured", "accuracy",
        "validation_accuracy", "score", "validation_score", "metrics", "parameters", "macs",
    }  # fmt: skip
    assert told["found"]["measured"]["latency_ms"] == pytest.approx(device.truth_ms(result.architecture))
    assert told["found"]["predicted_low_ms"] == pytest.approx(0.7 * device.truth_ms(result.architecture))
    assert told["found"]["parameters"] == sum(p.numel() for p in result.trained.network.parameters())
    assert len(told["repairs"]) == len(result.steps)
    assert len(told["sentinels"]) == 8 * (len(result.steps) + 2)
    assert len({len(column) for column in told["trace"].values()}) == 1
    named = json.loads((folder / "architecture.json").read_text())
    assert space.architecture(named["choices"]) == result.architecture == space.parse(named["text"])
    model = onnx.load(folder / "network.onnx")
    metadata = {p.key: p.value for p in model.metadata_props}
    assert float(metadata["measured_latency_ms"]) == told["found"]["measured"]["latency_ms"]
    images, _ = task.fitted(space).test.take(torch.tensor([3]))
    session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = result.trained.network(images).numpy()
    assert np.allclose(session.run(None, {"input": images.numpy()})[0], expected, atol=1e-4)
    again = space.to_torch(result.architecture)
    again.load_state_dict(load_file(folder / "weights.safetensors"))
    again.eval()
    with torch.no_grad():
        assert np.allclose(again(images).numpy(), expected, atol=1e-6)


def test_a_search_goes_on_from_its_checkpoint(tmp_path, task):
    space = registry.create("space", SPECS["nasbench201"])
    options = Options(training=QUICK.training, random_networks=0, checkpoint=tmp_path / "search.safetensors")
    target_ms = middle_ms(space)
    first = run(space, task, target_ms=target_ms, options=options)
    told = []
    again = run(space, task, target_ms=target_ms, options=options, progress=lambda *call: told.append(call[0]))
    assert "search" not in told
    assert again.architecture == first.architecture
    assert again.trace == first.trace


@pytest.mark.slow
def test_a_proxy_trains_the_supernet_and_the_space_is_deployed(task):
    space = registry.create("space", "nasbench201:cells=2,width=4,size=8,channels=1")
    proxy = registry.create("space", SPECS["nasbench201"])
    result = run(space, task, lam=0.1, proxy=proxy)
    assert result.architecture.space == space.spec
    assert len(result.trained.network.arrays()) > 0
    with pytest.raises(MismatchError, match="other sites"):
        run(space, task, lam=0.1, proxy=registry.create("space", SPECS["darts"]))


def test_exactly_one_of_target_and_weight_is_given(task):
    space = registry.create("space", SPECS["nasbench201"])
    for both in ({}, {"target_ms": 3.0, "lam": 0.1}):
        with pytest.raises(UsageError, match="exactly one"):
            run(space, task, **both)


def test_a_task_that_does_not_fit_is_refused_before_the_search(task):
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1,classes=3")
    with pytest.raises(UsageError, match="10 classes"):
        run(space, task, lam=0.1)


def test_a_network_that_takes_smaller_images_than_the_task_gives_says_so():
    space = registry.create(
        "space", "mbconv:family=ofa,size=16,width=0.25,stages=1,layers=2,classes=10,channels=1,resolution_options=2"
    )
    whole = Preprocessing((16, 16), 1, "L", (0.5,), (0.5,), resize="nearest")
    small, large = (space.network_graph(space.architecture([i, 0, 0, 0, 0])) for i in (0, 1))
    assert _fed(whole, small) == replace(whole, size=(9, 9), resize="bilinear")
    assert _fed(whole, large) == whole
    assert _fed(None, small) is None


def test_a_weight_of_latency_is_relative_to_the_median_network(space, task, monkeypatch):
    class SeenError(Exception):
        pass

    def see(self, problem):
        raise SeenError(problem.reference_ms)

    monkeypatch.setattr(GradientSearcher, "__call__", see)
    with pytest.raises(SeenError) as seen:
        run(space, task, lam=0.1)
    predicted = Price(Device(space).module, space).predict(space.sample(2000, np.random.default_rng(5)))
    assert seen.value.args[0] == pytest.approx(float(np.median(predicted)), rel=0.05)


NODES = registry.create("space", "nodedag:n=4,stages=1,width=4,size=8,channels=1")
INHERITED = Options(training=Training(epochs=1, batch=32, start="inherited"), random_networks=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["gram:epochs=1,sweeps=5,still=5", "autoshrink:shared=true,supernet_epochs=1,k=2,keep=0.6"]
)
def test_a_graph_found_by_a_supernets_answers_may_begin_with_its_weights(task, method):
    recipe, price = registry.create("method", method), Price(priced(NODES), NODES)
    result = search(NODES, recipe, price, task, measure=device(NODES)[1], options=INHERITED, lam=0.1)
    assert result.trained.record["started"]["source"] == "inherited"


@pytest.mark.parametrize(
    ("spec", "method"),
    [(NODES.spec, "autoshrink"), (NODES.spec, "gram:shared=false"),
     ("chained:blocks=2,n=1,stages=1,copies=2,width=4,size=8,channels=1", "egdas")],
)  # fmt: skip
def test_weights_that_no_supernet_can_give_are_refused_before_any_work(task, spec, method):
    """Each block of ``chained`` was in a supernet of its own."""
    space = registry.create("space", spec)
    price = Price(priced(space), space)
    with pytest.raises(UsageError, match=r"start=inherited .*no supernet of these very networks"):
        search(space, registry.create("method", method), price, task, measure=None, options=INHERITED, lam=0.1)
