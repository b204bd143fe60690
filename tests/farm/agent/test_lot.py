"""Jobs that are timed together: what the engine is given, how their files are built, and when they are done."""

from pathlib import Path

import pytest

from tempograd.farm.agent.lot import Lot
from tempograd.measurement.calibration import Calibration
from tempograd.profiler import engine

from ..conftest import MODEL
from ..conftest import _job as job


class Jobs:
    """Jobs at hand, and what was kept of them."""

    def __init__(self, *names):
        self.left, self.kept = [job(name) for name in names], []
        self.lot = Lot(
            self.left[0], pop=self.pop, lay_out=lambda one, folder: folder / one.key,
            keep=lambda closed, calibration: self.kept.append((list(closed), calibration)),
        )  # fmt: skip

    def pop(self, n):
        found, self.left = self.left[:n], self.left[n:]
        return found


class Closed:
    """What the engine says of a network, as far as a lot looks at it."""

    def __init__(self, key, replicate=0):
        self.key, self.replicate = key, replicate


def test_the_engine_is_given_jobs_as_they_come_until_none_are_at_hand():
    jobs = Jobs("a", "b", "c")
    assert jobs.lot.more(2) == [engine.Job("a", 0), engine.Job("b", 0)]
    assert [one.key for one in jobs.lot.open] == ["a", "b"]
    assert jobs.lot.more(5) == [engine.Job("c", 0)]
    assert jobs.lot.more(5) == []


def test_what_is_closed_is_kept_with_the_calibration_in_force_and_is_open_no_more():
    jobs = Jobs("a", "b")
    jobs.lot.more(2)
    calibration = Calibration("c", 0.0, 0.9, 1.0, 0.01, 0.02, 0.01, 12, 144)
    jobs.lot.calibrated(calibration)
    closed = Closed("b")
    jobs.lot.keep([closed])
    ((kept, with_),) = jobs.kept
    assert [(one.key, measurement) for one, measurement in kept] == [("b", closed)]
    assert with_ is calibration
    assert [one.key for one in jobs.lot.open] == ["a"]


def test_what_could_not_be_kept_stays_open():
    jobs = Jobs("a")
    jobs.lot.more(1)
    jobs.lot._keep = lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        jobs.lot.keep([Closed("a")])
    assert [one.key for one in jobs.lot.open] == ["a"]


def test_a_network_is_built_of_its_jobs_files():
    jobs = Jobs("a")
    jobs.lot.more(1)
    assert jobs.lot.items.build("a", Path("work")) == (Path("work/a"), MODEL.sha256)
    assert (jobs.lot.items.space, jobs.lot.items.keys) == ("toy", ())
    assert (jobs.lot.plan, jobs.lot.seed) == (job("a").plan, 0)
