"""What the verbs return in Python: values that show themselves, as text, as a table, as rows for pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MismatchError, UsageError
from .measurement.repeatability import ENOUGH
from .shown import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .data.dataset import LatencyDataset
    from .metric import Metric
    from .predictor.saved import SavedPredictor
    from .spaces.architecture import Architecture
    from .spaces.network import Network


class Shown(Rows):
    """What a verb returned: ``document`` for programs, ``text`` for people, rows for both."""

    document: Mapping[str, Any]
    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, repr=False)
class Collected(Shown):
    """What `collect` measured.

    Attributes:
        document: the campaign's summary, as ``collect --json`` prints it.
        text: the same for people.
        store: the file with all measurements of this and earlier campaigns.
    """

    document: Mapping[str, Any]
    text: str
    store: Path

    @property
    def verdicts(self) -> dict[str, int]:
        """Return verdict -> jobs of this campaign, blind duplicates included."""
        return dict(self.document["verdicts"])

    @property
    def doubts(self) -> list[str]:
        """Return why the numbers must not be trusted, one sentence each; none if they may."""
        return list(self.document["doubts"])

    @property
    def reliable(self) -> bool:
        """Return whether the campaign ended, enough was timed twice, and nothing speaks against its numbers."""
        return not self.doubts and not self.document["interrupted"] and self.document["pairs"] >= ENOUGH

    @cached_property
    def dataset(self) -> LatencyDataset:
        """Return every network's label in the store, of this space and device, with verdict and interval."""
        return dataset_of(self.store, self.document["space"], self.document["device"])

    def listed(self) -> list[dict[str, Any]]:
        return self.dataset.listed()


@dataclass(frozen=True, repr=False)
class LatencyPredictor(Shown):
    """A predictor on disk, with its space, device, scores and intervals.

    Attributes:
        path: the folder that `fit` wrote.
    """

    path: Path

    def __post_init__(self) -> None:
        self.saved  # noqa: B018  (a folder that holds none is refused here)

    @cached_property
    def saved(self) -> SavedPredictor:
        """Return what the folder holds: models, bindings, residuals."""
        from .predictor.saved import load

        return load(self.path)

    @property
    def document(self) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the card of the main quantity, as ``fit --json`` prints it."""
        return self.saved.card

    @property
    def text(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the predictor in three lines."""
        scores = "; ".join(f"{name} {value:.4g}" for name, value in self.scores.items() if value is not None)
        floor_pct = self.document.get("noise_floor_mape_pct")
        floor = "" if floor_pct is None else f"; noise floor of its labels {floor_pct:.2g} %"
        return (
            f"{self.quantity}: {self.saved.model} of {self.space}\non device {self.device}\nheld out: {scores}{floor}"
        )

    @property
    def space(self) -> str:
        """Return the full spec of the space that it was learnt on."""
        return self.saved.binding.space

    @property
    def device(self) -> str:
        """Return the id of the fingerprint of the device that it is of."""
        return self.saved.binding.fingerprint_id

    @property
    def quantity(self) -> str:
        """Return what the main head predicts, its unit in the name."""
        return self.saved.binding.quantity

    @property
    def scores(self) -> dict[str, float | None]:
        """Return the scores of held-out networks: MAPE, shares within 1, 5 and 10 %, rank correlations."""
        return dict(self.document["scores"])

    def predict(self, architectures: str | Architecture | Sequence[str | Architecture]) -> Predictions:
        """Predict ``n`` architectures, each an `Architecture` or a text that the space reads; see `predict`."""
        from .spaces.architecture import Architecture
        from .verbs.predict import predict as verb

        several = [architectures] if not isinstance(architectures, Sequence) else architectures
        names = [several] if isinstance(several, str) else several
        if not len(names):
            raise UsageError("no architecture is given; allowed: one or more")
        for one in names:
            if not isinstance(one, str | Architecture):  # pyright: ignore[reportUnnecessaryIsInstance] - from Python
                raise UsageError(f"architecture {one!r}; allowed: an Architecture, or a text that the space reads")
            if not isinstance(one, str) and one.space != self.space:
                raise MismatchError(f"an architecture of {one.space}, and this predictor is of {self.space}")
        done = verb(self.path, [one if isinstance(one, str) else one.key for one in names])
        return Predictions(done.document, done.text)

    def listed(self) -> list[dict[str, Any]]:
        parity = self.document.get("parity") or {}
        return [dict(zip(parity, row, strict=True)) for row in zip(*parity.values(), strict=True)]


