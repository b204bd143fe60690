"""What a search gives back, as a value, as JSON and as a folder.

::

    result.json           everything below the figures of a report, schema 1
    architecture.json     the network by its choices
    network.onnx          trained, weights embedded; latency, interval, verdict and device in the metadata
    weights.safetensors   the trained weights by the keys of the module's ``state_dict``
    predict.py            classes of images with ONNX Runtime, numpy and Pillow alone; where the task is one of images

``result.json`` is written last: where it is, the folder is whole.

``tempograd.spaces.saved.load_network`` builds the network from the folder; ``result.json`` has the line of Python.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import outputs
from ..data import result as document
from ..data.examples import Examples
from ..data.result import (
    RESULT,
    SCHEMA,
    Found,
    Measured,
    Predictor,
    Process,
    Queries,
    Result,
    Sentinel,
    Verdict,
    read_result,
)
from ..measurement.label import Estimate
from ..measurement.measurement import Measurement
from ..measurement.quantities import ENERGY, MEMORY
from ..measurement.repeatability import across, verdict_across
from ..metric import ACCURACY, Metric
from ..spaces.architecture import Architecture
from ..spaces.saved import (
    ARCHITECTURE,
    WEIGHTS,
    architecture_json,
    by_node,
    load_architecture,
    rebuild_line,
    state_arrays,
)
from ..spaces.space import SearchSpace
from ..tasks.task import Preprocessing
from .evaluator import Trained
from .feasibility import Feasibility
from .front import front
from .repair import Step
from .script import MARK, script
from .trace import Query, Trace

NETWORK = "network.onnx"
PREDICT = "predict.py"


@dataclass(frozen=True)
class Rival:
    """Another network, trained and measured as the one found."""

    step: Step
    trained: Trained


@dataclass(frozen=True)
class SearchResult:
    """The network found, its numbers, and how they came about.

    Attributes:
        space, method, task, seed, target_ms, lam, feed: what was asked.
        metric: by which networks of the task are compared.
        feasibility: Feasibility of the target, before the search.
        found: the network kept, predicted and measured; the measurement had no part in choosing it.
        predicted_low_ms, predicted_high_ms: the predictor's interval, if it has one.
        trained: the network's weights and accuracies.
        verdict: ``pass`` or ``fail`` against the target as measured, ``unreliable`` where the measurement must not be
            trusted, ``measured`` where there was no target.
        steps: every architecture measured on the way.
        rivals: the random baseline.
        trace: one row an epoch.
        seconds: wall time of the stages.
        queries: the accuracies asked for on the way, by a method that asks.
        finalists: the networks that were trained to keep the best of them; empty where that was not asked.
        preprocessing: how an image becomes an input; None where inputs are no images.
        class_names: what the outputs stand for, by index.
        remarks: what a user should know of his data.
        examples: what the network makes of a few test examples, for a report; empty where the task shows nothing.
        processes: the measurements of the trained network, each of a process of its own; ``found`` has one of them.
        repeatability: relative standard deviation between processes on this device; NaN if it is not known.
    """

    space: SearchSpace
    method: str
    task: str
    metric: Metric
    seed: int
    target_ms: float | None
    lam: float | None
    feed: str | None
    feasibility: Feasibility
    found: Step
    predicted_low_ms: float | None
    predicted_high_ms: float | None
    trained: Trained
    verdict: Verdict
    steps: list[Step]
    rivals: list[Rival]
    trace: Trace
    seconds: dict[str, float]
    queries: tuple[Query, ...] = ()
    finalists: Sequence[Rival] = ()
    preprocessing: Preprocessing | None = None
    class_names: Sequence[str] = ()
    remarks: Sequence[str] = ()
    examples: Mapping[str, Any] = field(default_factory=dict[str, Any])
    processes: Sequence[Measurement] = ()
    repeatability: float = float("nan")

    @property
    def estimate(self) -> Estimate | None:
        """Return the latency of the network found, its interval with what differs between processes."""
        return across(self.found.measurement, self.processes, self.repeatability)

    @property
    def architecture(self) -> Architecture:
        """Return the network found."""
        return self.found.architecture

    def summary(self) -> str:
        """Return the answer in one line."""
        against = "" if self.target_ms is None else f" against a target of {self.target_ms:.4g} ms"
        return (
            f"{self.verdict}: {self.found.measurement.latency_ms:.4g} ms{against}, "
            f"test {self.metric.name} {self.metric.format(self.trained.score)}, {self.space.format(self.architecture)}"
        )

    def document(self, provenance: Mapping[str, Any] | None = None) -> Result:
        """Return the result as the document that is written.

        Args:
            provenance: what only the caller knows: ``device``, ``predictor``, ``parity``, ``asked``, ``command``.
        """
        extra = dict(provenance or {})
        predictor = Predictor(**extra.pop("predictor", {}) | {"feed": self.feed})
        measured = [*self.steps, *(rival.step for rival in self.rivals)]
        if self.queries:
            extra["queries"] = Queries(**asked(self.queries, self.metric))
        if self.examples:
            extra["examples"] = Examples(**self.examples)
        if self.finalists:
            extra["finalists"] = [self._rival(rival) for rival in self.finalists]
        return Result(
            schema=SCHEMA,
            space=self.space.spec,
            method=self.method,
            task=self.task,
            metric=document.MetricTold.of(self.metric),
            seed=self.seed,
            mode="weight" if self.target_ms is None else "target",
            target_ms=self.target_ms,
            lam=self.lam,
            predictor=predictor,
            feasibility=self.feasibility.document(),
            found=self._found(),
            verdict=self.verdict,
            repairs=[_step(self.space, step.architecture, step.predicted_ms, step.measurement) for step in self.steps],
            random=[self._rival(rival) for rival in self.rivals],
            preprocessing=None if self.preprocessing is None else plain_of(self.preprocessing),
            class_names=list(self.class_names),
            remarks=list(self.remarks),
            trace=document.Trace(**self.trace.columns()),
            sentinels=list(_sentinels(step.measurement for step in measured)),
            environment=dict(self.found.measurement.environment),
            versions=versions(),
            seconds=dict(self.seconds),
            training=dict(self.trained.record),
            **extra,
        )

    def save(self, directory: Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write the result folder.

        Raises:
            UsageError: one of the files is there already, and no result's.
            StoreError: the disk refuses.
        """
        from safetensors.numpy import save as to_bytes

        arrays = self.trained.network.arrays()
        whole = self.document(dict(provenance or {}) | {"rebuild": rebuild_line(directory)})
        contents = {
            NETWORK: _network(self.space, self.architecture, arrays, whole),
            WEIGHTS: to_bytes(state_arrays(self.trained.network), metadata={"written_by": "tempograd"}),
            ARCHITECTURE: json_bytes(architecture_json(self.space, self.architecture)),
            **({PREDICT: script().encode()} if self._names_images else {}),
            RESULT: json_bytes(whole.to_json()),
        }
        outputs.write({directory / name: content for name, content in contents.items()}, _is_ours, together=True)

    @property
    def _names_images(self) -> bool:
        return self.preprocessing is not None and self.space.gives == ("classes",)

    def _found(self) -> Found:
        graph = self.space.network_graph(self.architecture)
        return Found(
            **named(self.space, self.architecture, self.found.predicted_ms),
            predicted_low_ms=self.predicted_low_ms,
            predicted_high_ms=self.predicted_high_ms,
            measured=measured_of(self.found.measurement, self.estimate, self.processes),
            **_scores(self.trained, self.metric),
            metrics=dict(self.trained.metrics),
            parameters=graph.parameters(),
            macs=graph.macs(),
        )

    def _rival(self, rival: Rival) -> document.Rival:
        measured = measured_of(rival.step.measurement)
        return document.Rival(
            **named(self.space, rival.step.architecture, rival.step.predicted_ms),
            **_scores(rival.trained, self.metric),
            measured_ms=measured.latency_ms,
            low_ms=measured.low_ms,
            high_ms=measured.high_ms,
            verdict=measured.verdict,
        )


