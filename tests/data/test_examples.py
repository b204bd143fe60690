"""Examples in a result's document: what contradicts itself, or is larger than it says, is refused."""

import zlib
from base64 import b64encode

import numpy as np
import pytest

from tempograd.data.examples import Examples, Pixels
from tempograd.tasks.examples import packed

from ..report.test_examples import KINDS, PLANE


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("classes", {"counts": [[1, 2], [3, 4]]}),
        ("classes", {"counts": [[1, 2, 3]]}),
        ("map", {"truth": {"shape": [2, 4, 4], "data": PLANE["data"]}}),
        ("map", {"truth": None}),
        ("heatmaps", {"given": packed(np.zeros((3, 4, 3), np.uint8))}),
        ("map", {"images": {"shape": [2, 8, 6, 3], "data": "AAAA"}}),
        ("map", {"images": {"shape": [512, 512, 512, 3], "data": packed(np.zeros((1, 1, 1), np.uint8))["data"]}}),
        ("sequence", {"bits": [1.0]}),
    ],
)
def test_what_contradicts_itself_is_no_document(kind, changes):
    with pytest.raises(ValueError, match=r"not|length|bytes|Field"):
        Examples.model_validate({"kind": kind} | KINDS[kind] | changes)


def test_pixels_are_never_unpacked_beyond_what_their_shape_asks_for():
    bomb = b64encode(zlib.compress(bytes(2**24))).decode()
    with pytest.raises(ValueError, match="not the bytes"):
        Pixels.model_validate({"shape": [1, 2, 3], "data": bomb})
    assert len(Pixels.model_construct(shape=[1, 2, 3], data=bomb).content()) == 7
