import pytest

from tempograd.devices.device import Loaded, PassResult
from tempograd.errors import DeviceError
from tempograd.farm.agent.files import Files
from tempograd.farm.agent.known_good import KnownGood
from tempograd.farm.agent.spool import Spool
from tempograd.measurement.rounds import Failure

from ..conftest import CONTENT, MODEL
from ..conftest import _job as job


class Scripted:
    """A device that loads and runs as a test says; it remembers what it was given."""

    def __init__(self, *, load=None, run=None, gone=False):
        self.load_failure, self.run_failure, self.gone, self.models = load, run, gone, []

    def open(self):
        if self.gone:
            raise DeviceError("gone")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def load(self, models):
        self.models += [model.path.read_bytes() for model in models]
        return [Loaded(model.key, failure=self.load_failure) for model in models]

    def start_timing(self):
        pass

    def run_pass(self, keys, *, burst_ms):
        return PassResult((), {keys[0]: self.run_failure} if self.run_failure else {})


@pytest.fixture
def known_good(tmp_path):
    with Spool(tmp_path) as spool:
        files = Files(tmp_path)
        (tmp_path / "models" / MODEL.sha256).write_bytes(CONTENT)
        yield KnownGood(spool, files)


def test_the_first_network_that_ran_is_the_one_that_is_tried(known_good, tmp_path):
    known_good.remember(job("a"))
    known_good.remember(job("b"))
    device = Scripted()
    assert known_good.probe(device) is None
    assert device.models == [CONTENT]
    assert len(list((tmp_path / "known-good").iterdir())) == 1


def test_without_one_a_process_that_starts_is_enough(known_good):
    device = Scripted()
    assert known_good.probe(device) is None
    assert device.models == []
    assert known_good.probe(Scripted(gone=True)) == "gone"


@pytest.mark.parametrize("when", ["load", "run"])
def test_what_went_wrong_is_said(known_good, when):
    known_good.remember(job("a"))
    said = known_good.probe(Scripted(**{when: Failure("crashed", "run", detail="signal 11")}))
    assert said == "a network that ran before failed: crashed (signal 11)"