def _network(
    space: SearchSpace, architecture: Architecture, arrays: Mapping[str, NDArray[Any]], whole: Result
) -> bytes:
    """Return the trained network as ONNX, with the numbers of its result in the metadata."""
    from ..spaces.export import to_onnx

    measured = whole.found.measured
    numbers = {
        f"measured_{name}": str(getattr(measured, name)) for name in ("latency_ms", "low_ms", "high_ms", "verdict")
    }
    metadata = numbers | {
        "space": space.spec,
        "architecture": space.format(architecture),
        "verdict": whole.verdict,
        "target_ms": str(whole.target_ms),
        "device": str(whole.device.get("id", "")),
        "device_fingerprint": json.dumps(whole.device, sort_keys=True),
        "predicted_latency_ms": str(whole.found.predicted_ms),
        "task": whole.task,
        "metric": json.dumps(whole.metric.model_dump()),
        "preprocessing": json.dumps(whole.preprocessing),
        "class_names": json.dumps(whole.class_names, ensure_ascii=False),
        f"test_{whole.metric.name.replace(' ', '_')}": str(whole.found.score),
    }
    model = to_onnx(space.network_graph(architecture), arrays, metadata=metadata)
    return model.SerializeToString(deterministic=True)


def earlier(directory: Path) -> dict[str, Any] | None:
    """Return what the result of a folder says as it stands there, None if it holds none.

    Raises:
        UsageError: one of a result's files is there, and is something else.
        StoreError: the folder may not be written.
    """
    outputs.check([directory / name for name in _FILES], _is_ours)
    path = directory / RESULT
    return json.loads(path.read_bytes()) if path.exists() else None


