"""``search`` on a device: what is found is trained, timed and measured once more in other processes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from math import inf, nan
from pathlib import Path
from shlex import quote
from typing import Any, cast

import torch
from numpy.typing import NDArray

from .. import outputs
from ..data.duplicates import usual_duplicates
from ..data.result import RESULT, Measured, Result, read_result
from ..data.store import Store
from ..devices.device import Place
from ..errors import MismatchError, UsageError
from ..measurement.measurement import Measurement
from ..measurement.repeatability import spread
from ..metric import Metric
from ..predictor.kernels import KernelPredictor, holds_kernels
from ..predictor.saved import SavedPredictor, load
from ..profiler.plan import Items, Plan, named
from ..profiler.verify import confirm
from ..profiler.verify import measure as verify
from ..search import processes
from ..search.evaluator import check_compute
from ..search.price import Price
from ..search.progress import NETWORKS
from ..search.result import SearchResult, measured_again, verdict_of
from ..search.run import Options
from ..search.run import search as run
from ..search.searchers.checkpoint import forget, is_checkpoint
from ..shown import counted
from ..spaces.architecture import Architecture
from ..spaces.export import to_onnx
from ..spaces.saved import load_architecture, load_network
from ..spaces.space import SearchSpace
from ..tasks.load import load_task
from ..tasks.task import Task
from .accuracy import predicted_accuracy
from .costs import is_inputs, priced, trusted_ms
from .fit_table import PLACE
from .fitting import proxy_for, space_for, tell
from .flags import check_task
from .kind import Kind
from .outcome import OPEN, REMARK, VERDICT_CODES, Outcome, Progress, device_of, go_on, plain, silent
from .request import SearchRequest
from .tabular import met_by

UNFINISHED, INPUTS, TRAININGS = "search.safetensors", "cost.json", "trainings"  # in the folder until it is done
PARTS = "search*.safetensors"  # the unfinished search, of several levels one file each


class SearchOnDevice(Kind):
    """Searches on a device."""

    def __call__(self, request: SearchRequest) -> Outcome:
        """Search for one target, and write the result into the request's folder."""
        out, target_ms, pricing = request.what.out, request.target_ms, request.pricing
        inputs = out / INPUTS
        outputs.check([out / UNFINISHED, self.supernet], is_checkpoint)
        outputs.check([inputs], is_inputs)
        check_compute(processes.own_compute(request.training.compute))
        place = device_of(request.timing.device)
        kept = _learnt(pricing.predictor)
        space, task = space_and_task(request, kept.binding.space if isinstance(kept, SavedPredictor) else None)
        if isinstance(kept, SavedPredictor):
            _check_of_device(kept)
            kept.check_binding(space=space.spec, fingerprint=place.fingerprint, unit="ms")
        self.method.check(space, target_ms=target_ms, lam=request.target.lam)
        progress = self.progress if processes.first() else silent
        tell(task, progress)
        torch.set_num_threads(request.training.train_threads)
        out.mkdir(parents=True, exist_ok=True)
        with self._benches(request, space, place, _card(kept)) as bench:
            price = self._price(request, space, kept, bench)
            result = run(
                space, self.method, price, task, measure=bench.networks, target_ms=target_ms, lam=request.target.lam,
                proxy=proxy_for(request.what.proxy, space),
                options=options_of(request, self.supernet),
                progress=StageTold(progress, self.stop),
            )  # fmt: skip
            provenance = self._provenance(request, place, price)
            return processes.by_first(lambda: self._confirmed(request, result, bench, provenance))

    def _price(
        self, request: SearchRequest, space: SearchSpace, kept: SavedPredictor | KernelPredictor | None, bench: _Bench
    ) -> Price:
        """Return what prices networks; what is measured for it, one of several processes measures."""
        found = priced(
            self.cost, space, kept, bench.store, bench.device, bench.networks,
            upper_bound=request.pricing.upper_bound, inputs=request.what.out / INPUTS, once=processes.by_first,
        )  # fmt: skip
        known = processes.by_first(lambda: trusted_ms(space, bench.store, bench.device.fingerprint.id))
        found = replace(found, measured_ms={space.from_key(key): ms for key, ms in known.items()})
        if outside := found.told.get("out_of_support"):
            self.progress(f"kernels unlike all that were timed: {', '.join(outside)}", 0, REMARK)
        return found

    def _confirmed(
        self, request: SearchRequest, result: SearchResult, bench: _Bench, provenance: Mapping[str, Any]
    ) -> Outcome:
        """Measure what was trained in other processes, and write the result."""
        out = request.what.out
        self.progress("confirm", 0, OPEN)
        arrays = result.trained.network.arrays()
        trained, *others = bench.confirmed(
            _trained_network(bench.space, result.architecture, arrays, bench.device.batch)
        )
        final = replace(result.found, measurement=trained)
        result = replace(
            result, found=final, steps=[*result.steps, final], processes=[trained, *others],
            repeatability=bench.repeatability(),
        )  # fmt: skip
        result = replace(result, verdict=verdict_of(trained, request.target_ms, result.estimate, result.processes))
        result.save(out, provenance)
        (out / INPUTS).unlink(missing_ok=True)
        forget(out, PARTS)
        forget(out / TRAININGS)
        return outcome_of(out)

    def again(self, request: SearchRequest) -> Outcome:
        """Measure the network of an unreliable result once more, and put what comes out into it.

        Raises:
            MismatchError: the result is of another device.
        """
        out, place = request.what.out, device_of(request.timing.device)
        there = json.loads((out / RESULT).read_bytes())
        if there["device"]["id"] != place.fingerprint.id:
            raise MismatchError(
                f"{out} is of the device {there['device']['id']}, and this one is {place.fingerprint.id}: measure "
                "there, give another --out, or --overwrite"
            )
        network = load_network(out)
        space, architecture = load_architecture(out)
        card = _card(_learnt(request.pricing.predictor))
        with Store(request.timing.store or _store_of(card, out), write=True) as opened:
            bench = self._bench(request, space, place, opened)
            measured = bench.confirmed(_trained_network(space, architecture, network.arrays(), place.batch))
            measured_again(out, measured, bench.repeatability())
        done = outcome_of(out)
        return replace(done, text=f"{out} held an unreliable result; its network was measured again\n{done.text}")

    def text(self, out: Path) -> str:
        """Return the result in a folder for people."""
        return text_of(read_result(out))

    @contextmanager
    def _benches(
        self, request: SearchRequest, space: SearchSpace, place: Place, card: Mapping[str, Any]
    ) -> Generator[_Bench]:
        """Open the store, in the one of several processes that measures; the others get none."""
        if not processes.first():
            yield self._bench(request, space, place, cast(Store, None))
            return
        with Store(request.timing.store or _store_of(card, request.what.out), write=True) as opened:
            yield self._bench(request, space, place, opened)

    def _bench(self, request: SearchRequest, space: SearchSpace, place: Place, store: Store) -> _Bench:
        return _Bench(space, place, named(request.timing.plan), store, request.what.seed, self.stop)

    def _provenance(self, request: SearchRequest, place: Place, price: Price) -> dict[str, Any]:
        """Return what the result cannot tell of itself."""
        path = request.pricing.predictor
        return plain({
            "device": json.loads(place.fingerprint.to_json()) | {"id": place.fingerprint.id},
            "predictor": {"path": path and str(path)} | price.told,
            "parity": price.parity,
            "asked": request.asked(self.cost),
            "command": self.command,
        })  # fmt: skip


