"""The product in Python: ``import tempograd as tg``.

The verbs are those of the command line, with the same defaults. Each returns an object that shows itself: a ``repr`` of
a few lines, ``to_frame()`` (with pandas) where there are rows, a table in a notebook, and ``document``, what ``--json``
prints. Nothing here raises because a number is bad: ``reliable``, ``passed`` and the verdicts say so. What cannot be
done raises an error of `tempograd.errors`.

>>> import tempograd as tg
>>> space = tg.space("nasbench201:cells=1,width=4,size=8,channels=1")
>>> tg.collect(space, "run.db", device="simulated", count=60, plan="quick").reliable
True
>>> predictor = tg.fit("run.db", "predictor")
>>> found = tg.search(space, predictor, "result", target_ms=5.0, device="simulated", epochs=2, train_epochs=1, random=0)
>>> found.verdict
'pass'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from . import registry
from .answers import Collected, Evaluation, Found, LatencyPredictor, Predictions, dataset_of
from .api_network import compare as compare
from .api_network import measure as measure
from .api_network import pick as pick
from .api_network import profile as profile
from .arguments import path as path_of
from .arguments import public, several, text
from .errors import InputRefusedError, UsageError
from .verbs.option import takes_keywords
from .verbs.outcome import silent
from .verbs.request import SearchRequest

if TYPE_CHECKING:
    from .data.dataset import LatencyDataset
    from .devices.device import Place
    from .spaces.architecture import Architecture
    from .spaces.space import SearchSpace
    from .tasks.task import Task

Progress = Callable[[str, int, int], None]


@public()
def space(spec: str | SearchSpace) -> SearchSpace:
    """Return a search space: a name with arguments, as on the command line, or one of your own.

    Args:
        spec: such as ``darts:layers=5,width=8``; ``tempograd.registry.names("space")`` lists the names. Or
            ``FILE.py:NAME``, a class, function or space in a file of yours; or a space. What was stored of it can be
            opened in this process from then on.

    Raises:
        UsageError: no such space, or an argument that it does not allow.

    >>> import tempograd as tg
    >>> space = tg.space("nasbench201:cells=1,width=4")
    >>> len(space.sites), f"{10**space.size_log10:.0f} networks"
    (6, '15625 networks')
    """
    from .spaces.own import given

    return given(spec)


@public()
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
    return registry.create("device", text("spec", spec))


@public()
def collect(
    space: str | SearchSpace,
    store: Path | str,
    *,
    task: str | Task | None = None,
    device: str | Place = "local",
    count: int | None = None,
    plan: str = "quick",
    seed: int = 0,
    every: bool = False,
    operations: bool = False,
    design: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Measure sampled networks of a space on a device into a store; what is there is not repeated.

    Args:
        space: the space or its spec.
        store: file that measurements are kept in; made if it is not there.
        task: what networks will learn: decides classes, image size and channels that the spec of the space leaves open.
        device: the device or its spec.
        count: networks to measure; by default 300.
        plan: how long each is measured: ``quick``, ``standard`` or ``precise``.
        seed: Seed of the choice of networks and the order of measurement.
        every: measure each different network of a small space, once.
        operations: measure the single operations, for a cost that adds them up.
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

    kept = path_of("store", store)
    done = verb(
        space, kept, task=task, device=device, count=count, plan=plan, seed=seed, every=every,
        operations=operations, design=design, progress=progress or silent,
    )  # fmt: skip
    return Collected(done.document, done.text, kept)


@public()
def fit(
    store: Path | str | Collected,
    out: Path | str,
    *,
    quantities: str | Sequence[str] = ("latency_ms",),
    model: str | None = None,
    sources: Path | str | Sequence[Path | str] = (),
    space: str | SearchSpace | None = None,
    device: str | None = None,
    column: str | None = None,
    where: Sequence[str] = (),
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyPredictor:
    """Learn latency from a store, or a table; judged by cross-validation, beside the noise of the labels.

    Args:
        store: what `collect` returned, or the file; or a table of architectures with a column of latencies.
        out: folder for the predictor and its card.
        quantities: one or more that are learnt, the first being what a search goes by; see ``measurement.quantities``.
        model: a name of ``tempograd.registry.names("model")``; by default ``gp``, or ``transfer`` for few networks.
        sources: one or more stores of other devices to transfer from.
        space: which space, if the store holds several.
        device: id of which device's fingerprint, if the store holds several.
        column: Column of a table's latencies, its unit in brackets where the name does not say it: ``lat[us]``.
        where: conditions ``COLUMN=VALUE`` that a table's rows must meet.
        steps: training steps of a model that takes them, ``gp`` or ``mlp``; fewer are faster.
        seed: Seed of folds and initial weights.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: an argument that is not allowed, or too few networks.

    >>> import tempograd as tg
    >>> predictor = tg.fit("run.db", "predictor")
    >>> predictor.quantity, predictor.scores["spearman"] > 0.9
    ('latency_ms', True)
    """
    from .verbs.fit import fit as verb

    verb(
        store.store if isinstance(store, Collected) else path_of("store", store), path_of("out", out),
        quantities=several("quantities", quantities, text), model=model, sources=several("sources", sources, path_of),
        space=_spec(space), device=device, column=column, where=several("where", where, text), steps=steps, seed=seed,
        progress=progress or silent,
    )  # fmt: skip
    return LatencyPredictor(path_of("out", out))


@public()
def predict(
    predictor: Path | str | LatencyPredictor, architectures: str | Architecture | Sequence[str | Architecture]
) -> Predictions:
    """Predict latency of architectures, with 95 % intervals.

    Args:
        predictor: what `fit` returned, or its folder.
        architectures: one or ``n`` of them, each as `Architecture` or as any text that the space reads.

    Raises:
        UsageError: an architecture that the space does not have.
        MismatchError: an `Architecture` of another space.
        InputRefusedError: the folder holds no predictor.

    >>> import tempograd as tg
    >>> told = tg.predict("predictor", ["0", "1462"])
    >>> told.latency_ms.shape, told.verdicts
    ((2,), ('predicted', 'predicted'))
    """
    given = isinstance(predictor, LatencyPredictor)
    one = predictor if given else LatencyPredictor(path_of("predictor", predictor))
    return one.predict(architectures)


@public("verbs.evaluate:evaluate")
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

    done = verb(
        path_of("table", table), space=_spec(space), columns=several("columns", columns, text),
        train=train, valid=valid, seeds=seeds, model=model,
        progress=progress or silent, **options,
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
@takes_keywords(SearchRequest)
@public()
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
        predictor: what `fit` returned, or its folder, or one of `tempograd kernels fit`; None with a cost that needs
            none, or a table.
        out: folder for the result.
        target_ms: latency that the network must not exceed, as measured; several give a list of results,
            without those that no network of the space meets.
        lam: instead of a target: the fixed weight of latency.
        method: a name of ``tempograd.registry.names("method")``.
        task: what networks learn; see ``tempograd search --help``.
        device: the device or its spec; by default ``local``.
        progress: called with what is done, how much of it, and of how much.
        options: every other option of ``tempograd search --help`` by its name: ``epochs``, ``train_epochs``,
            ``finalists``, ``seed`` and so on; `inspect.signature` lists them.

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
    targets: Any = getattr(target_ms, "tolist", lambda: target_ms)()  # of an array of NumPy's: plain numbers
    several = isinstance(targets, Sequence)
    if task is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise UsageError("argument task=None; allowed: a task or its spec, such as digits")
    done = verb(
        space, folder, path_of("out", out), target_ms=targets, lam=lam, method=method, task=task, device=device,
        progress=progress or silent, **options,
    )  # fmt: skip
    results = [Found(Path(folder)) for folder in done.folders]
    return results if several else results[0]


@public()
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
    from .data.result import RESULT, result_within
    from .predictor.document import DOCUMENT

    path = path_of("path", path)
    if path.is_file():
        return dataset_of(path)
    if (path / DATA).is_file():
        return data_set(path)
    if (path / DOCUMENT).is_file():
        return LatencyPredictor(path)
    if (path / RESULT).is_file():
        return Found(path)
    inside = f"; name {within}" if (within := result_within(path)) else ""
    raise InputRefusedError(f"{path} is neither a store, a data set, a predictor nor a result of tempograd's{inside}")


@public()
def report(result: Path | str | Found, out: Path | str = "report.html") -> Path:
    """Write one offline HTML page from a result, and return its path.

    Args:
        result: what `search` returned, or its folder; one with several targets gives a page for each.
        out: the HTML file; of several targets each has its own in its name, and the path of the first is returned.

    Raises:
        InputRefusedError: the folder holds no result.

    >>> import tempograd as tg
    >>> tg.report("result", "page.html").name
    'page.html'
    """
    from .verbs.report import report as verb

    folder = result.path if isinstance(result, Found) else path_of("result", result)
    written = verb(folder, path_of("out", out)).document
    return Path(written["report"] if "report" in written else written["reports"][0])


def _spec(asked: Any) -> Any:
    """Return a space's spec where the space itself was given, which is kept to be found by it."""
    from .spaces.own import given

    return asked if asked is None or isinstance(asked, str) else given(asked).spec