def measured_again(directory: Path, processes: Sequence[Measurement], repeatability: float) -> Result:
    """Put other measurements of its network into a result, with the verdict that they give; return the document.

    Args:
        directory: the result's folder.
        processes: each of a process of its own; the first one is told.
        repeatability: relative standard deviation between processes on this device; NaN if it is not known.

    Raises:
        InputRefusedError: the folder's result contradicts itself.
        UsageError: the network or the result that is there is something else.
        StoreError: the disk refuses.
    """
    from safetensors.numpy import load_file

    there, measurement = read_result(directory), processes[0]
    space, architecture = load_architecture(directory)
    estimate = across(measurement, processes, repeatability)
    whole = there.model_copy(update={
        "found": there.found.model_copy(update={"measured": measured_of(measurement, estimate, processes)}),
        "verdict": verdict_of(measurement, there.target_ms, estimate, processes),
        "repairs": [*there.repairs, _step(space, architecture, there.found.predicted_ms, measurement)],
        "sentinels": [*there.sentinels, *_sentinels([measurement])],
        "environment": dict(measurement.environment),
    })  # fmt: skip
    network = _network(space, architecture, by_node(load_file(directory / WEIGHTS)), whole)
    outputs.write({directory / NETWORK: network, directory / RESULT: json_bytes(whole.to_json())}, _is_ours)
    return whole


def shrunk(directory: Path, told: Mapping[str, Any]) -> None:
    """Put into a result of what network it was made, and how, see :class:`tempograd.data.result.Result`."""
    whole = read_result(directory).model_copy(update={"shrink": dict(told)})
    outputs.write({directory / RESULT: json_bytes(whole.to_json())}, _is_ours)


