from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempograd.devices.worker.wire import FRAME_LIMIT, PHASES, Board, from_text, pack, to_text, unpack
from tempograd.errors import InputRefusedError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
messages = st.dictionaries(st.text(), plain, max_size=5)


@pytest.mark.slow
@given(st.lists(messages, max_size=4), st.integers(1, 50))
def test_frames_survive_any_cut(sent, step):
    stream = b"".join(map(pack, sent))
    buffer, received = bytearray(), []
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        while (message := unpack(buffer)) is not None:
            received.append(message)
    assert received == sent
    assert not buffer


@given(st.binary(min_size=0, max_size=200))
def test_garbage_is_refused_or_waited_for(garbage):
    buffer = bytearray(struct.pack(">I", len(garbage)) + garbage)
    try:
        message = unpack(buffer)
    except InputRefusedError:
        return
    assert isinstance(message, dict)


def test_a_frame_over_the_limit_is_refused_before_its_body_arrives():
    with pytest.raises(InputRefusedError, match=str(FRAME_LIMIT)):
        unpack(bytearray(struct.pack(">I", FRAME_LIMIT + 1)))
    with pytest.raises(InputRefusedError, match="fewer networks"):
        pack({"x": "y" * FRAME_LIMIT})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_not_written(value):
    with pytest.raises(InputRefusedError, match="cannot be written"):
        pack({"x": value})


@pytest.mark.parametrize("body", [b"[1]", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(InputRefusedError):
        unpack(bytearray(struct.pack(">I", len(body)) + body))


def test_the_board_is_seen_from_both_sides(tmp_path):
    path = tmp_path / "board"
    parent = Board(path, create=True)
    worker = Board(path)
    assert (parent.read().phase, parent.read().steps) == ("idle", 0)
    for step, phase in enumerate(PHASES, start=1):
        worker.note(step * 7, phase)
        assert parent.read() == worker.read()
        assert (parent.read().network, parent.read().phase, parent.read().steps) == (step * 7, phase, step)
    worker.count()
    worker.count()
    note = parent.read()
    assert (note.inferences, note.steps, note.phase) == (2, len(PHASES), PHASES[-1])
    worker.note(1, "load")
    assert parent.read().inferences == 2
    path.write_bytes(b"\xff" * 64)
    assert parent.read().phase == "idle"
    parent.close()
    worker.close()


def test_arrays_survive_to_the_last_bit():
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)[:, ::2]
    text = unpack(bytearray(pack(to_text(values))))
    assert np.array_equal(from_text(**text), values)


@pytest.mark.parametrize(
    "text", [{"shape": [2], "data": "AAAA"}, {"shape": [1], "data": "?"}, {"shape": [3], "data": "AAAAAA=="}]
)
def test_what_is_no_array_is_refused(text):
    with pytest.raises(InputRefusedError, match="cannot be read"):
        from_text(**text)
