"""A binding says what numbers are of, and tells two devices apart value by value."""

import json

import pytest

from tempograd.errors import UsageError
from tempograd.predictor.binding import Binding, fingerprint_differences


@pytest.mark.parametrize(("quantity", "unit"), [("latency_ms", "ms"), ("energy_mj", "mj"), ("memory_bytes", "bytes")])
def test_the_unit_is_read_off_the_quantity(quantity, unit):
    assert Binding("s", "raw", "d", "{}", quantity).unit == unit


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"quantity": "speed"}, "quantity='speed'; its name must end in one of"),
     ({"fingerprint_json": "no"}, "fingerprint_json is not JSON"),
     ({"fingerprint_json": "[]"}, "must be a JSON object")],
)  # fmt: skip
def test_what_binds_to_nothing_is_refused(arguments, told):
    with pytest.raises(UsageError, match=told):
        Binding(**{"space": "s", "encoding": "raw", "fingerprint_id": "d", "fingerprint_json": "{}"} | arguments)


def test_devices_that_differ_are_told_by_value():
    one, other = ({"cpu": {"model": "i7", "cores": n}, "os": "linux"} for n in (4, 8))
    assert fingerprint_differences(json.dumps(one), json.dumps(other)) == ["device cpu.cores: saved 4, asked 8"]