def verdict_of(
    measurement: Measurement, target_ms: float | None, estimate: Estimate | None = None,
    processes: Sequence[Measurement] = (),
) -> Verdict:  # fmt: skip
    """Return what a measurement, with its own interval or a given estimate's, says about a target.

    The rule is :func:`tempograd.data.result.verdict_of`'s.
    """
    return document.verdict_of(measured_of(measurement, estimate, processes), target_ms)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version()}
    for name in ("tempograd", "torch", "onnx", "onnxruntime", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def asked(queries: Sequence[Query], metric: Metric = ACCURACY) -> dict[str, Any]:
    """Return queries as columns, JSON-ready, in the order they were asked; ``front`` are the places of the best ones.

    Those are beaten by no other in metric and predicted latency at once, fastest first: the picks for other targets.
    """
    columns = {name: [getattr(query, name) for query in queries] for name in ("score", "predicted_ms")}
    best = front([metric.merit(score) for score in columns["score"]], columns["predicted_ms"]).tolist()
    if metric.name == ACCURACY.name:
        columns["accuracy"] = columns["score"]
    return {"used": len(queries), "key": [query.architecture.key for query in queries]} | columns | {"front": best}


def named(space: SearchSpace, architecture: Architecture, predicted_ms: float | None) -> dict[str, Any]:
    """Return how an architecture is named in a result."""
    return {"key": architecture.key, "text": space.format(architecture), "predicted_ms": predicted_ms}


def plain_of(preprocessing: Preprocessing) -> dict[str, Any]:
    """Return preprocessing as it stands in a document, and beside the network."""
    return json.loads(json.dumps(asdict(preprocessing))) | {"layout": "NCHW"}


def _scores(trained: Trained, metric: Metric) -> dict[str, Any]:
    """Return what a document says of a trained network; accuracies have their own name beside, as they always had."""
    told = {"score": trained.score, "validation_score": trained.validation_score}
    if metric.name == ACCURACY.name:
        told |= {"accuracy": trained.score, "validation_accuracy": trained.validation_score}
    return told


def _step(
    space: SearchSpace, architecture: Architecture, predicted_ms: float | None, measurement: Measurement
) -> document.Step:
    return document.Step(
        **named(space, architecture, predicted_ms), measured_ms=measurement.latency_ms, verdict=measurement.verdict
    )


def measured_of(
    measurement: Measurement, estimate: Estimate | None = None, processes: Sequence[Measurement] = ()
) -> Measured:
    """Return what a document says of a measurement, with its own interval or a given estimate's."""
    estimate = estimate or measurement.estimate
    return Measured(
        latency_ms=estimate.latency_ms if estimate else None,
        low_ms=estimate.low_ms if estimate else None,
        high_ms=estimate.high_ms if estimate else None,
        verdict=verdict_across(measurement, processes),
        path=estimate.path if estimate else None,
        rounds=estimate.rounds if estimate else 0,
        gated=estimate.gated if estimate else 0,
        energy_mj=measurement.beside_time.get(ENERGY),
        memory_bytes=measurement.beside_time.get(MEMORY),
        processes=[Process(latency_ms=each.latency_ms, verdict=each.verdict) for each in processes],
    )


def _sentinels(measurements: Iterable[Measurement]) -> Iterable[Sentinel]:
    for measurement in measurements:
        if measurement.reference is not None:
            for round_ in measurement.rounds:
                yield Sentinel(
                    started_s=round_.started_s,
                    sentinel_ms=round_.sentinel_ms,
                    gate_ms=measurement.reference.gate_ms,
                )


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return a document as it is kept."""
    return json.dumps(value, indent=1, allow_nan=False).encode()


def write_json(contents: Mapping[Path, Mapping[str, Any]]) -> None:
    """Write documents of a result, the last one last."""
    outputs.write({path: json_bytes(value) for path, value in contents.items()}, _is_ours)


def _is_network(path: Path) -> bool:
    import onnx

    names = {entry.key for entry in onnx.load(path, load_external_data=False).metadata_props}
    return names >= {"architecture", "measured_verdict"}


_FILES = {
    NETWORK: _is_network,
    WEIGHTS: outputs.tensors_with("written_by"),
    PREDICT: outputs.marked(b'"""', MARK),
    ARCHITECTURE: outputs.json_with("space", "choices", "text"),
    RESULT: outputs.json_with("schema", "space", "found", "verdict"),
}


def _is_ours(path: Path) -> bool:
    """Return whether a file of one of a result's names is a result's."""
    return _FILES[path.name](path)
