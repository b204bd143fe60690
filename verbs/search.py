"""``search``: find a network under a latency target, train it, and measure it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import outputs, registry
from ..data.result import RESULT
from ..errors import OtherSearchError, TargetError, TempogradError, UsageError
from ..search.training import Training as Recipe
from .choices import shares_of
from .flags import check, check_kind
from .option import takes_keywords, was_given
from .outcome import REMARK, VERDICT_CODES, Outcome, Progress, device_of, exact, silent, target_folder
from .request import SEARCH, SearchRequest

if TYPE_CHECKING:
    from ..search.method import Method
    from ..spaces.space import SearchSpace
    from .kind import Kind

SUPERNET = "supernet.safetensors"
LEFT = (RESULT, SUPERNET, "search.safetensors", "cost.json", "trainings", "*.db")  # in its folder
DEFAULTS = {one.name: one.default for one in SEARCH if was_given(one.default)} | {"train_epochs": Recipe().epochs}


@takes_keywords(SearchRequest)
def search(
    space: str | SearchSpace,
    predictor: Path | str | None,
    out: Path | str,
    *,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
    **options: Any,
) -> Outcome:
    """Search under a latency target, train what is found, and measure the trained network: pass or fail.

    Options, their ranges and defaults are the fields of :mod:`.request`, with the names and words of ``tempograd search
    --help``: ``target_ms``, ``method``, ``device``, ``train_epochs`` and so on. With ``upper_bound`` fewer networks
    that look fast enough turn out not to be. By default networks are timed into the store that the predictor was learnt
    from, whose sentinel readings tell the device's states apart. One thread of torch is the default since the layers of
    a small supernet are so short that more of them wait for each other, for seconds where another process wants a core.

    Several targets are searched for one after the other, each into a folder of its own under ``out``. Weights that
    serve every target (method ``ofa``) are trained once and kept in ``supernet``, by default a file in ``out``.

    A result of this very search that is in its folder already is kept: an unreliable one gets its network measured
    again, any other is told as it stands. With ``overwrite`` it is searched anew. An interrupted search goes on; one of
    other options is refused, and with ``overwrite`` removed.

    Args:
        space: the space or its spec.
        predictor: folder written by ``fit``; None with a cost that needs none, or a table.
        out: folder for the result.
        command: the command line, for the result.
        progress: told what is done.
        stop: set to end after the item in flight.
        options: every other option of a search by its name.

    Raises:
        UsageError: among much else, something is given that this search would not heed, see :mod:`.flags`; or the
            folder holds the result of another search, or a file that tempograd did not write.

    >>> search("darts", None, Path("result"), target_ms=-1.0)
    Traceback (most recent call last):
    tempograd.errors.UsageError: --target-ms -1.0; allowed: a number above 0 (ms), such as 1.5
    """
    request = SearchRequest.of(space=space, predictor=predictor, out=out, **options)
    kind = _kind(request, command, progress, stop)
    outputs.check_kind(request.what.out, RESULT)
    if told := outputs.foreign(request.what.out, LEFT):
        progress(told, 0, REMARK)
    from ..search import processes

    with processes.together(request.training.compute):
        if request.on_table:
            return processes.by_first(lambda: _each(request, kind))
        return _each(request, kind)


def _each(request: SearchRequest, kind: Kind) -> Outcome:
    """Search for every target."""
    targets = sorted(set(request.target.target_ms))
    if len(targets) < 2:
        return _once(request, kind)
    return _together([(ms, _met(request.for_target(ms, target_folder(request.what.out, ms)), kind)) for ms in targets])


def _kind(request: SearchRequest, command: str, progress: Progress, stop: threading.Event | None) -> Kind:
    """Return what searches as asked.

    Raises:
        UsageError: the request contradicts itself, or would not be heeded.
    """
    request.check()
    check_kind(request.given, on_table=request.on_table)
    predictor, spec = request.pricing.predictor, request.what.method
    takes = signature(registry.load("method", spec.partition(":")[0])).parameters
    own = {"epochs": request.what.epochs} if request.what.epochs is not None and "epochs" in takes else {}
    method: Method = registry.create("method", spec, **own)
    cost = request.pricing.cost or ("table" if predictor is None or method.table_only else _learnt(predictor))
    costs = ["predictor"] if request.on_images else () if request.on_table else shares_of(cost)
    check(request.given, method, on_table=request.on_table, costs=costs)
    if not request.on_table:
        request.check_aim()
    if request.on_table:
        from .tabular import SearchOnTable as Wanted
    elif request.on_images:
        from .on_images import SearchOnImages as Wanted
    else:
        from .on_device import SearchOnDevice as Wanted
    return Wanted(method, cost, request.what.supernet or request.what.out / SUPERNET, command, progress, stop)


def _learnt(folder: Path) -> str:
    """Return the cost that a predictor's folder holds."""
    from ..predictor.kernels import holds_kernels

    return "kernels" if holds_kernels(folder) else "predictor"


