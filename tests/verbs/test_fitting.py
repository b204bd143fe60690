"""The space of a search: the user's words, then what was measured, then what the task needs."""

import pytest

from tempograd.data.store import Store
from tempograd.errors import UsageError
from tempograd.tasks.load import load_task
from tempograd.verbs.collect import collect
from tempograd.verbs.fitting import proxy_for, space_for, spec_in

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


def test_a_store_knows_a_space_however_it_is_written(tmp_path):
    store = tmp_path / "s.db"
    for space in (f"{CELLS},size=8,channels=1", f"{CELLS},size=8,classes=7,channels=1"):
        collect(space, store, device="simulated", count=2)
    first, second = f"{CELLS},classes=10,size=8,channels=1", f"{CELLS},classes=7,size=8,channels=1"
    with Store(store) as opened:
        assert spec_in(opened, None) is None
        assert spec_in(opened, "nasbench201:width=4,channels=1,size=8,classes=7,cells=1") == second
        assert spec_in(opened, f"{CELLS},classes=7") == second
        assert spec_in(opened, f"{CELLS},size=8,channels=1") == first  # which has the default of what is left open
        assert spec_in(opened, first) == first
        for none in ("nasbench201:cells=2,width=4", "darts", "nix"):
            assert spec_in(opened, none) == none
        with pytest.raises(UsageError, match=rf"{CELLS} is any of several .*; choose one: {first}, {second}"):
            spec_in(opened, CELLS)
        with pytest.raises(UsageError, match=r"'widht'; allowed: .* Did you mean 'width'"):
            spec_in(opened, "nasbench201:widht=4")
