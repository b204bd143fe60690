"""The document of a search, ``result.json``: what is written in it, and what whoever reads it may rely on.

A search on a device and one on a table both write it, and what one of them knows alone is left out by the other. A file
is foreign until it has passed here: size, schema, types, columns of one length, and a verdict that its own numbers bear
out. Control characters are taken out of every text and key.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from ..errors import InputRefusedError
from ..metric import ACCURACY, Metric
from ..outputs import MAX_JSON_BYTES
from ..outputs import RESULT as RESULT
from .examples import Examples
from .parts import KEEPS_ALL, Number, Positive, Share, one_length

SCHEMA = 1
_SHOWN_PROBLEMS = 5

MeasurementVerdict = Literal["ok", "noisy", "hot", "censored", "failed", "quarantined", "predicted"]
Verdict = Literal["pass", "fail", "unreliable", "measured"]


class _Part(BaseModel):
    model_config = KEEPS_ALL


class Predictor(_Part):
    """The predictor that the search followed, and its held-out scores; what it says of kernels that were not timed."""

    path: str | None = None
    model: str | None = None
    encoding: str | None = None
    feed: str | None = None
    rows: int | None = None
    table: str | None = None
    scores: dict[str, Any] = {}
    out_of_support: list[str] = []


class Parity(_Part):
    """Held-out rows of the predictor, in ms."""

    measured_ms: list[Positive]
    predicted_ms: list[Number]
    low_ms: list[Number] = []
    high_ms: list[Number] = []

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        columns = {"measured_ms": self.measured_ms, "predicted_ms": self.predicted_ms}
        if self.low_ms or self.high_ms:
            columns |= {"low_ms": self.low_ms, "high_ms": self.high_ms}
        one_length(columns)
        return self


class MeasuredRange(_Part):
    """Latencies of networks of the space that were measured before the search, in ms."""

    smallest_ms: float
    median_ms: float
    largest_ms: float
    networks: int
    verdict: Literal["ok"] = "ok"


class Feasibility(_Part):
    """Predicted latencies of the space beside the target, in ms; and what was measured of it before."""

    smallest_ms: Number
    median_ms: Number
    largest_ms: Number
    target_ms: Positive = None
    share_within_target: Share = None
    measured: MeasuredRange | None = None
    verdict: Literal["predicted"] = "predicted"


class Process(_Part):
    """What one measuring process said of the network found."""

    latency_ms: Positive
    verdict: MeasurementVerdict


class Measured(_Part):
    """The measurement of the network found."""

    latency_ms: Positive
    low_ms: Positive
    high_ms: Positive
    verdict: MeasurementVerdict
    path: Literal["gated", "ratio", "plain", "told"] | None = None
    rounds: int = 0
    gated: int = 0
    energy_mj: Positive = None
    memory_bytes: Positive = None
    processes: list[Process] = []


class _Scored(_Part):
    """What has a score by the task's metric; files before there were others say ``accuracy``."""

    score: Number = None
    accuracy: Share = None

    @model_validator(mode="before")
    @classmethod
    def _accuracy_is_one(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        pairs = (("score", "accuracy"), ("validation_score", "validation_accuracy"))
        return tree | {new: tree[old] for new, old in pairs if old in tree and new not in tree}


class MetricTold(_Part):
    """The metric that scores are of."""

    name: str = ACCURACY.name
    higher_is_better: bool = ACCURACY.higher_is_better
    unit: str = ACCURACY.unit
    chance: Number = None

    @classmethod
    def of(cls, metric: Metric) -> MetricTold:
        """Return what a document says of a metric."""
        return cls(name=metric.name, higher_is_better=metric.higher_is_better, unit=metric.unit, chance=metric.chance)

    @property
    def value(self) -> Metric:
        """Return the metric."""
        return Metric(self.name, self.higher_is_better, self.unit, self.chance)


class Found(_Scored):
    """The network found."""

    key: str
    text: str
    predicted_ms: Number
    predicted_low_ms: Number = None
    predicted_high_ms: Number = None
    measured: Measured
    validation_score: Number = None
    validation_accuracy: Share = None
    metrics: dict[str, Number] = {}
    parameters: int | None = None
    macs: int | None = None


class Step(_Scored):
    """An architecture measured on the way."""

    key: str
    text: str
    predicted_ms: Number
    measured_ms: Positive
    verdict: MeasurementVerdict


class Rival(Step):
    """A random network, trained and measured as the one found."""

    low_ms: Positive = None
    high_ms: Positive = None
    validation_score: Number = None
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
        one_length(self.columns())
        return self

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns that the file has."""
        return {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name)}


class Sentinel(_Part):
    """One sentinel reading and the gate in force."""

    started_s: float
    sentinel_ms: Annotated[float, Field(gt=0)]
    gate_ms: Annotated[float, Field(gt=0)]


class Queries(_Part):
    """The scores asked for, as columns in the order they were asked; ``front`` are the places of the best."""

    budget: int | None = None
    used: int = 0
    key: list[str] = []
    score: list[Number] = []
    accuracy: list[Share] = []
    predicted_ms: list[Number] = []
    front: list[int] = []


class Optimum(_Scored):
    """The most accurate network of a table within the target."""

    text: str
    latency_ms: Positive


class Result(_Part):
    """A whole result of schema 1.

    Attributes:
        space, method, task, seed, mode, target_ms, lam, asked, command: what was asked.
        metric: what scores are of, with its direction and unit.
        device, predictor, parity, environment, versions: what the numbers hang on.
        feasibility: what the target means in the space, before the search.
        found: the network kept, with its measurement and accuracies.
        verdict: what the measurement says about the target.
        repairs: every network measured on the way.
        random, finalists: networks trained beside the one found.
        trace, queries, seconds: how the search went.
        training: the recipe of the network found, whole, the epochs it was trained, what each of them told.
        sentinels: readings of the device while it measured.
        optimum, regret_points, latencies_looked_up, networks, without_latency: what only a table can tell.
        examples: what the network found makes of the test part, to be looked at.
        remarks: what is to be known of the data: what was skipped, and why.
        preprocessing, class_names: how an image becomes the network's input, and what its outputs stand for.
        shrink: For a trained network that was made faster: its latency, the share asked for, its widths, what stayed.
        rebuild: the line of Python that builds the network.
    """

    schema_: int = Field(default=SCHEMA, alias="schema")
    space: str
    method: str
    task: str
    metric: MetricTold = MetricTold()
    seed: int
    mode: Literal["target", "weight"]
    target_ms: Positive = None
    lam: Number = None
    device: dict[str, Any] = {}
    predictor: Predictor = Predictor()
    parity: Parity | None = None
    feasibility: Feasibility | None = None
    found: Found
    verdict: Verdict
    repairs: list[Step] = []
    random: list[Rival] = []
    finalists: list[Rival] = []
    trace: Trace = Trace()
    sentinels: list[Sentinel] = []
    environment: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    preprocessing: dict[str, Any] | None = None
    class_names: list[str] = []
    asked: dict[str, Any] = {}
    command: str | None = None
    seconds: dict[str, Number] = {}
    training: dict[str, Any] = {}
    queries: Queries | None = None
    latencies_looked_up: int | None = None
    optimum: Optimum | None = None
    regret_points: Number = None
    networks: int | None = None
    without_latency: int | None = None
    examples: Examples | None = None
    remarks: list[str] = []
    shrink: dict[str, Any] | None = None
    rebuild: str | None = None

    @property
    def limit_ms(self) -> float | None:
        """Return what a random network must not exceed if it is to be compared: the target, or what was found."""
        return self.target_ms if self.target_ms is not None else self.found.measured.latency_ms

    @property
    def beside(self) -> str:
        """Return the found network's other metrics, ``, pixel accuracy 0.93`` or the like; empty if there are none."""
        others = [name for name in self.found.metrics if name != self.metric.name]
        return "".join(f", {name} {Metric(name, unit='').format(self.found.metrics[name])}" for name in others)

    @property
    def counted(self) -> list[Rival]:
        """Return the random networks that the one found is compared with: trusted latency, within the limit."""
        return [rival for rival in self.random if rival.score is not None and not self.why_not(rival)]

    def why_not(self, rival: Step) -> str:
        """Return why a random network is not compared, ``, above the target`` or the like; empty if it is."""
        if rival.measured_ms is None or rival.verdict != "ok":
            return ", latency not trusted"
        if rival.key == self.found.key:
            return ", the one found"
        if self.limit_ms is not None and rival.measured_ms > self.limit_ms:
            return ", above the target" if self.target_ms is not None else ", slower than the one found"
        return ""

    @model_validator(mode="after")
    def _borne_out(self) -> Self:
        """Refuse a verdict that the numbers beside it contradict."""
        measured = self.found.measured
        expected = verdict_of(measured, self.target_ms)
        if self.verdict != expected:
            raise ValueError(
                f"verdict {self.verdict!r}, but {measured.latency_ms} ms ({measured.verdict}) against a target of "
                f"{self.target_ms} ms is {expected!r}"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Return what was written in it as JSON-ready values."""
        return self.model_dump(by_alias=True, exclude_unset=True)


def verdict_of(measured: Measured, target_ms: float | None) -> Verdict:
    """Return what a measurement says about a target.

    Noise of a machine only ever adds time: a noisy measurement is a pass where its whole interval is within the target,
    and no answer elsewhere.

    Raises:
        ValueError: the measurement is said to be ok, and there is none.
    """
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
    path = directory / RESULT
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
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputRefusedError(f"{path} is larger than {MAX_JSON_BYTES // 2**20} MiB, which no search writes")
        return json.loads(path.read_bytes())
    except OSError as error:
        near = result_within(path.parent) or "a directory that `tempograd search` wrote"
        raise InputRefusedError(f"cannot read {path} ({error.strerror}); give {near}") from error
    except (ValueError, RecursionError) as error:
        raise InputRefusedError(f"{path} is not JSON ({error}); run the search again") from error


def result_within(folder: Path) -> Path | None:
    """Return the result's directory in a folder that `shrink` or `quickstart` wrote; None in any other."""
    inside = folder / "result"
    return inside if (inside / RESULT).is_file() else None


def _clean(tree: Any) -> Any:
    """Return the tree without control, formatting and lone surrogate characters; line breaks become spaces."""
    if isinstance(tree, str):
        joined = " ".join(tree.splitlines())
        return "".join(c for c in joined if unicodedata.category(c) not in {"Cc", "Cf", "Cs"})
    if isinstance(tree, dict):
        return {_clean(key): _clean(value) for key, value in tree.items()}
    return [_clean(value) for value in tree] if isinstance(tree, list) else tree