def _once(request: SearchRequest, kind: Kind) -> Outcome:
    """Search for one target; a result of this very search that is there is kept, or measured again."""
    from ..search.processes import by_first
    from ..search.result import earlier

    out = request.what.out
    there = earlier(out) if request.on_table else by_first(lambda: earlier(out))
    if request.what.overwrite:
        return _anew(request, kind)
    if there is None:
        return kind(request)
    known = {name: there[name] for name in ("space", "seed", "target_ms", "lam")} | there.get("asked", {})
    check_same(out, known, request.asked(kind.cost))
    if there["verdict"] == "unreliable":
        return kind.again(request) if request.on_table else by_first(lambda: kind.again(request))
    kept = f"{out} holds the result of this search, which is kept; --overwrite searches anew"
    return Outcome(there | {"kept": True}, f"{kept}\n{kind.text(out)}", VERDICT_CODES[there["verdict"]], folders=(out,))


def _anew(request: SearchRequest, kind: Kind) -> Outcome:
    """Search, even if another search was left unfinished there; one of these very options is gone on from."""
    from ..search.processes import by_first

    try:
        return kind(request)
    except OtherSearchError as error:
        left = error.path
        if left == request.what.supernet:  # a file that the user named may serve other searches
            raise
    by_first(lambda: left.unlink(missing_ok=True))
    return _anew(request, kind)


def _met(request: SearchRequest, kind: Kind) -> Outcome:
    """Search for one of several targets; one that cannot be met does not end the others."""
    try:
        return _once(request, kind)
    except TargetError as error:
        document = {"target_ms": request.target_ms, "verdict": "infeasible", "reason": str(error)}
        return Outcome(document, f"INFEASIBLE: {error}", error.exit_code)


def check_same(out: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Check that a result is of the search that is asked for, as far as it is known what it is of.

    Raises:
        UsageError: it is of another one.
    """
    known = dict(known) | {name: DEFAULTS[name] for name, value in known.items() if value is None and name in DEFAULTS}
    other = [
        f"{name} {known[name]} there, {value} now"
        for name, value in asked.items()
        if name in known and not _same(name, known[name], value)
    ]
    if other:
        raise UsageError(
            f"{out} holds the result of another search ({'; '.join(other)}), which is kept: give another --out, or "
            "--overwrite to search anew"
        )


def _same(name: str, there: Any, now: Any) -> bool:
    """Return whether an option says the same; a device is named by a spec, or by its fingerprint's id."""
    return there == now or (name == "device" and _fingerprint(there) == _fingerprint(now))


def _fingerprint(device: str) -> str:
    try:
        return device_of(device).fingerprint.id
    except TempogradError:
        return device


def _together(outcomes: Sequence[tuple[float, Outcome]]) -> Outcome:
    """Return the outcomes of several targets as one, with the worst exit code.

    Raises:
        TargetError: none can be met.
    """
    if all(outcome.document["verdict"] == "infeasible" for _, outcome in outcomes):
        raise TargetError(outcomes[-1][1].document["reason"])
    texts = [f"target {exact(target_ms)} ms\n{outcome.text}" for target_ms, outcome in outcomes]
    document = {"results": [outcome.document for _, outcome in outcomes]}
    folders = tuple(folder for _, outcome in outcomes for folder in outcome.folders)
    return Outcome(document, "\n\n".join(texts), max(outcome.exit_code for _, outcome in outcomes), folders=folders)
