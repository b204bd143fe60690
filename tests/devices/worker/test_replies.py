"""What a measuring process may say: it runs foreign networks, so every field is checked, and nothing else is taken."""

import numpy as np
import pytest
from msgspec import ValidationError, convert

from tempograd.devices.worker.replies import FailureReply, LoadReply, OutputReply, PassReply, RoundReply
from tempograd.devices.worker.wire import to_text
from tempograd.errors import InputRefusedError
from tempograd.measurement.rounds import Failure

LOADED = {"load_ms": 5.0, "first_run_ms": 2.0, "warm_up_runs": 7, "typical_ms": 1.0, "providers": {"CPU": 3}}
ROUND = {
    "network": 0, "started_s": 1e9, "sentinel_before_ms": [1.0], "sentinel_after_ms": [1.0], "wall_ms": [2.0] * 3,
    "cpu_ms": [1.9] * 3, "gpu_ms": [], "involuntary_switches": 0, "run_queue_wait_ms": 0.0, "events": ["thermal"],
    "block": 1, "other_sentinels_ms": {}, "state": {"energy_mj": 3.0},
}  # fmt: skip
BAD_NUMBERS = [0.0, -1.0, float("nan"), float("inf"), "1", None, 1e301]


def test_a_network_that_was_loaded():
    found = convert(LOADED, LoadReply).value("a")
    assert (found.key, found.load_ms, found.warm_up_runs, found.providers) == ("a", 5.0, 7, {"CPU": 3})
    assert found.failure is None


@pytest.mark.parametrize(
    "change",
    [{"typical_ms": 0.0}, {"warm_up_runs": 0}, {"load_ms": -1.0}, {"memory_bytes": -5}, {"load_ms": float("nan")},
     {"more": 1}, {"failure": {"cause": "unheard of", "phase": "load", "detail": ""}}],
)  # fmt: skip
def test_what_no_loading_can_have_told(change):
    with pytest.raises(ValidationError):
        convert(LOADED | change, LoadReply)


def test_a_failure_stands_alone_and_writes_nothing_to_a_terminal():
    reply = convert({"failure": {"cause": "crashed", "phase": "run", "detail": "a\x1b[31mb\nc"}}, LoadReply)
    assert reply.failure is not None
    assert reply.failure.value() == Failure("crashed", "run", detail="a[31mbc")
    with pytest.raises(ValidationError):
        convert({"cause": "crashed", "phase": "run", "detail": "x" * 4097}, FailureReply)


def test_a_round_is_kept_as_it_was_sent():
    found = convert(ROUND, RoundReply).value("a")
    assert (found.key, found.wall_ms, found.events, found.state) == ("a", (2.0,) * 3, ("thermal",), {"energy_mj": 3.0})


@pytest.mark.fault(22)
@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("name", ["wall_ms", "cpu_ms", "sentinel_before_ms", "sentinel_after_ms", "gpu_ms"])
def test_a_row_that_holds_no_time_is_the_failure_of_its_network(name, bad):
    rows = [ROUND, ROUND | {name: [2.0, 2.0, bad]}, ROUND]
    found = PassReply(rounds=rows).result(["a", "b", "c"])
    assert found.rounds == ()
    assert [(key, f.cause, f.phase) for key, f in found.failures.items()] == [("b", "invalid_output", "run")]


@pytest.mark.parametrize("change", [{"cpu_ms": [1.0] * 4}, {"gpu_ms": [1.0]}, {"block": 0}, {"events": ["x" * 65]}])
def test_a_round_whose_parts_do_not_fit_is_refused(change):
    with pytest.raises(ValidationError):
        convert(ROUND | change, RoundReply)


def test_outputs_come_back_in_their_shape():
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert np.array_equal(convert(to_text(values), OutputReply).value(), values)
    with pytest.raises(InputRefusedError):
        convert(to_text(values) | {"shape": [7]}, OutputReply).value()
