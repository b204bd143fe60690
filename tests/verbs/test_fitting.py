"""The space of a search: the user's words, then what was measured, then what the task needs."""

import pytest

from tempograd.errors import UsageError
from tempograd.tasks.load import load_task
from tempograd.verbs.collect import collect
from tempograd.verbs.fitting import proxy_for, space_for

CELLS = "nasbench201:cells=1,width=4"


@pytest.fixture(scope="module")
def digits():
    return load_task("digits,limit=100")


def test_without_anything_measured_the_task_decides(digits):
    assert space_for(CELLS, digits).spec == f"{CELLS},classes=10,size=16,channels=1"
    assert space_for(f"{CELLS},size=8", digits).spec == f"{CELLS},classes=10,size=8,channels=1"


def test_what_was_measured_goes_before_the_task_and_the_users_word_before_both(digits):
    measured = f"{CELLS},classes=10,size=32,channels=3"
    assert space_for(CELLS, digits, measured).spec == measured
    assert space_for(f"{CELLS},size=8", digits, measured).spec == f"{CELLS},classes=10,size=8,channels=3"
    with pytest.raises(UsageError, match=r"with 7 classes.*has 10: measure what fits.*size=16,channels=1"):
        space_for(CELLS, digits, f"{CELLS},classes=7,size=32,channels=3")


def test_a_space_that_is_given_as_such_stands(digits):
    space = space_for(f"{CELLS},size=8", digits)
    assert space_for(space, digits) is space


def test_a_proxy_is_as_the_space_where_it_says_nothing(digits):
    space = space_for("nasbench201:cells=2,width=8,classes=30", load_task("digits,limit=100"))
    assert proxy_for(CELLS, space).spec == f"{CELLS},classes=30,size=16,channels=1"
    assert proxy_for(None, space) is None


def test_collect_measures_the_space_that_fits_the_task(tmp_path):
    done = collect(CELLS, tmp_path / "run.db", task="digits,limit=100", device="simulated", count=8, plan="quick")
    assert done.document["space"] == f"{CELLS},classes=10,size=16,channels=1"
