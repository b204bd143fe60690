"""What ``search`` does beside the search: here, how often the network found is timed, and which number is told."""

from types import SimpleNamespace

import pytest

from tempograd.errors import UsageError
from tempograd.verbs.search import TRIES, _Bench, search


def measured(latency_ms, verdict="ok", half_width=0.01):
    return SimpleNamespace(latency_ms=latency_ms, verdict=verdict, estimate=SimpleNamespace(half_width=half_width))


class Bench(_Bench):
    """Gives what a list says, one process after the other."""

    def __call__(self, items):
        return [items.pop(0)]


@pytest.mark.parametrize(
    ("found", "told", "processes"),
    [
        ([1.0, 1.1, 0.99], 1.0, 3),
        ([1.1, 1.0, 1.2, 9.0], 1.1, 3),
        ([(1.0, "noisy"), 1.3, (2.0, "noisy"), 1.1, 1.2], 1.2, 5),
        ([(1.0, "noisy"), 1.3, (2.0, "noisy"), (2.0, "noisy"), 1.2, (2.0, "noisy"), 9.0], 1.3, TRIES),
    ],
)
def test_the_middle_process_of_three_is_told(found, told, processes):
    script = [measured(*each) if isinstance(each, tuple) else measured(each) for each in found]
    bench = Bench(*[None] * 6)
    assert bench.settled(script)[0].latency_ms == told
    assert len(found) - len(script) == processes


def test_on_a_device_that_never_holds_still_the_narrowest_is_told():
    script = [measured(n, "noisy", half) for n, half in enumerate([0.5, 0.3, 0.1, 0.4, 0.2, 0.6, 0.0])]
    assert Bench(*[None] * 6).settled(script)[0].latency_ms == 2
    assert len(script) == 1


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("la_darts", {"finalists": 0, "target_ms": 1.0}, "finalists=0; allowed: from 1"),
        ("la_darts", {"finalists": 2, "lam": 0.1}, "give --target-ms"),
        ("evolution", {"finalists": 2, "target_ms": 1.0}, "evolution trains nothing.*la_darts"),
    ],
)
def test_finalists_that_nobody_would_train_are_refused(method, given, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        search("nasbench201:cells=1", None, tmp_path, method=method, cost="flops", **given)