def options_of(request: SearchRequest, supernet: Path) -> Options:
    """Return what a search of images is run with: what is unfinished lies in the request's folder."""
    training, out = request.training, request.what.out
    return Options(
        training=request.how(), random_networks=training.random, seed=request.what.seed,
        compute=processes.own_compute(training.compute), checkpoint=out / UNFINISHED, supernet=supernet,
        queries=request.what.queries, finalists=training.finalists, trainings=out / TRAININGS,
    )  # fmt: skip


def space_and_task(request: SearchRequest, measured: str | None) -> tuple[SearchSpace, Task]:
    """Return what is searched and what its networks learn, or what predicts how good they are."""
    training, seed = request.training, request.what.seed
    if training.accuracy is None:
        task = load_task(training.task, seed=seed)
        check_task(request.given, task)
        return space_for(request.what.space, task, measured), task
    space = space_for(request.what.space, None, measured)
    return space, predicted_accuracy(training.accuracy, space, rows=training.accuracy_rows, seed=seed)


def outcome_of(out: Path) -> Outcome:
    """Return what a result in a folder says, with the exit code of its verdict."""
    result = read_result(out)
    return Outcome(
        json.loads((out / RESULT).read_bytes()), text_of(result), VERDICT_CODES[result.verdict], folders=(out,)
    )


