"""What all parts of a result's document share: numbers that JSON can hold, and columns of one length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
Positive = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_finite)]
Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_finite)]
# what is not known to a part of a document stays in it: nothing is lost where a result is written again
KEEPS_ALL = ConfigDict(extra="allow", frozen=True, strict=True)


def one_length(columns: Mapping[str, Sequence[Any]]) -> None:
    """Raise ValueError unless columns are of one length."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of different lengths: {lengths}")
