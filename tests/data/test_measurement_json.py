"""A measurement as bytes: exactly what it was, or refused."""

import zlib
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempograd.data.measurement_json import pack, unpack
from tempograd.errors import InputRefusedError, UsageError

from .conftest import make
from .measurements import measurements


@pytest.mark.slow
@given(measurements)
def test_a_measurement_survives_its_payload_exactly(measurement):
    assert unpack(pack(measurement)) == measurement


@pytest.mark.slow
@given(measurements, st.data())
def test_a_damaged_payload_is_refused_or_read_exactly(measurement, data):
    payload = bytearray(pack(measurement))
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[bit // 8] ^= 1 << bit % 8
    with suppress(InputRefusedError):  # zlib ignores a few bits of its header
        assert unpack(bytes(payload)) == measurement
    with pytest.raises(InputRefusedError):
        unpack(pack(measurement)[: data.draw(st.integers(0, len(payload) - 1))])


def test_nan_is_not_kept(fingerprint):
    bad = make("0", [1.0], fingerprint)
    with pytest.raises(UsageError, match="a number that is none"):
        pack(replace(bad, environment={"load": float("nan")}))


@pytest.mark.slow
def test_a_payload_that_swells_is_refused():
    with pytest.raises(InputRefusedError, match="larger than"):
        unpack(zlib.compress(b" " * (65 * 2**20)))


@pytest.mark.parametrize(
    "nonsense",
    [
        {"wall_ms": (), "cpu_ms": ()},
        {"sentinel_before_ms": (0.0, 0.0)},
        {"wall_ms": (-1.0,)},
        {"cpu_ms": (-0.1,)},
        {"wall_ms": (1.0, 1e10)},
        {"block": 0},
    ],
)
def test_times_that_no_device_measured_are_refused(nonsense, fingerprint):
    good = make("0", [1.0], fingerprint)
    with pytest.raises(InputRefusedError, match=f"{next(iter(nonsense))}=.*allowed: (one time or more|1 to)"):
        unpack(pack(replace(good, rounds=(replace(good.rounds[0], **nonsense),))))