@dataclass(frozen=True)
class _Bench:
    """Times networks of one search into its store."""

    space: SearchSpace
    device: Place
    plan: Plan
    store: Store
    seed: int
    stop: threading.Event | None

    def __call__(self, items: Items) -> list[Measurement]:
        found = verify(self.device, items, self.plan, self.store, seed=self.seed, stop=self.stop)
        go_on(self.stop)
        return found

    def networks(self, architectures: Sequence[Architecture]) -> list[Measurement]:
        """Return one measurement each, in order."""
        return self(Items.of(self.space, architectures, batch=self.device.batch))

    def repeatability(self) -> float:
        """Return the relative standard deviation between processes that the store's blind duplicates tell."""
        return spread(usual_duplicates(self.store, self.space.spec, self.device.fingerprint.id))

    def confirmed(self, item: Items) -> list[Measurement]:
        """Return the final measurement of one network, then those of the other processes, see `profiler.verify`."""
        processes = confirm(self.device, item, self.plan, self.store, seed=self.seed, stop=self.stop)
        go_on(self.stop)
        return processes


class StageTold:
    """What a search tells its stages to; it ends here if it was asked to stop.

    Args:
        progress: told what is done.
        stop: set to end after the item in flight.
        now: seconds of a clock that only goes on.
    """

    EVERY_S = 10.0  # between two lines on how training goes

    def __init__(
        self, progress: Progress, stop: threading.Event | None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress, self._stop, self._now, self._said_s = progress, stop, now, now()

    def __call__(self, stage: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        """Take a stage's progress, see `search.progress.Progress`."""
        go_on(self._stop)
        if stage == "feasibility":  # before any training, so that a person may think again
            ends = ", ".join(f"{key.removesuffix('_ms')} {ms:.3g} ms" for key, ms in numbers.items())
            self._progress(f"predicted in this space: {ends}", 0, REMARK)
            return
        if "loss" in numbers and self._now() - self._said_s >= self.EVERY_S:
            self._said_s = self._now()
            told = ", ".join(f"{name.replace('_', ' ')} {number:.4g}" for name, number in numbers.items())
            counted = f"{done} of {total} networks" if stage in NETWORKS else f"epoch {done} of {total}"
            self._progress(f"{stage}, {counted}: {told}", 0, REMARK)
        self._progress(stage, done, OPEN if stage == "repair" else total)  # its total is a limit, seldom reached


def text_of(result: Result) -> str:
    """Return a result for people."""
    table, found, measured = result.feasibility, result.found, result.found.measured
    metric = result.metric.value
    lines: list[str] = []
    if table is not None:
        lines.append(
            f"predicted in this space: smallest {_short(table.smallest_ms)} ms, median {_short(table.median_ms)}, "
            f"largest {_short(table.largest_ms)}{met_by(table.share_within_target)}"
        )
        if table.measured is not None:
            lines.append(
                f"measured before: smallest {_short(table.measured.smallest_ms)} ms, median "
                f"{_short(table.measured.median_ms)}, largest {_short(table.measured.largest_ms)}, of "
                + counted(table.measured.networks, "network")
            )
    target = "" if result.target_ms is None else f" against a target of {result.target_ms:.4g} ms"
    latency = _ms(measured.latency_ms, measured.low_ms, measured.high_ms, measured.verdict)
    how, count = ("told", "looked up") if measured.path == "told" else ("measured", "measured on the way")
    lines.append(
        f"{result.verdict.upper()}: {how} {latency}{target}, predicted {_short(found.predicted_ms)} ms, "
        f"{len(result.repairs)} {count}"
    )
    if result.verdict == "pass" and result.target_ms is not None and (measured.high_ms or inf) > result.target_ms:
        lines.append(
            "its interval reaches above the target: measured again, it may be a little over; a smaller one is safe"
        )
    if len(measured.processes) > 1:
        each = [one for one in measured.processes if one.latency_ms]
        told = ", ".join(f"{one.latency_ms:.4g} {one.verdict}" for one in each)
        which = _which_counts([one.verdict for one in each])
        lines.append(
            f"its processes said {told} (ms){which}; the interval covers what counts, and how labels repeat here"
        )
    macs = (found.macs or 0) / 1e6
    lines += [
        f"{_held(result)}{metric.name} {metric.format(found.score)}{_lower(metric)}{result.beside}, "
        f"{found.parameters} parameters, {macs:.1f} M MACs",
        *_beside_time(measured),
        found.text,
        result.rebuild or "",
    ]
    if result.predictor.out_of_support:
        lines.append(f"kernels unlike all that were timed: {', '.join(result.predictor.out_of_support)}")
    if result.finalists:
        lines.append(
            f"the best on held-out images of {len(result.finalists)} networks trained that use the target"
            if len(result.finalists) > 1
            else "trained alone: no other network that the law draws was measured near the target"
        )
    if result.random:
        lines.append(_random_text(result))
    return "\n".join(lines)


def _which_counts(verdicts: Sequence[str]) -> str:
    """Return which of several processes gives the number, where that needs a word.

    >>> _which_counts(["ok", "noisy", "ok", "ok"]), _which_counts(["noisy", "noisy"])
    ('; the middle one of those that are ok counts', '; the one with the narrowest interval counts')
    """
    if set(verdicts) == {"ok"}:
        return ""
    which = "the middle one of those that are ok" if "ok" in verdicts else "the one with the narrowest interval"
    return f"; {which} counts"


def _random_text(result: Result) -> str:
    within, metric = result.counted, result.metric.value
    best = max(within or result.random, key=lambda rival: metric.merit(_or_nan(rival.validation_score)))
    of = "" if len(within) == len(result.random) else f" of trusted latency within the limit, of {len(result.random)}"
    return (
        f"random search, {counted(len(within), 'network')}{of}: {_held(result)}{metric.name} "
        f"{metric.format(best.score)} at "
        f"{_ms(best.measured_ms, best.low_ms, best.high_ms, best.verdict)}{'' if within else result.why_not(best)}"
    )


def _lower(metric: Metric) -> str:
    """Return what is said of a score that is better where it is lower."""
    return "" if metric.higher_is_better else f" ({metric.direction})"


def _held(result: Result) -> str:
    """Return the word for the part that a score is of; none where it is predicted."""
    return "" if result.training.get("trained") is False else "test "


def _beside_time(measured: Measured) -> list[str]:
    """Return a line of the energy and memory that were measured with the latency, where they were."""
    energy = [] if measured.energy_mj is None else [f"{measured.energy_mj:.4g} mJ an inference"]
    memory = [] if measured.memory_bytes is None else [f"{measured.memory_bytes / 1e6:.4g} MB of memory"]
    return [", ".join(energy + memory)] if energy or memory else []


def _or_nan(number: float | None) -> float:
    return nan if number is None else number


def _short(number: float | None) -> str:
    return "?" if number is None else f"{number:.4g}"


def _ms(latency_ms: float | None, low_ms: float | None, high_ms: float | None, verdict: str) -> str:
    """Return a latency with its interval and verdict: a number is never shown without."""
    if latency_ms is None:
        return f"no latency ({verdict})"
    return f"{latency_ms:.4g} ms [{_short(low_ms)}, {'inf' if high_ms is None else _short(high_ms)}] {verdict}"


def _trained_network(
    space: SearchSpace, architecture: Architecture, arrays: Mapping[str, NDArray[Any]], batch: int
) -> Items:
    """Return the network found, as trained, to be timed: its real weights and not the shared ones."""

    def build(key: str, directory: Path) -> tuple[Path, str]:
        model = to_onnx(space.network_graph(architecture), arrays, batch=batch)
        content = model.SerializeToString(deterministic=True)
        digest = sha256(content).hexdigest()
        path = directory / f"{digest[:16]}.onnx"
        path.write_bytes(content)
        return path, digest

    return Items(space.spec, (architecture.key,), build)


def _learnt(folder: Path | None) -> SavedPredictor | KernelPredictor | None:
    """Return what a folder holds that was learnt, of whole networks or of kernels."""
    if folder is None:
        return None
    return KernelPredictor.load(folder) if holds_kernels(folder) else load(folder)


def _check_of_device(kept: SavedPredictor) -> None:
    """Refuse a predictor that was learnt from a table, and of no device."""
    if json.loads(kept.binding.fingerprint_json).get("place") == PLACE:
        latency = quote(f"table:{kept.card.get('table')}:{kept.card.get('column')}")
        raise UsageError(
            f"--predictor was learnt from a table, of no device that could measure what is found; search with "
            f"--latency {latency} in its place, or measure on a device of yours: tempograd collect"
        )


def _card(kept: SavedPredictor | KernelPredictor | None) -> Mapping[str, Any]:
    return kept.card if isinstance(kept, SavedPredictor) else {}


def _store_of(card: Mapping[str, Any], out: Path) -> Path:
    """Return the store that a predictor was learnt from, or a new one where that is gone."""
    known = Path(str(card.get("store", "")))
    return known if known.is_file() else out / "measurements.db"
