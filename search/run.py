"""A whole search: feasibility, search, derivation, repair to the measured target, training, random baseline."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from math import inf
from time import perf_counter

import numpy as np

from ..errors import UsageError
from ..measurement.measurement import Measurement
from ..spaces.architecture import Architecture
from ..spaces.graph import INPUT, Graph, ports
from ..spaces.space import SearchSpace
from ..tasks.predicted import PredictedTask
from ..tasks.task import Preprocessing, Task
from . import processes
from .candidates import Candidates
from .evaluator import Trained, check_training
from .feasibility import Feasibility, feasibility
from .finalists import choose
from .malloc import keep_freed_memory
from .method import Conditions, Found, Method, Problem
from .price import Price
from .progress import Progress, silent
from .repair import Measure, Repair, Step
from .result import Rival, SearchResult, verdict_of
from .searchers.random import random_search

_TRIES = 3  # measurements of a random network before a noisy one is left as it is


@dataclass(frozen=True, kw_only=True)
class Options(Conditions):
    """How a search is run, besides the conditions.

    Attributes:
        repair: whether an architecture that misses the target as measured is repaired.
        random_networks: random networks trained for comparison; None for as many as the search's time allows.
        finalists: networks that use a target that are trained, the best on held-out images to be kept.
    """

    repair: bool = True
    random_networks: int | None = None
    finalists: int = 1


def search(
    space: SearchSpace,
    method: Method,
    price: Price,
    task: Task,
    *,
    measure: Measure,
    target_ms: float | None = None,
    lam: float | None = None,
    proxy: SearchSpace | None = None,
    options: Options | None = None,
    progress: Progress = silent,
) -> SearchResult:
    """Search for the best network of a space within a measured target, or at a weight of latency.

    Args:
        space: whose networks are deployed.
        method: recipe, such as ``la_darts()``.
        price: what networks of the space cost on the device.
        task: images.
        measure: times architectures on the device, one measurement each, in order.
        target_ms: budget; exactly one of ``target_ms`` and ``lam`` is given.
        lam: weight of latency relative to the space's median network.
        proxy: smaller space of the same sites, whose supernet is trained in place of the space's.
        options: training, seed and the rest.
        progress: told what is done.

    Raises:
        TargetError: even the smallest network is predicted above the target (before any training), or no network
            measured is within it.
        UsageError: both or none of ``target_ms`` and ``lam``, a task that does not fit the space, or a method that
            cannot search it.
        MismatchError: a proxy of other sites, or a checkpoint of another search.
    """
    keep_freed_memory()
    options = options or Options()
    method.check(space, target_ms=target_ms, lam=lam, proxy=proxy)
    check_training(
        options.training, options.compute, supernet=method.gives_weights and proxy is None,
        task=task if task.by_recipe else None, taught=space.teacher() is not None,
    )  # fmt: skip
    latency = price.of_latency
    table = feasibility(
        space, latency.predict, np.random.default_rng(options.seed), target_ms=target_ms, measured_ms=price.measured_ms
    )
    middle_ms = table.median_ms
    if latency is not price:
        middle_ms = feasibility(space, price.predict, np.random.default_rng(options.seed)).median_ms
    problem = Problem(
        space, proxy or space, price, task, target_ms, lam, middle_ms,
        **{each.name: getattr(options, each.name) for each in fields(Conditions)}, progress=progress,
        accuracy=task if isinstance(task, PredictedTask) else None,
    )  # fmt: skip
    table.check()
    progress("feasibility", 1, 1, _ends(table))
    fitted, measure = task.fitted(space), _by_first(measure)
    found = method.find(problem)
    problem = replace(problem, begin=found.begin)
    seconds = {"search": found.seconds}
    deployed = _deployed(method, found)
    give = deployed or partial(problem.trained, fitted=fitted)
    with _timed(seconds, "measure"):
        steps, kept, repaired = _measured(problem, found, measure, repair=options.repair)
    with _timed(seconds, "train"):
        finalists: list[Rival] = []
        if options.finalists > 1 and repaired is not None:
            kept, trained, finalists = choose(
                repaired, kept, options.finalists, give, seed=options.seed, metric=task.metric,
                inherited=found.inherited,
            )  # fmt: skip
            steps = repaired.steps
        else:
            trained = give(kept.architecture)
        examples = processes.by_first(lambda: fitted.examples(trained.network))
    with _timed(seconds, "random"):
        rivals = _rivals(problem, kept, found.seconds, options.random_networks, measure, deployed)
    if latency is not price:
        steps, kept = [_of_latency(latency, step) for step in steps], _of_latency(latency, kept)
        rivals = [replace(rival, step=_of_latency(latency, rival.step)) for rival in rivals]
    low, high = price.interval([kept.architecture]) if price.interval else (None, None)
    return SearchResult(
        space=space,
        method=method.name,
        task=task.name,
        metric=fitted.metric,
        seed=options.seed,
        target_ms=target_ms,
        lam=lam,
        feed=found.feed,
        feasibility=table,
        found=kept,
        predicted_low_ms=None if low is None else float(low[0]),
        predicted_high_ms=None if high is None else float(high[0]),
        trained=trained,
        verdict=verdict_of(kept.measurement, target_ms),
        steps=steps,
        rivals=rivals,
        trace=found.trace,
        seconds=seconds,
        queries=found.queries,
        finalists=finalists,
        preprocessing=_fed(fitted.preprocessing, trained.network.graph),
        class_names=fitted.class_names,
        remarks=fitted.remarks,
        examples=examples,
    )


def _ends(table: Feasibility) -> dict[str, float]:
    """Return the ends of what networks are predicted at, and measured where some were, in ms."""
    ends = {"smallest_ms": table.smallest_ms, "median_ms": table.median_ms, "largest_ms": table.largest_ms}
    if table.measured_ms:
        values = table.measured_ms.values()
        ends |= {"measured smallest_ms": min(values), "measured largest_ms": max(values)}
    return ends


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Generator[None]:
    """Note how long a step took."""
    start = perf_counter()
    yield
    seconds[step] = perf_counter() - start


def _deployed(method: Method, found: Found) -> Callable[[Architecture], Trained] | None:
    """Return what gives networks as they are kept; None where they are trained."""
    if method.deploys == "trained":
        return None
    if found.deployed is None:
        raise UsageError(f"{method.name} keeps inherited weights, and its searcher gave none; say deploys='trained'")
    return found.deployed


def _fed(preprocessing: Preprocessing | None, network: Graph) -> Preprocessing | None:
    """Return how an image becomes the input of a network that may take it at another size than the task gives it."""
    side = ports(network)[INPUT][0][-1]
    if preprocessing is None or preprocessing.size == (side, side) or network.input_shape[-1] == side:
        return preprocessing
    return replace(preprocessing, size=(side, side), resize="bilinear")


def _of_latency(latency: Price, step: Step) -> Step:
    """Return a step with its predicted latency in place of what it cost."""
    return replace(step, predicted_ms=float(latency.predict([step.architecture])[0]))


def _by_first(measure: Measure) -> Measure:
    """Return what times networks in the first of several processes that train together, for all of them."""
    return lambda architectures: processes.by_first(lambda: measure(architectures))


def _measured(
    problem: Problem, found: Found, measure: Measure, *, repair: bool
) -> tuple[list[Step], Step, Repair | None]:
    """Return every architecture measured on the way, the one kept, and the repair if it found that."""
    predict, target_ms = problem.predict(), problem.target_ms
    if target_ms is not None and repair:
        turn = Candidates(found, predict, measure, target_ms, progress=problem.progress)
        state = Repair(problem.space, predict, measure, found.scores, target_ms, progress=problem.progress)
        kept = turn.run()
        if found.repairable:
            state.steps += turn.steps
            if kept is None or state.leaves_room(kept):
                kept = state.run(found.architecture if kept is None else kept.architecture)
            return state.steps, kept, state
        kept = kept or state.run(found.architecture)
        return [*turn.steps, *state.steps], kept, None if turn.steps else state
    (measurement,) = measure([found.architecture])
    kept = Step(found.architecture, float(predict([found.architecture])[0]), measurement)
    return [kept], kept, None


def _trusted(measure: Measure, architectures: Sequence[Architecture]) -> list[Measurement]:
    """Return a measurement each, those that are noisy taken again a few times; the narrowest of each network counts."""
    found = measure(architectures) if architectures else []
    for _ in range(_TRIES - 1):
        doubtful = [n for n, measurement in enumerate(found) if measurement.verdict in {"noisy", "hot"}]
        if not doubtful:
            break
        for n, again in zip(doubtful, measure([architectures[n] for n in doubtful]), strict=True):
            found[n] = min(found[n], again, key=_width)
    return found


def _width(measurement: Measurement) -> float:
    return inf if measurement.failure or measurement.estimate is None else measurement.estimate.half_width


def _rivals(
    problem: Problem,
    kept: Step,
    seconds: float,
    networks: int | None,
    measure: Measure,
    deployed: Callable[[Architecture], Trained] | None,
) -> list[Rival]:
    """Return random networks as dear as the target, or as the network found, trained and measured alike."""
    if networks == 0:
        return []
    limit_ms = problem.target_ms if problem.target_ms is not None else kept.predicted_ms
    trials = random_search(problem, limit_ms, networks=networks, seconds=seconds, deployed=deployed)
    measured = _trusted(measure, [trial.architecture for trial in trials])
    return [
        Rival(Step(trial.architecture, trial.predicted_ms, measurement), trial.trained)
        for trial, measurement in zip(trials, measured, strict=True)
    ]
