"""The product in Python: ``import tempograd as tg``.

The verbs are those of the command line, with the same defaults. Each returns an object that shows itself: a ``repr`` of
a few lines, ``to_frame()`` (with pandas) where there are rows, a table in a notebook, and ``document``, what ``--json``
prints. Nothing here raises because a number is bad: ``reliable``, ``passed`` and the verdicts say so. What cannot be
done raises an error of `tempograd.errors`.

>>> import tempograd as tg
>>> space = tg.space("nasbench201:cells=1,width=4,size=8,channels=1")
>>> tg.collect(space, "run.db", device="simulated", count=60, plan="quick").reliable
True
>>> predictor = tg.fit("run.db", "predictor", steps=50)
>>> found = tg.search(space, predictor, "result", target_ms=5.0, device="simulated", epochs=2, train_epochs=1, random=0)
>>> found.verdict
'pass'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from . import registry
from .errors import InputRefusedError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from .data.dataset import LatencyDataset
    from .devices.device import Place
    from .predictor.saved import SavedPredictor
    from .spaces.architecture import Architecture
    from .spaces.network import Network
    from .spaces.space import SearchSpace

Progress = Callable[[str, int, int], None]


def space(spec: str) -> SearchSpace:
    """Return a search space: a name with arguments, as on the command line.

    Args:
        spec: such as ``darts:layers=5,width=8``; ``tempograd.registry.names("space")`` lists the names.

    Raises:
        UsageError: no such space, or an argument that it does not allow.

    >>> import tempograd as tg
    >>> space = tg.space("nasbench201:cells=1,width=4")
    >>> len(space.sites), f"{10**space.size_log10:.0f} networks"
    (6, '15625 networks')
    """
    return registry.create("space", spec)


def device(spec: str = "local") -> Place:
    """Return a device: a name with arguments, as on the command line.

    Args:
        spec: such as ``local:threads=2,runtime=openvino``; ``tempograd.registry.names("device")`` lists the names.

    Raises:
        UsageError: no such device, or an argument that it does not allow.
        DeviceError: its runtime is not installed.

    >>> import tempograd as tg
    >>> tg.device("simulated:seed=1").fingerprint.place
    'simulated'
    """
    return registry.create("device", spec)


def collect(
    space: str | SearchSpace,
    store: Path | str,
    *,
    device: str | Place = "local",
    count: int = 300,
    plan: str = "standard",
    seed: int = 0,
    design: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Measure sampled networks of a space on a device into a store; what is there is not repeated.

    Args:
        space: the space or its spec.
        store: file that measurements are kept in; made if it is not there.
        device: the device or its spec.
        count: networks to measure.
        plan: how long each is measured: ``quick``, ``standard`` or ``precise``.
        seed: of the choice of networks and the order of measurement.
        design: choose the networks that teach the most: for a few, on a new device.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: an argument that is not allowed.
        DeviceError: the device cannot be reached.
        StoreError: the store cannot be written.

    >>> import tempograd as tg
    >>> space = tg.space("nasbench201:cells=1,width=4,size=8,channels=1")
    >>> tg.collect(space, "run.db", device="simulated", count=60, plan="quick").verdicts
    {'ok': 67}
    """
    from .verbs.collect import collect as verb

    done = verb(
        space, Path(store), device=device, count=count, plan=plan, seed=seed, design=design,
        progress=progress or _silent,
    )  # fmt: skip
    return Collected(done.document, done.text, Path(store))


