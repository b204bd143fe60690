"""``shrink``: a trained network made faster by a measured share: measure it, learn, search, fine-tune, prove."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from .. import outputs, registry
from ..arguments import Count, Seed
from ..arguments import check as check_arguments
from ..data.dataset import FEW_ROWS
from ..data.result import RESULT as RESULT_FILE
from ..data.store import Store
from ..errors import MismatchError, TargetError, UsageError
from ..measurement.repeatability import verdict_across
from ..profiler.plan import Items, named
from ..profiler.verify import confirm
from ..spaces.own import leaves_step, with_step
from .collect import collect
from .fit import fit
from .flags import check_task
from .outcome import OPEN, REMARK, Outcome, Progress, device_of, go_on, silent, space_of
from .search import check_same, search
from .width_step import step_of, widths_ms

if TYPE_CHECKING:
    from ..devices.device import Place
    from ..spaces.space import SearchSpace
    from ..spaces.tracing.traced import TracedSpace

Enough = Annotated[int, Meta(ge=FEW_ROWS, le=1_000_000)]
Share = Annotated[float, Meta(gt=0, lt=1)]
Step = Annotated[int, Meta(ge=1, le=1024)]
STORE, PREDICTOR, RESULT, KNOWN = "run.db", "predictor", "result", "shrink.json"
MEASURED = "measured"
EPOCHS = 20  # of fine-tuning


def shrink(
    network: str | SearchSpace,
    out: Path,
    *,
    share: Share = 0.7,
    task: Any = "digits",
    device: str | Place = "local",
    count: Enough = 150,
    step: Step | Literal["measured"] = "measured",
    plan: str = "quick",
    method: str = "slim",
    epochs: Count | None = None,
    train_epochs: Count | None = None,
    seed: Seed = 0,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Find a narrower and shallower form of a trained network that takes a share of its measured latency.

    A few layers tell in which steps the device likes its widths. The network is measured whole; ``count`` of its
    sub-networks teach a predictor. The search looks for the best network within ``share`` of the latency of the whole;
    what is found begins with its weights, learns from it, and is measured: pass or fail. Run again, what was measured
    is not measured again.

    Args:
        network: ``FILE.py:NAME``, a function that returns the trained network and an example input, or a space that
            ``tg.shrink`` or ``tg.space_from`` made.
        out: folder for the store, the predictor and the result.
        share: Share of the latency of the whole network, which the one found must not exceed.
        task: what it learns; see ``tempograd search --help``.
        device: where it must be fast.
        count: sub-networks to measure.
        step: widths are multiples of it; ``measured``: of what ``tg.width_step`` says of the device, halved until the
            network can shrink. What is a space already has its widths, and they stay.
        plan: how long each is measured.
        method: Method of the search.
        epochs: Epochs of the search.
        train_epochs: Epochs of fine-tuning; by default 20, or what a task says that trains networks itself.
        seed: Seed of everything random.
        overwrite: Search anew where a result is, which is kept otherwise; what was measured stays.
        command: the command line, for the result.
        progress: told what is done.
        stop: set to end after the item in flight.

    Raises:
        UsageError: an argument that is not allowed, a task or a method that does not fit, or a network that cannot
            shrink; or the folder holds the result of another search.
        MismatchError: the folder holds what was measured on another device.
        TargetError: no sub-network takes so small a share.
    """
    from ..search.result import shrunk as recorded
    from ..tasks.load import load_task

    check_arguments(shrink, locals())
    if told := outputs.foreign(out, [STORE, KNOWN]):
        progress(told, 0, REMARK)
    place, store, loaded = device_of(device), out / STORE, load_task(task, seed=seed)
    known = _Known(out / KNOWN, place, keeps=not overwrite and (out / RESULT / RESULT_FILE).exists())
    check_task({} if train_epochs is None else {"train_epochs": train_epochs}, loaded)
    train_epochs = EPOCHS if train_epochs is None and loaded.by_recipe else train_epochs
    made = registry.create("method", method, **({} if epochs is None else {"epochs": epochs}))
    if made.trains_supernet and not loaded.by_recipe:
        _ = loaded.weights  # refused: there are none
    timing: dict[str, Any] = {"plan": plan, "seed": seed}

    def widths() -> dict[str, Any]:
        progress("widths", 0, OPEN)
        found = widths_ms(place, stop=stop, **timing)
        return {"step": step_of(found), "latency_ms": {str(width): ms for width, ms in found.items()}}

    space, steps = _space(network, step, lambda: known("widths", timing, widths))
    fitted = loaded.fitted(space)
    made.check(space, target_ms=1.0, lam=None)
    asked = timing | {"space": space.spec}

    def learnt() -> dict[str, Any]:
        done = collect(space, store, device=place, count=space.at_most(count), progress=progress, stop=stop, **timing)
        go_on(stop)
        fit(store, out / PREDICTOR, space=space.spec, seed=seed, progress=progress)
        return {"labels": done.document["labels"], "networks": done.document["networks"]}

    def whole() -> dict[str, Any]:
        item = Items.of(space, [space.whole], batch=place.batch)
        with Store(store, write=True) as opened:
            found = confirm(place, item, named(plan), opened, seed=seed, stop=stop)
        go_on(stop)
        if not found[0].latency_ms > 0:
            raise UsageError(
                f"the whole network was not measured on {device}: {found[0].verdict}; see tempograd doctor"
            )
        return {"latency_ms": found[0].latency_ms, "verdict": verdict_across(found[0], found)}

    learning = known("learnt", asked | {"count": count}, learnt, remade=not (out / PREDICTOR).is_dir())
    measured: int = learning.get("networks", learning["labels"])  # older files have the latter alone
    whole_ms: float = known("whole", asked, whole)["latency_ms"]
    whole_score: float = known(
        "score", {"space": space.spec, "weights": space.weights, "task": loaded.name, "seed": seed},
        lambda: {"score": fitted.score(space.to_torch(space.whole).eval(), "test")},
    )["score"]  # fmt: skip
    target_ms = share * whole_ms
    try:
        found = search(
            space, out / PREDICTOR, out / RESULT, target_ms=target_ms, task=task,
            device=place, store=store, method=method, epochs=epochs, train_epochs=train_epochs, random=0, seed=seed,
            overwrite=overwrite, command=command, progress=progress, stop=stop,
        )  # fmt: skip
    except TargetError as error:
        raise TargetError(f"a share of {share:g} of the {whole_ms:.4g} ms of the whole network: {error}") from error
    told = {
        "space": space.spec, "whole_ms": whole_ms, "whole_score": whole_score, "share": share,
        "left_out": space.left_out, "widths": steps,
    }  # fmt: skip
    recorded(out / RESULT, told)
    metric = fitted.metric
    head = (
        f"the whole network: {whole_ms:.4g} ms, {metric.name} {metric.format(whole_score)} as {loaded.name} feeds it; "
        f"{share:g} of it is {target_ms:.4g} ms. {measured} sub-networks measured"
    )
    in_steps = [_steps_text(steps)] if steps else []
    kept = [f"unchanged: {name}: {why}" for name, why in space.left_out.items()]
    return replace(
        found, document=found.document | {"shrink": told}, text="\n".join([head, *in_steps, *kept, found.text]),
        following=f"tempograd report {quote(str(out / RESULT))} --out report.html",
    )  # fmt: skip