@dataclass(frozen=True, repr=False)
class Predictions(Shown):
    """Latencies of ``n`` architectures, in the order in which they were asked for.

    Attributes:
        document: as ``predict --json`` prints it, other quantities included.
        text: the same for people.
    """

    document: Mapping[str, Any]
    text: str

    def __len__(self) -> int:
        return len(self.document["predictions"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.listed())

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """Return the predictions ``(n,)`` of the main quantity, which is latency in ms unless fitted otherwise."""
        return self._column(self.document["quantities"][0])

    @property
    def low_ms(self) -> NDArray[np.float64]:
        """Return the lower ends ``(n,)`` of the 95 % intervals."""
        return self._column(f"low_{self._unit}")

    @property
    def high_ms(self) -> NDArray[np.float64]:
        """Return the upper ends ``(n,)`` of the 95 % intervals; infinite where nothing bounds them."""
        return self._column(f"high_{self._unit}")

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Return ``n`` times ``predicted`` or ``out_of_support``."""
        return tuple(row["verdict"] for row in self.listed())

    @property
    def _unit(self) -> str:
        return str(self.document["quantities"][0]).rpartition("_")[2]

    def _column(self, name: str) -> NDArray[np.float64]:
        import numpy as np

        return np.array([np.inf if row[name] is None else row[name] for row in self.listed()], float)

    def listed(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "heads"} for row in self.document["predictions"]]


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """How well a predictor does on columns of a table.

    Attributes:
        document: as ``evaluate --json`` prints it.
        text: the same for people.
    """

    document: Mapping[str, Any]
    text: str

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Return column -> score -> mean over the splits."""
        return {row.pop("column"): row for row in self.listed()}

    def listed(self) -> list[dict[str, Any]]:
        devices = self.document.get("devices") or [self.document]
        return [
            {"column": one["column"]}
            | {name: value["mean"] for name, value in one.items() if isinstance(value, dict) and "mean" in value}
            for one in devices
        ]


@dataclass(frozen=True, repr=False)
class Found(Shown):
    """The network that a search found, trained and measured.

    Attributes:
        path: the folder that `search` wrote: ``network.onnx``, ``weights.safetensors``, ``architecture.json``.
    """

    path: Path

    def __post_init__(self) -> None:
        self.document  # noqa: B018  (a folder that holds none is refused here)

    @cached_property
    def document(self) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return ``result.json``."""
        from .data.result import read_result

        return read_result(self.path).model_dump(by_alias=True)

    @property
    def text(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the answer in two lines."""
        target = "" if self.target_ms is None else f" against a target of {self.target_ms:.4g} ms"
        measured = self.document["found"]["measured"]["verdict"]
        return (
            f"{self.verdict.upper()}: measured {self.latency_ms:.4g} ms [{self.low_ms:.4g}, {self.high_ms:.4g}] "
            f"{measured}{target}\ntest {self.metric.name} {self.metric.format(self.score)}: "
            f"{self.document['found']['text']} in {self.path}"
        )

    @property
    def verdict(self) -> str:
        """Return ``pass``, ``fail``, ``unreliable``, or ``measured`` where there was no target."""
        return str(self.document["verdict"])

    @property
    def passed(self) -> bool:
        """Return whether the trained network, measured in at least three processes, meets its target."""
        return self.verdict == "pass"

    @property
    def target_ms(self) -> float | None:
        """Return the target, if there was one."""
        return self.document["target_ms"]

    @property
    def latency_ms(self) -> float:
        """Return the measured latency of the trained network; NaN if there is none."""
        return self._measured("latency_ms", float("nan"))

    @property
    def low_ms(self) -> float:
        """Return the lower end of its 95 % interval."""
        return self._measured("low_ms", 0.0)

    @property
    def high_ms(self) -> float:
        """Return the upper end of its 95 % interval."""
        return self._measured("high_ms", float("inf"))

    @property
    def metric(self) -> Metric:
        """Return what networks of the task are compared by: its name, direction and unit."""
        from .metric import Metric

        told = self.document["metric"]
        return Metric(told["name"], told["higher_is_better"], told["unit"], told["chance"])

    @property
    def score(self) -> float:
        """Return the task's metric on its test part, in the unit of :attr:`metric`."""
        value = self.document["found"]["score"]
        return float("nan") if value is None else float(value)

    @property
    def accuracy(self) -> float:
        """Return the accuracy on the task's test part, a share.

        Raises:
            UsageError: the task has another metric.
        """
        if self.metric.name != "accuracy":
            raise UsageError(f"{self.document['task']} has no accuracy: ask for score, its {self.metric.name}")
        return self.score

    @property
    def onnx(self) -> Path:
        """Return the trained network's ONNX file."""
        return self.path / "network.onnx"

    @cached_property
    def architecture(self) -> Architecture:
        """Return the choices."""
        from .spaces.saved import load_architecture

        return load_architecture(self.path)[1]

    def network(self) -> Network:
        """Return the trained network as a torch module in eval mode: ``(b, C, H, W) -> (b, classes)``."""
        from .spaces.saved import load_network

        return load_network(self.path)

    def _measured(self, name: str, absent: float) -> float:
        value = self.document["found"]["measured"][name]
        return absent if value is None else float(value)

    def listed(self) -> list[dict[str, Any]]:
        found = self.document["found"]
        mine = {
            "network": "found", "latency_ms": self.latency_ms, "low_ms": self.low_ms, "high_ms": self.high_ms,
            "verdict": found["measured"]["verdict"], self.metric.name: self.score, "architecture": found["text"],
        }  # fmt: skip
        rivals = [
            {"network": "random", "latency_ms": one["measured_ms"], "architecture": one["text"]}
            | {name: one[name] for name in ("low_ms", "high_ms", "verdict")}
            | {self.metric.name: one["score"]}
            for one in self.document["random"]
        ]
        return [mine, *rivals]


def dataset_of(store: Path, space: str | None = None, device: str | None = None) -> LatencyDataset:
    """Return the labels in a store, of its only space and device unless these are named, by spec and fingerprint id."""
    from .data.dataset import LatencyDataset
    from .data.store import Store
    from .verbs.outcome import only_space

    with Store(store) as opened:
        return LatencyDataset.from_store(opened, space=space or only_space(opened), fingerprint_id=device)
