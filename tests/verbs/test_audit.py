"""``audit`` refuses what it cannot judge before it measures, and says in words what it found."""

import json

import pytest

from tempograd.data.store import Store
from tempograd.errors import MismatchError, UsageError
from tempograd.verbs.audit import audit
from tempograd.verbs.collect import collect
from tempograd.verbs.outcome import UNRELIABLE

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
DEVICE = "simulated:seed=1,slow=1.0"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "run.db"
    collect(SPACE, path, device=DEVICE, count=12, plan="quick")
    return path


def test_a_sound_store_passes_and_every_check_is_told(store):
    done = audit(store, device=DEVICE, count=3, plan="quick")
    assert (done.exit_code, done.document["failed"], done.document["passed"]) == (0, [], True)
    assert len(done.document["networks"]) == 3
    json.dumps(done.document, allow_nan=False)
    for check in done.document["checks"]:
        assert check["check"] in done.text
    assert "skipped" in done.text.splitlines()[-1]


def test_a_device_that_has_become_slower_fails_with_the_code_of_what_is_unreliable(store):
    done = audit(store, device="simulated:seed=1,slow=1.0,gflops=1", count=3, plan="quick")
    assert done.exit_code == UNRELIABLE
    assert done.document["failed"]
    assert "FAILED" in done.text


def test_the_rows_are_of_the_place_that_is_asked(store):
    with pytest.raises(
        MismatchError, match=r"come from simulated:seed=1,slow=1.0 \(.*not from local .*name their device"
    ):
        audit(store)


def test_the_next_command_names_the_device_of_the_store_and_works(store, tmp_path):
    spaced = tmp_path / "a store.db"
    spaced.write_bytes(store.read_bytes())
    other = audit(spaced, device="simulated:seed=2,slow=1.0", count=3, plan="quick")
    assert "provenance.device" in other.document["failed"]
    assert other.following == f"tempograd audit --store '{spaced}' --device {DEVICE}"
    own = audit(spaced, device=DEVICE, space="nasbench201:width=4,cells=1,size=8,channels=1", count=3, plan="quick")
    assert own.document["passed"]
    assert own.following == f"tempograd fit --store '{spaced}' --out predictor/"


def test_a_store_without_networks_says_what_comes_first(tmp_path):
    with Store(tmp_path / "empty.db", write=True):
        pass
    with pytest.raises(UsageError, match="holds no networks; measure some into it: tempograd collect"):
        audit(tmp_path / "empty.db", device=DEVICE)


def test_a_space_is_one_of_those_that_are_there(store, tmp_path):
    with pytest.raises(UsageError, match=r"holds no networks of darts; it holds nasbench201:"):
        audit(store, space="darts", device=DEVICE)
    two = tmp_path / "two.db"
    for space in (SPACE, SPACE.replace("width=4", "width=8")):
        collect(space, two, device=DEVICE, count=2, plan="quick")
    with pytest.raises(UsageError, match=r"holds several spaces .*name one with --space"):
        audit(two, device=DEVICE)


def test_a_farm_is_audited_where_its_agent_is(store, tmp_path):
    with pytest.raises(UsageError, match="audit it there with the agent's own --device"):
        audit(store, device=f"farm:pi5,queue=embedded:{tmp_path / 'queue.db'}")
