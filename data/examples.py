"""What a network makes of some examples, as a result holds it: counts, pictures or a passage of text."""

from __future__ import annotations

import zlib
from base64 import b64decode
from math import prod
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from ..outputs import MAX_JSON_BYTES
from .parts import KEEPS_ALL, Number, one_length

_MOST_PIXELS = 2**22  # bytes of one array


class _Part(BaseModel):
    model_config = KEEPS_ALL


class Pixels(_Part):
    """Bytes of an array, compressed by zlib, in base64."""

    shape: Annotated[list[Annotated[int, Field(ge=1, le=512)]], Field(min_length=3, max_length=4)]
    data: Annotated[str, Field(max_length=MAX_JSON_BYTES)]

    @model_validator(mode="after")
    def _as_many_as_it_says(self) -> Self:
        if prod(self.shape) > _MOST_PIXELS or len(self.content()) != prod(self.shape):
            raise ValueError(f"not the bytes of an array of {self.shape}")
        return self

    def content(self) -> bytes:
        """Return the bytes; never more than one beyond what the shape asks for."""
        try:
            return zlib.decompressobj().decompress(b64decode(self.data, validate=True), prod(self.shape) + 1)
        except (ValueError, zlib.error) as error:
            raise ValueError(f"no compressed bytes: {error}") from error


class Examples(_Part):
    """What the network found makes of the test part: how classes were confused, pictures, or a passage of text."""

    kind: Literal["classes", "map", "heatmaps", "sequence"]
    names: list[str] = []
    counts: list[list[Annotated[int, Field(ge=0)]]] = []
    images: Pixels | None = None
    truth: Pixels | None = None
    given: Pixels | None = None
    ignored: int | None = None
    tokens: list[str] = []
    bits: list[Number] = []
    written: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        one_length({"tokens": self.tokens, "bits": self.bits})
        one_length({"names": self.names, "counts": self.counts} if self.kind == "classes" else {})
        for row in self.counts:
            one_length({"names": self.names, "a row of counts": row})
        planes = [each for each in (self.images, self.truth, self.given) if each is not None]
        if self.kind in {"map", "heatmaps"} and (
            [len(each.shape) for each in planes] != [4, 3, 3]
            or len({each.shape[0] for each in planes}) > 1
            or planes[0].shape[3] not in {1, 3}
        ):
            raise ValueError("images, truth and what was given are not of the same examples")
        return self
