"""What a search gives back, as a value, as JSON and as a folder.

::

    result.json           everything below the figures of a report, schema 1
    architecture.json     the network by its choices
    network.onnx          trained, weights embedded; latency, interval, verdict and device in the metadata
    weights.safetensors   the trained weights by ``node.weight``

``result.json`` is written last: where it is, the folder is whole.

``tempograd.spaces.saved.load_network`` builds the network from the folder; ``result.json`` has the line of Python.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from .. import outputs
from ..measurement.label import Estimate
from ..measurement.measurement import Measurement
from ..measurement.repeatability import across
from ..spaces.architecture import Architecture
from ..spaces.saved import ARCHITECTURE, WEIGHTS, architecture_json, load_architecture, rebuild_line
from ..spaces.space import SearchSpace
from .evaluator import Trained
from .feasibility import Feasibility
from .front import front
from .repair import Step
from .trace import Query, Trace

SCHEMA = 1
NETWORK, RESULT = "network.onnx", "result.json"
Verdict = Literal["pass", "fail", "unreliable", "measured"]


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
        feasibility: of the target, before the search.
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
        processes: the measurements of the trained network, each of a process of its own; ``found`` has one of them.
        repeatability: relative standard deviation between processes on this device; NaN if it is not known.
    """

    space: SearchSpace
    method: str
    task: str
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
            f"test accuracy {self.trained.accuracy:.1%}, {self.space.format(self.architecture)}"
        )

    def to_json(self, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the result as JSON-ready values, schema 1.

        Args:
            provenance: what only the caller knows: ``device``, ``predictor``, ``parity``, ``command``.
        """
        extra = dict(provenance or {})
        predictor = extra.pop("predictor", {}) | {"feed": self.feed}
        measured = [*self.steps, *(rival.step for rival in self.rivals)]
        if self.queries:
            extra["queries"] = asked(self.queries)
        if self.finalists:
            extra["finalists"] = [self._rival(rival) for rival in self.finalists]
        return {
            "schema": SCHEMA,
            "space": self.space.spec,
            "method": self.method,
            "task": self.task,
            "seed": self.seed,
            "mode": "weight" if self.target_ms is None else "target",
            "target_ms": self.target_ms,
            "lam": self.lam,
            "predictor": predictor,
            "feasibility": self.feasibility.to_json(),
            "found": self._found(),
            "verdict": self.verdict,
            "repairs": [
                named(self.space, step.architecture, step.predicted_ms)
                | {"measured_ms": _finite(step.measurement.latency_ms), "verdict": step.measurement.verdict}
                for step in self.steps
            ],
            "random": [self._rival(rival) for rival in self.rivals],
            "trace": self.trace.columns(),
            "sentinels": list(_sentinels(step.measurement for step in measured)),
            "environment": self.found.measurement.environment,
            "versions": versions(),
            "seconds": self.seconds,
        } | extra

    def save(self, directory: Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write the result folder.

        Raises:
            UsageError: one of the files is there already, and no result's.
            StoreError: the disk refuses.
        """
        from safetensors.numpy import save as to_bytes

        arrays = self.trained.network.arrays()
        document = self.to_json(dict(provenance or {}) | {"rebuild": rebuild_line(directory)})
        contents = {
            NETWORK: _network(self.space, self.architecture, arrays, document),
            WEIGHTS: to_bytes(arrays, metadata={"written_by": "tempograd"}),
            ARCHITECTURE: json_bytes(architecture_json(self.space, self.architecture)),
            RESULT: json_bytes(document),
        }
        outputs.write({directory / name: content for name, content in contents.items()}, _is_ours)

    def _found(self) -> dict[str, Any]:
        graph = self.space.network_graph(self.architecture)
        return named(self.space, self.architecture, self.found.predicted_ms) | {
            "predicted_low_ms": None if self.predicted_low_ms is None else _finite(self.predicted_low_ms),
            "predicted_high_ms": None if self.predicted_high_ms is None else _finite(self.predicted_high_ms),
            "measured": _in_processes(self.found.measurement, self.estimate, self.processes),
            "accuracy": self.trained.accuracy,
            "validation_accuracy": self.trained.validation_accuracy,
            "parameters": graph.parameters(),
            "macs": graph.macs(),
        }

    def _rival(self, rival: Rival) -> dict[str, Any]:
        measured = _measured(rival.step.measurement, rival.step.measurement.estimate)
        return named(self.space, rival.step.architecture, rival.step.predicted_ms) | {
            "accuracy": rival.trained.accuracy,
            "validation_accuracy": rival.trained.validation_accuracy,
            "measured_ms": measured["latency_ms"],
            "low_ms": measured["low_ms"],
            "high_ms": measured["high_ms"],
            "verdict": measured["verdict"],
        }


def _network(
    space: SearchSpace, architecture: Architecture, arrays: Mapping[str, NDArray[Any]], document: Mapping[str, Any]
) -> bytes:
    """Return the trained network as ONNX, with the numbers of its result in the metadata."""
    from ..spaces.export import to_onnx

    found, device = document["found"], document.get("device", {})
    numbers = {f"measured_{key}": str(found["measured"][key]) for key in ("latency_ms", "low_ms", "high_ms", "verdict")}
    metadata = numbers | {
        "space": space.spec,
        "architecture": space.format(architecture),
        "verdict": document["verdict"],
        "target_ms": str(document["target_ms"]),
        "device": str(device.get("id", "")),
        "device_fingerprint": json.dumps(device, sort_keys=True),
        "predicted_latency_ms": str(found["predicted_ms"]),
        "task": document["task"],
        "test_accuracy": str(found["accuracy"]),
    }
    model = to_onnx(space.network_graph(architecture), arrays, metadata=metadata)
    return model.SerializeToString(deterministic=True)


def earlier(directory: Path) -> dict[str, Any] | None:
    """Return the document of the result that a folder holds, None if it holds none.

    Raises:
        UsageError: one of a result's files is there, and is something else.
        StoreError: the folder may not be written.
    """
    outputs.check([directory / name for name in _FILES], _is_ours)
    path = directory / RESULT
    return json.loads(path.read_bytes()) if path.exists() else None


def measured_again(directory: Path, processes: Sequence[Measurement], repeatability: float) -> dict[str, Any]:
    """Put other measurements of its network into a result, with the verdict that they give; return the document.

    Args:
        directory: the result's folder.
        processes: each of a process of its own; the first one is told.
        repeatability: relative standard deviation between processes on this device; NaN if it is not known.
    """
    from safetensors.numpy import load_file

    document = json.loads((directory / RESULT).read_bytes())
    space, architecture = load_architecture(directory)
    found, measurement = document["found"], processes[0]
    estimate = across(measurement, processes, repeatability)
    found["measured"] = _in_processes(measurement, estimate, processes)
    document["verdict"] = verdict_of(measurement, document["target_ms"], estimate)
    document["repairs"].append(
        named(space, architecture, found["predicted_ms"])
        | {"measured_ms": _finite(measurement.latency_ms), "verdict": measurement.verdict}
    )
    document["sentinels"] += _sentinels([measurement])
    document["environment"] = measurement.environment
    network = _network(space, architecture, load_file(directory / WEIGHTS), document)
    outputs.write({directory / NETWORK: network, directory / RESULT: json_bytes(document)}, _is_ours)
    return document


def verdict_of(measurement: Measurement, target_ms: float | None, estimate: Estimate | None = None) -> Verdict:
    """Return what a measurement, with its own interval or a given estimate's, says about a target.

    Noise of a machine only ever adds time: a noisy measurement is a pass where its whole interval is within the target,
    and no answer elsewhere.
    """
    estimate = estimate or measurement.estimate
    if measurement.verdict not in {"ok", "noisy"} or estimate is None:
        return "unreliable"
    if measurement.verdict == "noisy":
        return "pass" if target_ms is not None and estimate.high_ms <= target_ms else "unreliable"
    if target_ms is None:
        return "measured"
    return "pass" if estimate.latency_ms <= target_ms else "fail"


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version()}
    for name in ("tempograd", "torch", "onnx", "onnxruntime", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def asked(queries: Sequence[Query]) -> dict[str, Any]:
    """Return queries as columns, JSON-ready, in the order they were asked; ``front`` are the places of the best ones.

    Those are beaten by no other in accuracy and predicted latency at once, fastest first: the picks for other targets.
    """
    columns = {name: [getattr(query, name) for query in queries] for name in ("accuracy", "predicted_ms")}
    best = front(columns["accuracy"], columns["predicted_ms"]).tolist()
    return {"used": len(queries), "key": [query.architecture.key for query in queries]} | columns | {"front": best}


def named(space: SearchSpace, architecture: Architecture, predicted_ms: float) -> dict[str, Any]:
    """Return how an architecture is named in a result."""
    return {"key": architecture.key, "text": space.format(architecture), "predicted_ms": predicted_ms}


def _measured(measurement: Measurement, estimate: Estimate | None) -> dict[str, Any]:
    return {
        "latency_ms": estimate.latency_ms if estimate else None,
        "low_ms": _finite(estimate.low_ms) if estimate else None,
        "high_ms": _finite(estimate.high_ms) if estimate else None,
        "verdict": measurement.verdict,
        "path": estimate.path if estimate else None,
        "rounds": estimate.rounds if estimate else 0,
        "gated": estimate.gated if estimate else 0,
    }


def _in_processes(
    measurement: Measurement, estimate: Estimate | None, processes: Iterable[Measurement]
) -> dict[str, Any]:
    """Return a measurement with an interval that covers its processes, beside what each of them said."""
    said = [{"latency_ms": _finite(m.latency_ms), "verdict": m.verdict} for m in processes]
    return _measured(measurement, estimate) | {"processes": said}


def _sentinels(measurements: Iterable[Measurement]) -> Iterable[dict[str, float]]:
    for measurement in measurements:
        if measurement.reference is not None:
            for round_ in measurement.rounds:
                yield {
                    "started_s": round_.started_s,
                    "sentinel_ms": round_.sentinel_ms,
                    "gate_ms": measurement.reference.gate_ms,
                }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


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
    ARCHITECTURE: outputs.json_with("space", "choices", "text"),
    RESULT: outputs.json_with("schema", "space", "found", "verdict"),
}


def _is_ours(path: Path) -> bool:
    """Return whether a file of one of a result's names is a result's."""
    return _FILES[path.name](path)
