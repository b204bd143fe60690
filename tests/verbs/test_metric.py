"""A metric of which less is better goes through every verb: the best is the lowest, and every text says so."""

import json

import pytest

import tempograd as tg
from tempograd.data.result import read_result
from tempograd.errors import InputRefusedError, UsageError
from tempograd.metric import Metric
from tempograd.verbs.collect import collect
from tempograd.verbs.fit import fit
from tempograd.verbs.report import report
from tempograd.verbs.search import search

OWN = '''
from dataclasses import dataclass
from torch.nn.functional import cross_entropy
from tempograd.metric import Metric
from tempograd.tasks.images import Classification
from tempograd.tasks.load import load_task
from tempograd.tasks.task import Collected

@dataclass(frozen=True)
class Surprise(Classification):
    """How surprised a network is by the labels: less is better, and there is no upper end."""
    metric = Metric("surprise", higher_is_better=False, unit="nats", chance=2.3)

    def metrics(self, outputs, targets):
        right = (outputs.argmax(1) == targets).float().mean()
        return {"surprise": float(cross_entropy(outputs, targets)), "hit rate": float(right)}

    def meter(self):
        return Collected(self.metrics)

def surprise():
    digits = load_task("digits,limit=120")
    return Surprise("digits", digits.weights, digits.law, digits.test, 10)

made = surprise()
'''
SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lower")
    (folder / "mine.py").write_text(OWN)
    collect(SPACE, folder / "run.db", device="simulated", count=40, plan="quick")
    fit(folder / "run.db", folder / "predictor")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "more"),
    [("la_darts", {"epochs": 2, "finalists": 3}), ("random_search", {"queries": 4}), ("evolution", {"queries": 6})],
)
def test_less_is_better_in_search_result_and_report(folder, method, more):
    if method == "evolution":
        pytest.importorskip("pymoo")
    out = folder / method
    done = search(
        SPACE, folder / "predictor", out, target_ms=100.0, method=method, task=f"{folder}/mine.py:made",
        device="simulated", train_epochs=2, random=3, **more,
    )  # fmt: skip
    result = read_result(out)
    assert result.metric.value == Metric("surprise", higher_is_better=False, unit="nats", chance=2.3)
    assert result.found.score > 0
    assert "accuracy" not in json.loads((out / "result.json").read_text())["found"]
    hits = f", hit rate {result.found.metrics['hit rate']:.4g}"
    assert f"test surprise {result.found.score:.4g} nats (lower is better){hits}, " in done.text
    assert "accuracy" not in done.text
    if result.finalists:
        assert result.found.validation_score == min(each.validation_score for each in result.finalists)
    if result.queries:
        scores = result.queries.score
        best = min(scores)
        assert scores[result.queries.front[-1]] == best
        assert result.found.key == result.queries.key[scores.index(best)]
    page = folder / f"{method}.html"
    report(out, page)
    html = page.read_text()
    assert "Test surprise" in html
    assert "lower is better" in html
    assert f"{hits}; trained once" in html
    beaten = sum(result.found.score < each.score for each in result.counted)
    assert f"Better by surprise (lower is better) than {beaten} of {len(result.counted)} random networks" in html
    found = tg.load(out)
    assert (found.metric.name, found.score) == ("surprise", result.found.score)
    assert "test surprise" in repr(found)
    with pytest.raises(UsageError, match="no accuracy: ask for score"):
        _ = found.accuracy


MINE = """
class Mine:
    def score(self, network):
        return FIGURE
"""


@pytest.mark.slow
@pytest.mark.parametrize("value", ['float("nan")', "None", "[0.5, 0.5]"])
def test_a_score_that_is_none_ends_the_search_before_a_result_and_goes_on_when_it_is_mended(folder, tmp_path, value):
    path = tmp_path / "mine.py"
    path.write_text(MINE.replace("FIGURE", value))

    def asked():
        return search(
            SPACE, folder / "predictor", tmp_path / "out", target_ms=100.0, method="random_search", queries=2, random=0,
            task=f"{path}:Mine", device="simulated",
        )  # fmt: skip

    with pytest.raises(InputRefusedError, match=r"^mine\.py:Mine@\w+\.score\(network\) is .*; allowed: one"):
        asked()
    assert not (tmp_path / "out" / "result.json").exists()
    path.write_text(MINE.replace("FIGURE", "0.5"))
    done = asked()
    assert (done.document["verdict"], done.document["found"]["score"]) == ("pass", 0.5)
    assert asked().document["kept"]
    path.write_text(MINE.replace("FIGURE", "0.25"))
    with pytest.raises(UsageError, match=r"another search \(task_content \w+ there, \w+ now\).*--overwrite"):
        asked()
