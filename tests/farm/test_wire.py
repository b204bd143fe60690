from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from tempograd.arguments import LATER
from tempograd.errors import InputRefusedError, UsageError
from tempograd.farm.wire import decode, digest_of, encode, inside, plain


@dataclass(frozen=True)
class Inner:
    size: int

    def __post_init__(self):
        if self.size < 0:
            raise UsageError(f"size={self.size}; allowed: from 0")


@dataclass(frozen=True)
class Outer:
    SCHEMA: ClassVar[str] = "test.outer/1"

    name: str
    inner: Inner
    seed: int = field(metadata=inside("inner"))
    note: str | None


VALUE = Outer("a", Inner(2), 7, None)
TEXT = b'{"schema":"test.outer/1","name":"a","inner":{"size":2,"seed":7},"note":null}'


def test_a_field_may_stand_inside_anothers_object():
    assert encode(VALUE) == TEXT
    assert decode(TEXT, Outer) == VALUE
    assert plain(VALUE) == {"name": "a", "inner": {"size": 2, "seed": 7}, "note": None}
    assert digest_of(VALUE) == digest_of({"note": None, "inner": {"seed": 7, "size": 2}, "name": "a"})


@pytest.mark.parametrize(
    "text",
    [
        b'{"schema":"test.outer/1","name":"a","inner":{"size":2},"note":null}',
        b'{"schema":"test.outer/1","name":"a","inner":{"size":2},"seed":7,"note":null}',
        b'{"schema":"test.outer/1","name":"a","inner":{"size":2,"seed":7},"seed":7,"note":null}',
        b'{"schema":"test.outer/1","name":"a","inner":{"size":2,"seed":7,"more":1},"note":null}',
        b'{"schema":"test.outer/1","name":"a","inner":7,"note":null}',
        b'{"schema":"test.outer/1","name":"a","inner":{"size":2,"seed":"7"},"note":null}',
    ],
)
def test_and_nowhere_else(text):
    with pytest.raises(InputRefusedError, match=r"test\.outer/1 refused"):
        decode(text, Outer)


def test_what_a_value_refuses_itself_is_refused_input():
    with pytest.raises(InputRefusedError, match="size=-1; allowed: from 0"):
        decode(TEXT.replace(b'"size":2', b'"size":-1'), Outer)


def test_a_field_that_came_after_a_release_is_left_out_at_its_default():
    @dataclass(frozen=True)
    class Newer(Inner):
        SCHEMA: ClassVar[str] = "test.inner/1"
        share: float = field(default=0.0, metadata=LATER)

    older = b'{"schema":"test.inner/1","size":2}'
    assert decode(older, Newer) == Newer(2)
    assert encode(Newer(2)) == older
    assert decode(encode(Newer(2, 0.5)), Newer) == Newer(2, 0.5)
    with pytest.raises(InputRefusedError, match="size"):
        decode(b'{"schema":"test.inner/1","share":0.5}', Newer)