def fit(
    store: Path | str | Collected,
    out: Path | str,
    *,
    quantities: Sequence[str] = ("latency_ms",),
    model: str | None = None,
    sources: Sequence[Path | str] = (),
    space: str | SearchSpace | None = None,
    device: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyPredictor:
    """Learn latency from a store; judged by cross-validation, beside the noise of the labels.

    Args:
        store: what `collect` returned, or the file.
        out: folder for the predictor and its card.
        quantities: what is learnt, the first being what a search goes by; see ``measurement.quantities``.
        model: a name of ``tempograd.registry.names("model")``; by default ``gp``, or ``transfer`` for few networks.
        sources: stores of other devices to transfer from.
        space: which space, if the store holds several.
        device: id of which device's fingerprint, if the store holds several.
        steps: training steps of ``gp`` or ``mlp``; fewer are faster.
        seed: of folds and initial weights.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: an argument that is not allowed, or too few networks.

    >>> import tempograd as tg
    >>> predictor = tg.fit("run.db", "predictor", steps=50)
    >>> predictor.quantity, predictor.scores["spearman"] > 0.9
    ('latency_ms', True)
    """
    from .verbs.fit import fit as verb

    verb(
        store.store if isinstance(store, Collected) else Path(store), Path(out), quantities=quantities, model=model,
        sources=[Path(source) for source in sources], space=_spec(space), device=device, steps=steps, seed=seed,
        progress=progress or _silent,
    )  # fmt: skip
    return LatencyPredictor(Path(out))


def predict(
    predictor: Path | str | LatencyPredictor, architectures: str | Architecture | Sequence[str | Architecture]
) -> Predictions:
    """Predict latency of architectures, with 95 % intervals.

    Args:
        predictor: what `fit` returned, or its folder.
        architectures: one or ``n`` of them, each as `Architecture` or as any text that the space reads.

    Raises:
        UsageError: an architecture that the space does not have.
        InputRefusedError: the folder holds no predictor.

    >>> import tempograd as tg
    >>> told = tg.predict("predictor", ["0", "1462"])
    >>> told.latency_ms.shape, told.verdicts
    ((2,), ('predicted', 'predicted'))
    """
    one = predictor if isinstance(predictor, LatencyPredictor) else LatencyPredictor(Path(predictor))
    return one.predict(architectures)


def evaluate(
    table: Path | str,
    *,
    space: str | SearchSpace,
    columns: str | Sequence[str],
    train: int = 900,
    valid: int = 100,
    seeds: int = 3,
    model: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Judge a predictor on any latency table: learn from some rows, test on all others.

    Args:
        table: Parquet or CSV: the space's columns or ``arch_str``, and latencies.
        space: the space or its spec.
        columns: names of latency columns, one a device.
        train: rows to learn from.
        valid: rows to choose the encoding by.
        seeds: random splits.
        model: a name of ``tempograd.registry.names("model")``; by default as in `fit`.
        progress: called with what is done, how much of it, and of how much.
        options: more of what ``tempograd.verbs.evaluate`` takes.

    Raises:
        UsageError: an argument that is not allowed, or no such column.
        InputRefusedError: the table cannot be read.

    >>> import tempograd as tg
    >>> judged = tg.evaluate("table.csv", space="nasbench201:cells=1,width=4,size=8,channels=1",
    ...                      columns="latency_ms", train=40, valid=5, seeds=1, model="ridge")
    >>> judged.scores["latency_ms"]["spearman"] > 0.8
    True
    """
    from .verbs.evaluate import evaluate as verb

    names = [columns] if isinstance(columns, str) else list(columns)
    done = verb(
        Path(table), space=_spec(space), columns=names, train=train, valid=valid, seeds=seeds, model=model,
        progress=progress or _silent, **options,
    )  # fmt: skip
    return Evaluation(done.document, done.text)


@overload
def search(
    space: str | SearchSpace, predictor: Path | str | LatencyPredictor | None, out: Path | str, *,
    target_ms: float | None = None, lam: float | None = None, method: str = "la_darts", task: str = "digits",
    device: str | Place | None = None, progress: Progress | None = None, **options: Any,
) -> Found: ...  # fmt: skip
@overload
def search(
    space: str | SearchSpace, predictor: Path | str | LatencyPredictor | None, out: Path | str, *,
    target_ms: Sequence[float], lam: float | None = None, method: str = "la_darts", task: str = "digits",
    device: str | Place | None = None, progress: Progress | None = None, **options: Any,
) -> list[Found]: ...  # fmt: skip
def search(
    space: str | SearchSpace,
    predictor: Path | str | LatencyPredictor | None,
    out: Path | str,
    *,
    target_ms: float | Sequence[float] | None = None,
    lam: float | None = None,
    method: str = "la_darts",
    task: str = "digits",
    device: str | Place | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Found | list[Found]:
    """Search under a latency target, train what is found, and measure it: pass or fail.

    Args:
        space: the space or its spec.
        predictor: what `fit` returned, or its folder; None with a cost that needs none, or a table.
        out: folder for the result.
        target_ms: latency that the network must not exceed, as measured; several give a list of results,
            without those that no network of the space meets.
        lam: instead of a target: the fixed weight of latency.
        method: a name of ``tempograd.registry.names("method")``.
        task: what networks learn; see ``tempograd search --help``.
        device: the device or its spec; by default ``local``.
        progress: called with what is done, how much of it, and of how much.
        options: more of what ``tempograd.verbs.search`` takes: ``epochs``, ``train_epochs``, ``finalists``, ``seed``...

    Raises:
        UsageError: an argument that is not allowed, or that this search would not heed.
        TargetError: no network of the space meets the target.
        MismatchError: the predictor is of another space or device.

    >>> import tempograd as tg
    >>> found = tg.search("nasbench201:cells=1,width=4,size=8,channels=1", "predictor", "result", target_ms=5.0,
    ...                   device="simulated", epochs=2, train_epochs=1, random=0)
    >>> found.passed, found.latency_ms <= 5.0
    (True, True)
    """
    from .verbs.search import search as verb

    folder = predictor.path if isinstance(predictor, LatencyPredictor) else predictor
    several = isinstance(target_ms, Sequence)
    done = verb(
        space, None if folder is None else Path(folder), Path(out), target_ms=target_ms, lam=lam, method=method,
        task=task, device=device, progress=progress or _silent, **options,
    )  # fmt: skip
    results = [Found(Path(folder)) for folder in done.folders]
    return results if several else results[0]


def load(path: Path | str) -> LatencyDataset | LatencyPredictor | Found:
    """Open what the verbs wrote: a store, an exported data set, a predictor or a result.

    Args:
        path: file or folder.

    Raises:
        InputRefusedError: it is none of these.

    >>> import tempograd as tg
    >>> tg.load("predictor").space
    'nasbench201:cells=1,width=4,classes=10,size=8,channels=1'
    >>> len(tg.load("run.db").keys) >= 60
    True
    """
    from .data.parquet import DATA
    from .data.parquet import load as data_set

    path = Path(path)
    if path.is_file():
        return Collected({}, "", path).dataset
    if (path / DATA).is_file():
        return data_set(path)
    if (path / "predictor.json").is_file():
        return LatencyPredictor(path)
    if (path / "result.json").is_file():
        return Found(path)
    raise InputRefusedError(f"{path} is neither a store, a data set, a predictor nor a result of tempograd's")


def report(result: Path | str | Found, out: Path | str = "report.html") -> Path:
    """Write one offline HTML page from a result, and return its path.

    Args:
        result: what `search` returned, or its folder.
        out: the HTML file.

    Raises:
        InputRefusedError: the folder holds no result.

    >>> import tempograd as tg
    >>> tg.report("result", "page.html").name
    'page.html'
    """
    from .verbs.report import report as verb

    folder = result.path if isinstance(result, Found) else Path(result)
    return Path(verb(folder, Path(out)).document["report"])


class _Shown:
    """What a verb returned: ``document`` for programs, ``text`` for people, rows for both."""

    document: Mapping[str, Any]
    text: str

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of `to_frame`."""
        raise NotImplementedError

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError("to_frame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self._rows())

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text)}</pre>{_html(self._rows())}"


@dataclass(frozen=True, repr=False)
class Collected(_Shown):
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
        """Return whether the campaign came to its end and nothing speaks against its numbers."""
        return not self.doubts and not self.document["interrupted"]

    @cached_property
    def dataset(self) -> LatencyDataset:
        """Return every network's label in the store, of this space and device, with verdict and interval."""
        from .data.dataset import LatencyDataset
        from .data.store import Store
        from .verbs.outcome import only_space

        with Store(self.store) as opened:
            space = self.document.get("space") or only_space(opened)
            return LatencyDataset.from_store(opened, space=space, fingerprint_id=self.document.get("device"))

    def _rows(self) -> list[dict[str, Any]]:
        names = ("key", "latency_ms", "low_ms", "high_ms", "verdict")
        return [{name: getattr(row, name) for name in names} for row in self.dataset.rows]


@dataclass(frozen=True, repr=False)
class LatencyPredictor(_Shown):
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
        return f"{self.quantity}: {self.saved.model} of {self.space}\non device {self.device}\nheld out: {scores}"

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
        from .verbs.predict import predict as verb

        several = [architectures] if not isinstance(architectures, Sequence) else architectures
        names = [several] if isinstance(several, str) else several
        done = verb(self.path, [one if isinstance(one, str) else one.key for one in names])
        return Predictions(done.document, done.text)

    def _rows(self) -> list[dict[str, Any]]:
        parity = self.document.get("parity") or {}
        return [dict(zip(parity, row, strict=True)) for row in zip(*parity.values(), strict=True)]


@dataclass(frozen=True, repr=False)
class Predictions(_Shown):
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
        return iter(self._rows())

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
        return tuple(row["verdict"] for row in self._rows())

    @property
    def _unit(self) -> str:
        return str(self.document["quantities"][0]).rpartition("_")[2]

    def _column(self, name: str) -> NDArray[np.float64]:
        import numpy as np

        return np.array([np.inf if row[name] is None else row[name] for row in self._rows()], float)

    def _rows(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "heads"} for row in self.document["predictions"]]


