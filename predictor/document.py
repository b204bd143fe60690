"""What the files of a predictor hold, read with every field, size and digest checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import InputRefusedError, UsageError
from ..outputs import PREDICTOR as DOCUMENT

SCHEMA = 4  # 2: predictions beside the residuals; 3: quantities and heads; 4: arrays named by digest. All are read
Unit = Literal["ms", "mj", "bytes"]
UNITS: tuple[Unit, ...] = get_args(Unit)
MAX_DOCUMENT_BYTES = 16 << 20
MAX_ARRAYS_BYTES = 1 << 30


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class BindingDocument(_Strict):
    """What a head is bound to."""

    space: str
    encoding: str
    fingerprint_id: str
    fingerprint_json: str
    unit: Unit
    quantity: str = "latency_ms"

    @model_validator(mode="after")
    def _unit_of_the_quantity(self) -> BindingDocument:
        if not self.quantity.endswith(f"_{self.unit}"):
            raise ValueError(f"{self.quantity} is not in {self.unit}")
        return self


class HeadDocument(_Strict):
    """One quantity: model, binding, card and residuals."""

    model: str
    config: dict[str, Any]
    binding: BindingDocument
    card: dict[str, Any]
    conformal_residuals: list[Annotated[float, Field(ge=0)]] | None
    conformal_predictions_ms: list[Annotated[float, Field(gt=0)]] = []  # in the head's unit; the name is of schema 2


class Document(HeadDocument):
    """The whole of ``predictor.json``: the main head, the others, and digests."""

    schema_version: Literal[1, 2, 3, 4] = Field(alias="schema")
    heads: list[HeadDocument] = []
    created_by: dict[str, str]
    arrays_sha256: str
    document_sha256: str


def document_digest(document: Mapping[str, Any]) -> str:
    """Return the digest that a document holds of itself."""
    content = {key: value for key, value in document.items() if key != "document_sha256"}
    try:
        return sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the card and parameters of a saved predictor must be JSON with finite numbers: {error}"
        ) from error


def read_bytes(file: Path, most: int) -> bytes:
    """Return the bytes of a file that holds at most so many; refuse another."""
    try:
        with file.open("rb") as opened:
            content = opened.read(most + 1)
    except OSError as error:
        raise InputRefusedError(
            f"cannot read {file}: {error.strerror}; a predictor is the folder that tempograd fit writes"
        ) from error
    if len(content) > most:
        raise InputRefusedError(f"{file} is larger than {most} bytes: this is not a saved predictor")
    return content


def read_document(file: Path) -> Document:
    """Read ``predictor.json``; refuse one that is damaged, newer, or holds anything else."""
    raw = read_json(file, read_bytes(file, MAX_DOCUMENT_BYTES))
    if not isinstance(raw, dict) or "schema" not in raw:
        raise InputRefusedError(f"{file} is JSON but not a saved predictor: it has no schema")
    schema = raw["schema"]
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputRefusedError(f"{file} has schema {schema}, this version reads up to {SCHEMA}: upgrade tempograd")
    try:
        document = Document.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputRefusedError(
            f"{file} is not a saved predictor of schema {SCHEMA}: {where}: {first['msg']}"
        ) from error
    if document_digest(raw) != document.document_sha256:
        raise InputRefusedError(
            f"{file} is damaged or was edited: its content does not match its digest; save it again"
        )
    return document


def read_json(file: Path, content: bytes) -> Any:
    """Return what JSON says, with finite numbers only."""

    def refuse(constant: str) -> float:
        raise InputRefusedError(f"{file} holds {constant}: numbers must be finite")

    def finite(text: str) -> float:
        return number if isfinite(number := float(text)) else refuse(text)

    parse: Callable[..., Any] = json.loads
    try:
        return parse(content.decode(), parse_constant=refuse, parse_float=finite)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputRefusedError(f"{file} is damaged or no JSON: {error}; save the predictor again") from error


def read_arrays(folder: Path, document: Document) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that a document names; refuse those that its digest does not fit."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    file = arrays_file(folder, document.schema_version, document.arrays_sha256)
    content = read_bytes(file, MAX_ARRAYS_BYTES)
    if sha256(content).hexdigest() != document.arrays_sha256:
        raise InputRefusedError(
            f"{file} is truncated, damaged or of another predictor: "
            f"its {len(content)} bytes do not match the digest in {DOCUMENT}"
        )
    try:
        return from_bytes(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputRefusedError(f"{file} is not a safetensors file: {error}") from error


def arrays_file(folder: Path, schema: int, digest: str) -> Path:
    """Return where the arrays of a document lie."""
    return folder / ("predictor.safetensors" if schema < 4 else f"predictor-{digest[:16]}.safetensors")
