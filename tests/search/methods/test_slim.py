"""Each mechanism of slim, seen in the recipe of that name: it is gone from here if it is taken out there."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.search import evaluator, method
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.run import Options, search
from tempograd.search.searchers import edge
from tempograd.search.searchers.edge import line
from tempograd.search.searchers.one_shot import OneShot, ends
from tempograd.search.training import Training
from tempograd.spaces.network import inherit
from tempograd.tasks.load import load_task
from tempograd.testing.methods import device, priced

pytest.importorskip("torch_pruning")
sys.path.append(str(Path(__file__).parents[2] / "assets"))
import trained

pytestmark = pytest.mark.slow

REFERENCE_MS = 2.0
SANDWICH = "slim:epochs=1,draws=2,batch=32,queries=8,shortlist=1"


@pytest.fixture(scope="module")
def space():
    return trained.resnet()


@pytest.fixture(scope="module")
def task():
    return load_task("digits,limit=200")


def middle_ms(space):
    return float(np.median(Price(priced(space), space).predict(space.sample(200, np.random.default_rng(0)))))


def problem(space, task, **changes):
    fixed = {"target_ms": None, "lam": None, "reference_ms": REFERENCE_MS, "training": Training(epochs=1)}
    return Problem(space, space, Price(priced(space), space), task, **fixed | changes)


def supernet_of(space, task, recipe):
    return OneShot(space, task.fitted(space), recipe.find.schedule, seed=0, compute="cpu").run(None)


def searched(patch, recipe, asked):
    """Return what was found, and of the last line what it was learnt from and what it says."""
    told = []

    def noted(space, queries, worth):
        scores, likely = line(space, queries, worth)
        told.append(([query.architecture for query in queries], [worth(query) for query in queries], scores, likely))
        return scores, likely

    patch.setattr(edge, "line", noted)
    return recipe.find(asked), told[-1]


@pytest.mark.parametrize("few", [1024, 10], ids=["all", "a sample"])
@pytest.mark.parametrize("spec", ["slim:queries=8", SANDWICH])
def test_networks_are_told_by_their_loss_on_held_out_examples_with_the_weights_they_keep(
    spec, few, space, task, monkeypatch
):
    """Statistics are taken anew, of examples that are learnt from; a weight of latency is heard."""
    monkeypatch.setattr(edge, "_FEW", few)
    monkeypatch.setattr(evaluator, "SCORING_BATCH", 7)  # the last batch is a smaller one
    recipe, fitted, lam = registry.create("method", spec), task.fitted(space), 3.0
    found, (networks, worth, _, _) = searched(monkeypatch, recipe, problem(space, task, lam=lam))
    batches = {"batches": 4} if few < len(fitted.law) else {}
    order = torch.randperm(len(fitted.law), generator=torch.Generator().manual_seed(0))
    inputs, labels = fitted.law.take(order[:few] if batches else torch.arange(len(fitted.law)))
    supernet = supernet_of(space, task, recipe) if recipe.find.schedule.epochs else None
    assert networks == [query.architecture for query in found.queries]
    assert len(networks) == 8
    for query, told in zip(found.queries, worth, strict=True):
        network = space.to_torch(query.architecture)
        network = inherit(network, supernet) if supernet else network
        images = evaluator.calibration(fitted.weights, torch.Generator().manual_seed(0), **batches)
        evaluator.recalibrate(network, images)
        with torch.no_grad():
            logits = network(inputs)
        loss = float(torch.nn.functional.cross_entropy(logits, labels))
        assert told == pytest.approx(-loss - lam * query.predicted_ms / REFERENCE_MS, abs=1e-5)
        assert query.score == pytest.approx(float((logits.argmax(dim=1) == labels).float().mean()))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_the_best_by_loss_and_line_and_repair_goes_on_along_it(seed, space, task, monkeypatch):
    recipe = registry.create("method", "slim:shortlist=1")
    asked = problem(space, task, target_ms=middle_ms(space), queries=10, seed=seed)
    found, (networks, _, scores, likely) = searched(monkeypatch, recipe, asked)
    assert found.architecture == networks[int(likely.argmax())]
    assert np.array_equal(found.scores, scores)
    assert scores.any()
    assert found.candidates == ()  # what misses the target as measured is left to repair


def test_nothing_is_trained_for_it_and_no_file_is_written(space, task, tmp_path):
    method, stages = registry.create("method", "slim:shortlist=1"), []
    file = tmp_path / "supernet.safetensors"
    asked = problem(space, task, lam=0.0, queries=4, supernet=file, progress=lambda stage, *_: stages.append(stage))
    assert method.find(asked).passes == 0
    assert "supernet" not in stages
    assert not file.exists()
    file.write_bytes(b"of another supernet")
    assert len(method.find(asked).queries) == 4
    assert method.find.schedule.largest + method.find.schedule.epochs == 0
    assert method.find.edge.queries == 80


def test_where_epochs_are_asked_for_the_largest_the_smallest_and_random_ones_learn_in_every_step(
    space, task, monkeypatch, tmp_path
):
    made, passes, file = space.supernet(), [], tmp_path / "supernet.safetensors"
    made.register_forward_pre_hook(lambda _, args: passes.append({k: v.clone() for k, v in args[1].items()}))
    monkeypatch.setattr(type(space), "supernet", lambda self: made)
    recipe, asked = registry.create("method", SANDWICH), problem(space, task, lam=0.0, supernet=file)
    found = recipe.find(asked)
    small, large = ({site: row[0] for site, row in space.gates([end]).items()} for end in ends(space))
    steps = len(task.fitted(space).weights) // 32

    def same(one, other):
        return all(torch.equal(one[site], other[site].to(one[site].dtype)) for site in one)

    assert len(passes) == steps * 4
    sandwiches = [passes[at : at + 4] for at in range(0, len(passes), 4)]
    assert all(same(first, large) and same(second, small) for first, second, *_ in sandwiches)
    drawn = {tuple(tuple(row.tolist()) for row in each.values()) for _, _, *both in sandwiches for each in both}
    assert len(drawn) > steps
    assert found.passes == steps * 4 * 32
    passes.clear()
    again = recipe.find(asked)  # of the file: every other target costs nothing
    assert not passes
    assert [query.score for query in again.queries] == [query.score for query in found.queries]


@pytest.mark.parametrize("spec", ["slim:queries=4", SANDWICH])
def test_training_begins_with_the_weights_that_were_asked_about(spec, space, task):
    recipe = registry.create("method", spec)
    found, supernet = recipe.find(problem(space, task, lam=0.0)), supernet_of(space, task, recipe)
    with torch.no_grad():
        network = space.to_torch(found.architecture)
        expected = inherit(space.to_torch(found.architecture), supernet).state_dict()
        for value in network.parameters():
            value.zero_()
    begun, kept = found.begin(network).state_dict(), found.deployed(found.architecture).network.state_dict()
    for name, value in expected.items():
        assert torch.equal(begun[name], value)
        assert torch.equal(kept[name], value) or "running" in name or "tracked" in name
    scores = {query.architecture: query.score for query in found.queries}
    assert [*found.inherited([found.architecture])] == [scores[found.architecture]]


@pytest.mark.parametrize("deploy", ["", "trained", "inherited"])
def test_what_is_found_learns_from_the_whole_network_unless_it_is_kept_as_it_is(deploy, space, task, monkeypatch):
    teachers, train = [], method.train
    monkeypatch.setattr(method, "train", lambda *args, **rest: teachers.append(rest["teacher"]) or train(*args, **rest))
    given = {
        "queries": 4,
        **({"deploy": deploy} if deploy else {}),
        **({} if deploy == "inherited" else {"shortlist": 1}),
    }
    recipe = registry.create("method", "slim", **given)
    result = search(
        space, recipe, Price(priced(space), space), task, measure=device(space)[1], target_ms=middle_ms(space),
        options=Options(training=Training(epochs=1, batch=32), random_networks=0),
    )  # fmt: skip
    assert result.verdict == "pass"
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        expected = space.to_torch(space.whole).eval()(x)
        taught = [torch.equal(teacher(x), expected) for teacher in teachers]
    assert taught == ([] if deploy == "inherited" else [True])
    assert (result.trained.passes > 0) is (deploy != "inherited")


@pytest.mark.parametrize("lam", [None, 0.1])
def test_of_the_best_few_the_one_is_found_that_loses_least_after_an_epoch_of_the_training_to_come(
    lam, space, task, monkeypatch, tmp_path
):
    """It begins with the weights that they keep and learns from the whole network, by the recipe, of one epoch."""
    mode = {"target_ms": middle_ms(space)} if lam is None else {"lam": lam}
    full = Training(epochs=4, batch=32, warm_up=1.0, patience=2, learning_rate=0.2)
    told, fitted = [], task.fitted(space)
    asked = problem(
        space, task, **mode, queries=10, training=full, trainings=tmp_path, progress=lambda *one: told.append(one)
    )
    found, (networks, _, scores, likely) = searched(monkeypatch, registry.create("method", "slim:shortlist=4"), asked)
    best = [networks[i] for i in np.argsort(-likely)[:4]]
    short, losses, passes = Training(epochs=1, batch=32, warm_up=0.25, learning_rate=0.2), [], 0
    for architecture in best:
        trained = evaluator.train(architecture, space, fitted, short, seed=0, teacher=space.teacher())
        inputs, labels = fitted.law.take(torch.arange(len(fitted.law)))
        with torch.no_grad():
            losses.append(float(torch.nn.functional.cross_entropy(trained.network(inputs), labels)))
        passes += trained.passes
    predicted_ms = asked.predict()(best)
    worth = [-loss - (lam or 0.0) * ms / REFERENCE_MS for loss, ms in zip(losses, predicted_ms.tolist(), strict=True)]
    told_losses = [values["loss"] for stage, _, _, values in told if stage == "shortlist"]
    assert len(set(worth)) == 4
    assert found.architecture == best[int(np.argmax(worth))]
    assert worth.index(max(worth)) > 0  # else nothing was seen of it
    assert found.candidates == tuple(best[i] for i in np.argsort(-np.array(worth)))  # measured in this order
    assert told_losses == pytest.approx(losses)
    assert found.passes == passes > 0
    assert np.array_equal(found.scores, scores)
    assert "train" not in {stage for stage, *_ in told}  # it is part of the search
    again = registry.create("method", "slim:shortlist=4").find(asked)  # what was trained is kept
    assert again.architecture == found.architecture


def test_eight_are_on_the_shortlist_unless_told_otherwise_and_none_where_an_epoch_tells_nothing(space, task):
    assert registry.create("method", "slim").find.shortlist == 8
    assert registry.create("method", "slim:deploy=inherited").find.shortlist == 1
    with pytest.raises(UsageError, match="shortlist=4 of method slim counts only with deploy=trained"):
        registry.create("method", "slim:deploy=inherited,shortlist=4")
    plain = registry.create("space", "nasbench201:cells=1,width=4,size=8")
    fitted, stages = task.fitted(plain), []
    asked = Problem(
        plain, plain, Price(priced(plain), plain), task, target_ms=None, lam=0.0, reference_ms=1.0, queries=4,
        training=Training(epochs=1), progress=lambda stage, *_: stages.append(stage),
    )  # fmt: skip
    registry.create("method", "slim:epochs=1,batch=32").find(asked)
    assert fitted.by_recipe
    assert "queries" in stages
    assert "shortlist" not in stages
