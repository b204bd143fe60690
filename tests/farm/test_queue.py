"""What campaigns and agents share of a queue: terms, leases, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tempograd.errors import UsageError
from tempograd.farm import queue as module
from tempograd.farm.messages import AgentState, Environment
from tempograd.farm.queue import Delivery, Lease, Seen, Terms, environment_of
from tempograd.farm.wire import encode

Make = Callable[..., Any]


@pytest.mark.parametrize("terms", [{"ack_wait_s": 0.0}, {"ack_wait_s": 1e9}, {"max_deliver": 0}])
def test_terms_have_bounds(terms: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        Terms(**terms)  # type: ignore[arg-type]


def test_an_agent_renews_well_before_it_stops_to_trust_a_lease():
    terms = Terms(ack_wait_s=60)
    assert (terms.renew_s, terms.hold_s) == (15, 45)


def test_a_lease_is_lost_at_its_deadline(job: Make, monkeypatch):
    lease = Lease(job("a"), 1, "f" * 16, 100.0, "")
    monkeypatch.setattr(module, "now_s", lambda: 99.9)
    assert not lease.lost
    monkeypatch.setattr(module, "now_s", lambda: 100.0)
    assert lease.lost


def test_a_result_is_taken_of_who_sent_it_only(job: Make, result: Make):
    sent = result(Lease(job("a"), 1, "f" * 16, 0.0, ""))
    raw = encode(sent)
    good = Delivery.of("c1", "a1", raw, "h")
    assert (good.result, good.refusal) == (sent, None)
    for campaign, agent in (("c2", "a1"), ("c1", "a2")):
        refused = Delivery.of(campaign, agent, raw, "h")
        assert refused.result is None
        assert "sent by" in str(refused.refusal)
        assert refused.raw == raw
    assert Delivery.of("c1", "a1", b"rubbish", "h").result is None


def state(name: str) -> AgentState:
    return AgentState(name, "0.1", ("tempograd.job/1",), (), 1, 1, "ready", "", 0, 0, 0, 0, 1_700_000_000_000)


def test_states_are_read_where_they_are_of_who_sent_them():
    found = [
        ("b", encode(state("b")), 3.0), ("a", encode(state("a")), -2.0), ("c", encode(state("a")), 1.0), ("d", b"", 1.0)
    ]  # fmt: skip
    seen = Seen.readable(found)
    assert [(one.state.agent, one.age_s) for one in seen] == [("a", 0.0), ("b", 3.0)]


def test_an_environment_is_the_one_that_was_asked_for():
    environment = Environment("a1", {"place": "local", "hardware": {}, "runtime": {}, "options": {}}, {})
    body = encode(environment)
    assert environment_of(body, "a1", environment.sha256) == environment
    assert environment_of(body, "a2", environment.sha256) is None
    assert environment_of(body, "a1", "0" * 64) is None
    assert environment_of(b"", "a1", environment.sha256) is None


def test_the_clock_goes_on():
    assert module.now_s() <= module.now_s()
