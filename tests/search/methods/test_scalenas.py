"""Each mechanism of ScaleNAS, seen in the recipe of that name: it is gone from here if it is taken out there."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search import evaluator
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.run import Options, search
from tempograd.search.searchers.grouped_shot import GroupedShot
from tempograd.search.training import Training
from tempograd.spaces.circuit import counts
from tempograd.spaces.network import inherit
from tempograd.tasks.fit import fit_space
from tempograd.tasks.load import load_task
from tempograd.testing.methods import device, priced
from tempograd.verbs.flags import check

DIGITS = "digits,limit=300"
BRANCHES = "multibranch:modules=1-1,width=4,depth=2"
SHORT = {"epochs": 2, "largest": 1, "batch": 16, "queries": 16, "population": 4}


@pytest.fixture(scope="module")
def task():
    return load_task(DIGITS)


@pytest.fixture(scope="module")
def space(task):
    return fit_space(BRANCHES, task)


def recipe(**changes):
    return registry.create("method", "scalenas", **SHORT | changes)


def middle(space):
    return float(np.median(Price(priced(space), space).predict(space.sample(200, np.random.default_rng(0)))))


def problem(space, task, **changes):
    fixed = {"target_ms": middle(space), "lam": None, "reference_ms": 1.0, "training": Training(epochs=1)}
    return Problem(space, space, Price(priced(space), space), task, **fixed | changes)


def trained(space, task, **changes):
    """The supernet that the recipe trains, all at once."""
    find = recipe(**changes).find
    shot = find.trains(space, task.fitted(space), find.schedule, seed=0, compute="cpu")
    return shot, shot.run(None)


def searched(space, task, supernet=None, **mode):
    options = Options(training=Training(epochs=1, batch=32), random_networks=1, supernet=supernet)
    return search(space, recipe(), Price(priced(space), space), task, measure=device(space)[1], options=options, **mode)


@pytest.mark.slow
def test_networks_are_trained_by_groups_in_turn(space, task):
    """Sizes of what the supernet runs: the smallest and the largest group come up, as uniform draws hardly ever do."""
    find, seen = recipe(largest=1, epochs=3).find, []
    shot = find.trains(space, task.fitted(space), find.schedule, seed=0, compute="cpu")
    forward = shot._forward
    shot._forward = lambda images, gates: seen.append(gates) or forward(images, gates)
    steps = shot.task.weights.steps(16)
    shot.run(None)
    drawn = {name: torch.stack([gates[name] for gates in seen[steps:]]) for name in seen[0]}
    macs = space.circuit.cost(counts(space.graph, space.operations, "macs"), drawn).numpy()
    groups, turns = 5, len(macs) // 5 * 5  # one window of two depths: 3 shares, the smallest and the largest
    of_group = macs[:turns].reshape(-1, groups)
    smallest, largest = (float(space.circuit.cost(counts(space.graph, space.operations, "macs"), end))
                         for end in (shot.smallest, shot.largest))  # fmt: skip
    assert (of_group[:, -1] == largest).all()
    assert (of_group[:, 0] < smallest + 0.2 * (largest - smallest)).all()
    assert (of_group[:, 1:-1] > of_group[:, :1]).all()


@pytest.mark.slow
def test_scores_are_of_the_law_part_with_the_supernets_weights_and_statistics_of_their_own(space, task):
    _, supernet = trained(space, task)
    fitted, without = task.fitted(space), []
    images = evaluator.calibration(fitted.weights, torch.Generator().manual_seed(0))
    for query in recipe(queries=8).find(problem(space, task)).queries:
        network = inherit(space.to_torch(query.architecture), supernet).eval()
        without.append(fitted.score(network, "law") == query.score)
        evaluator.recalibrate(network, images)
        assert fitted.score(network, "law") == query.score
    assert not all(without)


@pytest.mark.slow
def test_children_are_made_of_whole_modules(space, task):
    """Without mutation, no child of the recipe has a module that none had before."""
    queries = recipe(rate=0.0, queries=24, population=12).find(problem(space, task)).queries
    names = [site.name for site in space.sites]

    def part(query, module):
        pairs = zip(names, query.architecture.choices, strict=True)
        return tuple(choice for name, choice in pairs if name.startswith(module))

    for at in range(12, 24):
        for module in ("m0/", "m1/"):
            assert part(queries[at], module) in {part(query, module) for query in queries[:at]}


@pytest.mark.slow
@pytest.mark.parametrize("spec", [DIGITS, "shapes_segmentation,images=60", "figures_keypoints,images=60"])
def test_it_runs_under_a_target_and_the_network_kept_is_the_inherited_one(spec, tmp_path):
    """Its weights are those of the supernet's file bit for bit, but for statistics; so are the random networks'."""
    task, file = load_task(spec), tmp_path / "supernet.safetensors"
    space = fit_space(BRANCHES, task)
    result = searched(space, task, file, target_ms=middle(space))
    assert result.verdict == "pass"
    assert result.found.measurement.latency_ms <= middle(space)
    assert result.trained.record["epochs"] == 0
    with safe_open(file, framework="pt") as stored:
        for kept in (result.trained, result.rivals[0].trained):
            for name, value in kept.network.state_dict().items():
                same = torch.equal(value, stored.get_tensor(f"supernet/{name}"))
                assert same != name.endswith(("running_mean", "running_var")) or "num_batches" in name, name
    result.save(tmp_path / "result")
    assert (tmp_path / "result" / "predict.py").exists() == spec.startswith(
        "digits"
    )  # others name no class of an image
    assert json.loads((tmp_path / "result" / "result.json").read_text())["verdict"] == "pass"


@pytest.mark.slow
def test_what_is_kept_is_the_best_score_that_was_asked_about_and_fits(space, task):
    """The device is as predicted, so that repair has nothing to do."""
    price = Price(priced(space, factor=1.0), space)
    target_ms = float(np.median(price.predict(space.sample(200, np.random.default_rng(0)))))
    options = Options(random_networks=0)
    result = search(space, recipe(), price, task, measure=device(space)[1], target_ms=target_ms, options=options)
    best = max(query.score for query in result.queries)
    assert result.architecture in {query.architecture for query in result.queries if query.score == best}
    assert result.trained.validation_score == best
    with pytest.raises(UsageError, match="finalists"):
        check({"finalists": 2}, recipe(), on_table=False, costs=())


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["shapes_segmentation,images=60", "figures_keypoints,images=60"])
def test_dense_tasks_are_searched_at_a_weight_of_latency(spec):
    task = load_task(spec)
    space = fit_space(BRANCHES, task)
    result = searched(space, task, lam=0.3)
    assert result.verdict == "measured"
    assert result.metric == task.metric


@pytest.mark.slow
def test_several_targets_are_served_by_one_supernet_without_new_training(space, task, tmp_path):
    told, file = [], tmp_path / "supernet.safetensors"
    base = problem(space, task, supernet=file, progress=lambda stage, *_: told.append(stage))
    find = recipe().find
    loose = find(base)
    assert told.count("supernet") == SHORT["largest"] + SHORT["epochs"]
    content = file.read_bytes()
    told.clear()
    tight = find(replace(base, target_ms=float(np.quantile([q.predicted_ms for q in loose.queries], 0.3))))
    assert "supernet" not in told
    assert file.read_bytes() == content
    one = {q.architecture: q.score for q in loose.queries}
    both = [q for q in tight.queries if q.architecture in one]
    assert all(q.score == one[q.architecture] for q in both)


def test_the_recipe_is_made_of_these_pieces_and_says_which_were_read():
    method = recipe(distillation=0.7, draws=2, share=0.3, rate=0.1)
    assert method.find.trains is GroupedShot
    assert (method.find.schedule.distillation, method.find.schedule.draws) == (0.7, 2)
    assert (method.find.evolution.share, method.find.evolution.rate) == (0.3, 0.1)
    defaults = registry.create("method", "scalenas").find
    assert (defaults.schedule.distillation, defaults.evolution.share, defaults.evolution.rate) == (0.5, 0.25, 0.2)
    assert method.deploys == "inherited"
    assert {"read", "ours"} <= method.pieces.keys()


def test_spaces_with_nothing_to_take_or_leave_are_refused(task):
    darts = registry.create("space", "darts:layers=3,width=4,size=8")
    with pytest.raises(
        UsageError, match=r"scalenas cannot search darts: it needs .*parts to take or leave.*multibranch"
    ):
        search(darts, recipe(), Price(priced(darts), darts), task, measure=lambda many: [], target_ms=1.0)
