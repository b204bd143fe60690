"""What a search writes, the report reads: no field renamed on one side alone."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.result import Result, read_result
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Failure, Round
from tempograd.metric import ACCURACY
from tempograd.report.report import write_report
from tempograd.search.evaluator import Trained
from tempograd.search.feasibility import Feasibility
from tempograd.search.repair import Step
from tempograd.search.result import Rival, SearchResult, verdict_of
from tempograd.search.trace import Epoch, Trace

SPEC = "nasbench201:cells=1,width=4,size=8,channels=1"


def measurement(architecture, level_ms, spread):
    rng = np.random.default_rng(3)
    rounds = tuple(
        Round(
            key=architecture.key,
            started_s=1e9 + i,
            sentinel_before_ms=(0.1, 0.1),
            sentinel_after_ms=(0.1, 0.1),
            wall_ms=(level_ms * float(np.exp(spread * rng.normal())),) * 3,
            cpu_ms=(level_ms * float(np.exp(spread * rng.normal())),) * 3,
        )
        for i in range(12)
    )
    plan = {"target": 0.05, "seed": 0}
    return Measurement(
        architecture.key, architecture.space, "f" * 12, plan, "0" * 64, "cpu", rounds, Reference.of([0.1] * 12)
    )


def result(spread, target_ms):
    space = registry.create("space", SPEC)
    found, other, broken = space.sample(3, np.random.default_rng(0))
    kept = Step(found, 1.1, measurement(found, 1.0, spread))
    rival = Step(other, 0.9, measurement(other, 0.8, 0.01))
    failure = Failure("crashed", "run", signal=11)
    lost = Step(
        broken, 0.9, Measurement(broken.key, SPEC, "f" * 12, {"target": 0.05}, "0" * 64, "cpu", failure=failure)
    )
    trained = Trained(space.to_torch(found), 0.9, 0.91, 10)
    epochs = [
        Epoch(0, "warm_up", 2.0, None, 9.0, 1.5, 1.6, 1.2, 0.0, 5.0, 1.0),
        Epoch(1, "search", 1.0, 1.1, 8.0, 1.4, 1.5, 1.1, 0.1, 4.0, 1.0),
    ]
    return SearchResult(
        space=space,
        method="la_darts",
        task="digits",
        metric=ACCURACY,
        seed=0,
        target_ms=target_ms,
        lam=None if target_ms else 0.1,
        feed="sampled",
        feasibility=Feasibility(0.3, 1.0, 2.0, target_ms, 0.5 if target_ms else None, other),
        found=kept,
        predicted_low_ms=1.0,
        predicted_high_ms=1.2,
        trained=trained,
        verdict=verdict_of(kept.measurement, target_ms),
        steps=[lost, kept],
        rivals=[Rival(rival, trained)],
        trace=Trace(epochs),
        seconds={"search": 1.0},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "target_ms", "verdict"),
    [(0.01, 1.2, "pass"), (0.01, 0.5, "fail"), (0.01, None, "measured"), (0.5, 0.8, "unreliable"), (0.5, 2.0, "pass")],
)
def test_what_a_search_saves_is_reported(tmp_path, spread, target_ms, verdict):
    made = result(spread, target_ms)
    made.save(tmp_path, {"device": {"id": "f" * 12}, "command": "tempograd search", "predictor": {"path": "p"}})
    read = read_result(tmp_path)
    estimate = made.found.measurement.estimate
    assert estimate is not None
    assert read.verdict == verdict
    assert read.found.measured.latency_ms == estimate.latency_ms
    assert [step.verdict for step in read.repairs] == ["failed", read.found.measured.verdict]
    assert len(read.sentinels) == 24
    assert read.predictor.feed == "sampled"
    page = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert verdict.upper() in page


def test_every_field_that_a_search_writes_is_read():
    asked = {"method": "la_darts", "seed": 0}
    written = result(0.01, 1.2).document({"asked": asked, "command": "", "device": {}}).to_json()
    assert written["asked"] == asked
    fields = set(Result.model_fields) | {"schema"}
    assert set(written) <= fields
    read = Result.model_validate(written)
    assert set(written["trace"]) == set(type(read.trace).model_fields)
    assert set(written["found"]) == set(type(read.found).model_fields)
    assert set(written["predictor"]) <= set(type(read.predictor).model_fields)
    assert set(written["found"]["measured"]) == set(type(read.found.measured).model_fields)
    assert set(written["random"][0]) == set(type(read.random[0]).model_fields)