@dataclass(frozen=True, repr=False)
class Evaluation(_Shown):
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
        return {row.pop("column"): row for row in self._rows()}

    def _rows(self) -> list[dict[str, Any]]:
        devices = self.document.get("devices") or [self.document]
        return [
            {"column": one["column"]}
            | {name: value["mean"] for name, value in one.items() if isinstance(value, dict) and "mean" in value}
            for one in devices
        ]


@dataclass(frozen=True, repr=False)
class Found(_Shown):
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
        from .report.result import read_result

        return read_result(self.path).model_dump()

    @property
    def text(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the answer in two lines."""
        target = "" if self.target_ms is None else f" against a target of {self.target_ms:.4g} ms"
        measured = self.document["found"]["measured"]["verdict"]
        return (
            f"{self.verdict.upper()}: measured {self.latency_ms:.4g} ms [{self.low_ms:.4g}, {self.high_ms:.4g}] "
            f"{measured}{target}\ntest accuracy {self.accuracy:.1%}: {self.document['found']['text']} in {self.path}"
        )

    @property
    def verdict(self) -> str:
        """Return ``pass``, ``fail``, ``unreliable``, or ``measured`` where there was no target."""
        return str(self.document["verdict"])

    @property
    def passed(self) -> bool:
        """Return whether the trained network, measured in three processes, meets its target."""
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
    def accuracy(self) -> float:
        """Return the accuracy on the task's test part, a share."""
        return float(self.document["found"]["accuracy"])

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

    def _rows(self) -> list[dict[str, Any]]:
        found = self.document["found"]
        mine = {
            "network": "found", "latency_ms": self.latency_ms, "low_ms": self.low_ms, "high_ms": self.high_ms,
            "verdict": found["measured"]["verdict"], "accuracy": self.accuracy, "architecture": found["text"],
        }  # fmt: skip
        rivals = [
            {"network": "random", "latency_ms": one["measured_ms"], "architecture": one["text"]}
            | {name: one[name] for name in ("low_ms", "high_ms", "verdict", "accuracy")}
            for one in self.document["random"]
        ]
        return [mine, *rivals]


def _spec(given: Any) -> Any:
    """Return a space's spec where the space itself was given."""
    return getattr(given, "spec", given)


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing."""


def _html(rows: Sequence[Mapping[str, Any]], most: int = 20) -> str:
    """Return rows as a table, the first ``most`` of them."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows[:most]
    )
    more = f"<p>{len(rows) - most} more rows: to_frame()</p>" if len(rows) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
