"""``shrink``: a trained network made faster by a measured share: measure it, learn, search, fine-tune, prove."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from .. import outputs
from ..arguments import Count, Seed
from ..arguments import check as check_arguments
from ..data.store import Store
from ..errors import UsageError
from ..profiler.plan import Items, named
from ..profiler.verify import measure
from .collect import collect
from .fit import fit
from .outcome import REMARK, Outcome, Progress, device_of, go_on, silent, space_of
from .search import search

if TYPE_CHECKING:
    from ..devices.device import Place
    from ..spaces.space import SearchSpace
    from ..spaces.tracing.traced import TracedSpace

Share = Annotated[float, Meta(gt=0, lt=1)]
STORE, PREDICTOR, RESULT = "run.db", "predictor", "result"


def shrink(
    network: str | SearchSpace,
    out: Path,
    *,
    share: Share = 0.7,
    task: Any = "digits",
    device: str | Place = "local",
    count: Count = 150,
    plan: str = "quick",
    method: str = "la_darts",
    epochs: Count | None = None,
    train_epochs: Count = 20,
    seed: Seed = 0,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Find a narrower and shallower form of a trained network that takes a share of its measured latency.

    The network is measured whole; ``count`` of its sub-networks teach a predictor; the search looks for the best one
    within ``share`` of the latency of the whole; what is found begins with its weights, learns from it, and is
    measured: pass or fail. Run again, what was measured is not measured again.

    Args:
        network: ``FILE.py:NAME``, a function that returns the trained network and an example input, or a space that
            ``tg.shrink`` or ``tg.space_from`` made.
        out: folder for the store, the predictor and the result.
        share: of the latency of the whole network, which the one found must not exceed.
        task: what it learns; see ``tempograd search --help``.
        device: where it must be fast.
        count: sub-networks to measure.
        plan: how long each is measured.
        method: of the search.
        epochs: of the search.
        train_epochs: of fine-tuning.
        seed: of everything random.
        command: the command line, for the result.
        progress: told what is done.
        stop: set to end after the item in flight.

    Raises:
        UsageError: an argument that is not allowed, or a network that cannot shrink.
        TargetError: no sub-network takes so small a share.
    """
    check_arguments(shrink, locals())
    if told := outputs.foreign(out, [STORE]):
        progress(told, 0, REMARK)
    space, place = _traced(space_of(network)), device_of(device)
    store = out / STORE
    done = collect(space, store, device=place, count=count, plan=plan, seed=seed, progress=progress, stop=stop)
    go_on(stop)
    with Store(store, write=True) as opened:
        whole = Items.of(space, [space.whole], batch=place.batch)
        (measured,) = measure(place, whole, named(plan), opened, seed=seed, stop=stop)
    go_on(stop)
    if not measured.latency_ms > 0:
        raise UsageError(f"the whole network was not measured on {device}: {measured.verdict}; see tempograd doctor")
    target_ms = share * measured.latency_ms
    fit(store, out / PREDICTOR, space=space.spec, seed=seed, progress=progress)
    found = search(
        space, out / PREDICTOR, out / RESULT, target_ms=target_ms, task=task, device=place, store=store, method=method,
        epochs=epochs, train_epochs=train_epochs, random=0, seed=seed, command=command, progress=progress, stop=stop,
    )  # fmt: skip
    told = {"space": space.spec, "whole_ms": measured.latency_ms, "share": share, "left_out": space.left_out}
    head = (
        f"the whole network: {measured.latency_ms:.4g} ms; {share:g} of it is {target_ms:.4g} ms. "
        f"{done.document['labels']} sub-networks measured"
    )
    kept = [f"unchanged: {name}: {why}" for name, why in space.left_out.items()]
    return replace(
        found, document=found.document | {"shrink": told}, text="\n".join([head, *kept, found.text]),
        following=f"tempograd report {out / RESULT} --out report.html",
    )  # fmt: skip


def _traced(space: SearchSpace) -> TracedSpace:
    from ..spaces.tracing.traced import TracedSpace

    if not isinstance(space, TracedSpace):
        raise UsageError(f"{space.spec} is no network of yours; name FILE.py:NAME, a function that returns one")
    return space
