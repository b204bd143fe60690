"""A result file, checked at the edge: what the page may rely on.

Everything in ``result.json`` is foreign until it has passed here: size, schema, types, columns of one length, and a
verdict that its own numbers bear out. Control characters are taken out of every text and key.
"""

from __future__ import annotations

import json
import unicodedata
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..errors import InputRefusedError

SCHEMA = 1
MAX_BYTES = 256 * 2**20
_SHOWN_PROBLEMS = 5

Verdict = Literal["ok", "noisy", "hot", "censored", "failed", "quarantined"]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
Positive = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_finite)]
Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_finite)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


def _one_length(columns: dict[str, list[Any]]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of different lengths: {lengths}")


class Predictor(_Part):
    """The predictor that the search followed, and its held-out scores."""

    path: str | None = None
    model: str | None = None
    encoding: str | None = None
    feed: str | None = None
    scores: dict[str, Any] = {}


class Parity(_Part):
    """Held-out rows of the predictor, in ms."""

    measured_ms: list[Positive]
    predicted_ms: list[Positive]
    low_ms: list[Positive] = []
    high_ms: list[Positive] = []

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        columns = {"measured_ms": self.measured_ms, "predicted_ms": self.predicted_ms}
        if self.low_ms or self.high_ms:
            columns |= {"low_ms": self.low_ms, "high_ms": self.high_ms}
        _one_length(columns)
        return self


class Feasibility(_Part):
    """Predicted latencies of the space beside the target, in ms."""

    smallest_ms: Positive
    median_ms: Positive
    largest_ms: Positive
    target_ms: Positive = None
    share_within_target: Share = None


class Process(_Part):
    """What one measuring process said of the network found."""

    latency_ms: Positive
    verdict: Verdict


class Measured(_Part):
    """The measurement of the network found."""

    latency_ms: Positive
    low_ms: Positive
    high_ms: Positive
    verdict: Verdict
    path: Literal["gated", "ratio", "plain"] | None = None
    rounds: int = 0
    gated: int = 0
    processes: list[Process] = []


class Found(_Part):
    """The network found."""

    key: str
    text: str
    predicted_ms: Positive
    predicted_low_ms: Positive = None
    predicted_high_ms: Positive = None
    measured: Measured
    accuracy: Share = None
    validation_accuracy: Share = None
    parameters: int | None = None
    macs: int | None = None


class Step(_Part):
    """An architecture measured on the way."""

    key: str
    text: str
    predicted_ms: Positive
    measured_ms: Positive
    verdict: Verdict


class Rival(Step):
    """A random network, trained and measured as the one found."""

    low_ms: Positive = None
    high_ms: Positive = None
    accuracy: Share = None
    validation_accuracy: Share = None


class Trace(_Part):
    """One row an epoch, as columns."""

    epoch: list[int] = []
    phase: list[str] = []
    loss_weights: list[Number] = []
    loss_law: list[Number] = []
    entropy: list[Number] = []
    cost_sampled_ms: list[Number] = []
    cost_direct_ms: list[Number] = []
    derived_ms: list[Number] = []
    lam: list[Number] = []
    tau: list[Number] = []
    seconds: list[Number] = []

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        _one_length(self.columns())
        return self

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns that the file has."""
        return {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name)}


class Sentinel(_Part):
    """One sentinel reading and the gate in force."""

    started_s: float
    sentinel_ms: Annotated[float, Field(gt=0)]
    gate_ms: Annotated[float, Field(gt=0)]


class Result(_Part):
    """A whole result of schema 1."""

    space: str
    method: str
    task: str
    seed: int
    mode: Literal["target", "weight"]
    target_ms: Positive = None
    lam: Number = None
    device: dict[str, Any] = {}
    predictor: Predictor = Predictor()
    parity: Parity | None = None
    feasibility: Feasibility | None = None
    found: Found
    verdict: Literal["pass", "fail", "unreliable", "measured"]
    repairs: list[Step] = []
    random: list[Rival] = []
    trace: Trace = Trace()
    sentinels: list[Sentinel] = []
    environment: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    command: str | None = None
    seconds: dict[str, Number] = {}

    @property
    def limit_ms(self) -> float | None:
        """Return what a random network must not exceed if it is to be compared: the target, or what was found."""
        return self.target_ms if self.target_ms is not None else self.found.measured.latency_ms

    @property
    def counted(self) -> list[Rival]:
        """Return the random networks that the one found is compared with: trusted latency, within the limit."""
        return [rival for rival in self.random if rival.accuracy is not None and not self.why_not(rival)]

    def why_not(self, rival: Step) -> str:
        """Return why a random network is not compared, ``, above the target`` or the like; empty if it is."""
        if rival.measured_ms is None or rival.verdict != "ok":
            return ", latency not trusted"
        if self.limit_ms is not None and rival.measured_ms > self.limit_ms:
            return ", above the target" if self.target_ms is not None else ", slower than the one found"
        return ""

    @model_validator(mode="after")
    def _borne_out(self) -> Self:
        """Refuse a verdict that the numbers beside it contradict."""
        measured = self.found.measured
        expected = _expected(measured, self.target_ms)
        if self.verdict != expected:
            raise ValueError(
                f"verdict {self.verdict!r}, but {measured.latency_ms} ms ({measured.verdict}) against a target of "
                f"{self.target_ms} ms is {expected!r}"
            )
        return self


def _expected(measured: Measured, target_ms: float | None) -> str:
    """Return the verdict that a measurement bears out, by the rule of the search."""
    if measured.latency_ms is None:
        if measured.verdict == "ok":
            raise ValueError("the measurement is 'ok' and has no latency_ms")
        return "unreliable"
    if measured.verdict == "noisy":
        within = target_ms is not None and measured.high_ms is not None and measured.high_ms <= target_ms
        return "pass" if within else "unreliable"
    if measured.verdict != "ok":
        return "unreliable"
    if target_ms is None:
        return "measured"
    return "pass" if measured.latency_ms <= target_ms else "fail"


def read_result(directory: Path) -> Result:
    """Read and check ``result.json`` of a result directory.

    Raises:
        InputRefusedError: no such file, not JSON, too large, of another schema, or contradicting itself; the message
            names what is wrong.
    """
    path = directory / "result.json"
    tree = _clean(_parse(path))
    if not isinstance(tree, dict):
        raise InputRefusedError(f"{path} holds no JSON object; give a directory that `tempograd search` wrote")
    schema = tree.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise InputRefusedError(f"{path} has schema {schema!r}; allowed: 1..{SCHEMA}. Run the search again")
    if schema > SCHEMA:
        raise InputRefusedError(
            f"{path} has schema {schema}, newer than {SCHEMA}, the newest that this version reads; upgrade tempograd"
        )
    try:
        return Result.model_validate(tree)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'result'}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)
        ]
        more = len(problems) - _SHOWN_PROBLEMS
        shown = "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        raise InputRefusedError(f"{path} is no result of schema {SCHEMA}: {shown}. Run the search again") from error


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputRefusedError(f"{path} is larger than {MAX_BYTES // 2**20} MiB, which no search writes")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputRefusedError(
            f"cannot read {path} ({error.strerror}); give a directory that `tempograd search` wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputRefusedError(f"{path} is not JSON ({error}); run the search again") from error


def _clean(tree: Any) -> Any:
    """Return the tree without control, formatting and lone surrogate characters; line breaks become spaces."""
    if isinstance(tree, str):
        joined = " ".join(tree.splitlines())
        return "".join(c for c in joined if unicodedata.category(c) not in {"Cc", "Cf", "Cs"})
    if isinstance(tree, dict):
        return {_clean(key): _clean(value) for key, value in tree.items()}
    return [_clean(value) for value in tree] if isinstance(tree, list) else tree
