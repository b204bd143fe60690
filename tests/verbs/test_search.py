"""What ``search`` does beside the search: here, which requests it refuses before any work."""

import pytest

from tempograd.errors import UsageError
from tempograd.verbs.search import search


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "^no target is given; allowed: one of --target-ms, .* and --lam"),
        ({"target_ms": [1.5, 2.0], "lam": 0.0}, "^--target-ms 1.5 2.0 and --lam 0.0 are both given; allowed: one of"),
    ],
)
def test_a_search_has_a_target_or_a_weight(given, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        search("nasbench201:cells=1", None, tmp_path / "out", cost="flops", device="simulated", **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("la_darts", {"finalists": 0, "target_ms": 1.0}, "--finalists 0; allowed: a whole number from 1"),
        ("la_darts", {"finalists": 2, "lam": 0.1}, "give --target-ms"),
        ("evolution", {"finalists": 2, "target_ms": 1.0}, "evolution finds one network.*la_darts"),
    ],
)
def test_finalists_that_nobody_would_train_are_refused(method, given, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        search("nasbench201:cells=1", None, tmp_path, method=method, cost="flops", **given)
