"""Devices of other machines as a place: nothing is opened here, and odd names are refused."""

import pytest

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.farm.device import FarmDevice
from tempograd.farm.messages import AgentDevice, AgentState
from tempograd.farm.queue import Seen


@pytest.fixture
def url(tmp_path):
    return f"embedded:{tmp_path / 'queue.db'}"


@pytest.mark.promise(5)
def test_a_farm_opens_nothing_here_and_refuses_odd_names(url):
    assert not hasattr(FarmDevice("sim", queue=url), "open")
    with pytest.raises(UsageError, match="a-z"):
        FarmDevice("Sim*", queue=url)
    with pytest.raises(UsageError, match="positive"):
        FarmDevice("sim", queue=url, patience_s=0)
    spec = registry.create("device", f"farm:sim,queue={url},patience_s=5")
    assert (spec.kind, spec.url, spec.patience_s) == ("sim", url, 5)


def test_the_address_is_that_of_the_file_and_its_login_goes_nowhere_else(tmp_path, monkeypatch):
    (tmp_path / "ca.pem").touch()
    config = tmp_path / "farm.toml"
    config.write_text('[queue]\nurl = "tls://farm.lan:4222"\nca = "ca.pem"\n')
    place = FarmDevice("sim", config=config)
    assert (place.url, place._access.ca) == ("tls://farm.lan:4222", tmp_path / "ca.pem")
    elsewhere = FarmDevice("sim", queue="tls://other.lan", config=config)
    assert (elsewhere.url, elsewhere._access.ca) == ("tls://other.lan", None)
    monkeypatch.chdir(tmp_path)
    assert FarmDevice("sim").url == "tls://farm.lan:4222"
    config.unlink()
    assert FarmDevice("sim").url.startswith("embedded:")


def test_other_machines_clocks_count(url):
    assert FarmDevice("sim", queue=url).environment() == {"farm": "sim", "virtual_clock": True}


def test_who_was_not_seen_for_long_is_not_live(url):
    def seen(name, kind, age_s):
        lent = AgentDevice(kind, "simulated", "0123456789ab", "e" * 64)
        state = AgentState(name, "0.1", ("s",), (lent,), 1, 1, "ready", "", 0, 0, 0, 0, 1_700_000_000_000)
        return Seen(state, age_s)

    class Queue:
        def agents(self):
            return [seen("a", "sim", 3.0), seen("b", "sim", 61.0), seen("c", "other", 1.0)]

    assert [one.state.agent for one in FarmDevice("sim", queue=url).live(Queue())] == ["a"]
