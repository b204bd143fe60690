"""The archive keeps what no other network beats, and its hypervolume is the area that these beat."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.metric import Metric
from tempograd.search.archive import Archive
from tempograd.search.trace import Query

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
RNG = np.random.default_rng(0)
ARCHITECTURES = SPACE.sample(40, RNG)


def asked(seed, n=40):
    rng = np.random.default_rng(seed)
    return [Query(a, float(ms), float(s)) for a, ms, s in zip(ARCHITECTURES, rng.random(n), rng.random(n), strict=True)]


def area(queries, worst, most_ms, steps=400):
    """By counting points of a grid."""
    ms, score = np.meshgrid(np.linspace(0, most_ms, steps), np.linspace(worst, 1, steps))
    return np.any([(q.predicted_ms <= ms) & (q.score >= score) for q in queries], axis=0).mean() * most_ms * (1 - worst)


@pytest.mark.parametrize("seed", range(5))
def test_it_keeps_whom_no_other_beats_in_both(seed):
    queries = asked(seed)
    kept = [
        one for one in queries
        if not any(o.score >= one.score and o.predicted_ms <= one.predicted_ms and o is not one for o in queries)
    ]  # fmt: skip
    archive = Archive.of(queries)
    assert sorted(q.architecture.key for q in archive.members) == sorted(q.architecture.key for q in kept)
    scores = [query.score for query in archive.best_first]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == max(query.score for query in queries)


def test_where_less_is_better_the_least_is_kept():
    queries = asked(1)
    best = Archive.of(queries, Metric("perplexity", higher_is_better=False)).best_first[0]
    assert best.score == min(query.score for query in queries)


def test_its_hypervolume_is_the_area_that_its_members_beat_and_never_falls():
    queries, before = asked(2), 0.0
    assert Archive.of([]).hypervolume(0.1, 0.9) == 0
    for n in range(1, len(queries) + 1):
        now = Archive.of(queries[:n]).hypervolume(0.1, 0.9)
        assert now >= before
        before = now
    assert before == pytest.approx(area([q for q in queries if q.predicted_ms <= 0.9], 0.1, 0.9), rel=0.02)
    assert before > Archive.of(queries[:3]).hypervolume(0.1, 0.9)


def test_an_empty_front_of_a_falling_metric_counts_from_its_own_reference():
    metric = Metric("perplexity", higher_is_better=False)
    archive = Archive.of([Query(ARCHITECTURES[0], 0.5, 20.0)], metric)
    assert archive.hypervolume(30.0, 1.0) == pytest.approx(10 * 0.5)
    assert archive.hypervolume(10.0, 1.0) == 0