def _space(
    network: str | SearchSpace, step: int | str, widths: Callable[[], dict[str, Any]]
) -> tuple[TracedSpace, dict[str, Any] | None]:
    """Return the space, and what is told of its step of widths; None where the space came with its widths.

    Raises:
        UsageError: nothing can go, or a step is asked for where there is none to choose.
    """
    if not isinstance(network, str) or not leaves_step(network):
        space = _traced(space_of(network))
        if step != MEASURED:
            raise UsageError(
                f"step={step}: {network if isinstance(network, str) else space.spec} says its widths itself; leave the "
                "step out, or name a function that returns the trained network and an example input"
            )
        return space, None
    if step != MEASURED:
        return _traced(space_of(with_step(network, int(step)))), {"step": step}
    _traced(space_of(with_step(network, 1)))  # what cannot shrink at all is told before anything is measured
    told = widths()
    wanted: int = told["step"]
    for used in (wanted >> i for i in range(wanted.bit_length())):
        try:
            return _traced(space_of(with_step(network, used))), {"step": used, "measured": told}
        except UsageError:  # too few channels for so wide a step
            if used == 1:
                raise
    raise AssertionError("a step of 1 was tried last")


def _steps_text(widths: dict[str, Any]) -> str:
    if "measured" not in widths:
        return f"widths in steps of {widths['step']}, as asked"
    measured = widths["measured"]["step"]
    narrower = "" if measured == widths["step"] else f", too wide for this network, which goes in {widths['step']}"
    return f"the device likes widths in steps of {measured}, as measured{narrower}"


class _Known:
    """What was measured for one folder, in a file: once known it stays, and so does all that hangs on it.

    Args:
        path: Path of the file.
        place: the device that all of it is of.
        keeps: whether a result hangs on it, for which nothing is made again otherwise.

    Raises:
        MismatchError: it is of another device.
    """

    def __init__(self, path: Path, place: Place, *, keeps: bool) -> None:
        outputs.check([path], _IS_KNOWN)
        own: dict[str, Any] = {"written_by": "tempograd shrink", "device": place.fingerprint.id}
        self._path, self._told, self._keeps = path, json.loads(path.read_bytes()) if path.exists() else own, keeps
        if self._told["device"] != own["device"]:
            raise MismatchError(
                f"{path.parent} holds what was measured on device {self._told['device']}, not on {own['device']}; give "
                "another --out"
            )

    def __call__(
        self, name: str, asked: Mapping[str, Any], make: Callable[[], dict[str, Any]], *, remade: bool = False
    ) -> dict[str, Any]:
        """Return what is known under a name; made, and kept, if it is not, or was asked for otherwise.

        Raises:
            UsageError: it was asked for otherwise, and a result hangs on it.
        """
        known = self._told.get(name)
        if self._keeps and known is not None:
            check_same(self._path.parent, known["asked"], asked)
        if remade or known is None or known["asked"] != asked:
            known = {"asked": dict(asked)} | make()
            self._told[name] = known
            outputs.write({self._path: json.dumps(self._told, indent=1).encode()}, _IS_KNOWN)
        return known


_IS_KNOWN = outputs.json_with("written_by", "device")


def _traced(space: SearchSpace) -> TracedSpace:
    from ..spaces.tracing.traced import TracedSpace

    if not isinstance(space, TracedSpace):
        raise UsageError(f"{space.spec} is no network of yours; name FILE.py:NAME, a function that returns one")
    if (there := space.at_most(FEW_ROWS)) < FEW_ROWS:
        raise UsageError(
            f"{space.spec} has {there} networks, and shrink learns from {FEW_ROWS} or more; let widths be chosen "
            "from more sizes (FILE.py:NAME:options=8 or tg.shrink(..., options=8)) or in a smaller step"
        )
    for name, value in space.start.items():
        if not value.isfinite().all():
            raise UsageError(f"the weight {name} of {space.spec} holds NaN or infinity; give a network that is trained")
    return space
