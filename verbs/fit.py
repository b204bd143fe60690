"""``fit``: learn latency, and what else was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import outputs, registry
from ..arguments import Count, Seed
from ..arguments import check as check_arguments
from ..data.dataset import FEW_ROWS, LatencyDataset
from ..data.store import Store
from ..errors import UsageError
from ..measurement.fingerprint import Fingerprint
from ..measurement.quantities import LATENCY, QUANTITIES
from ..predictor.binding import Binding
from ..predictor.interval import COVERAGE
from ..predictor.learn import Censored, check_taken, default_model, learn, source_line, stated
from ..predictor.linear import Linear
from ..predictor.metrics import noise_floor_mape_pct
from ..predictor.saved import DOCUMENT, Head, SavedPredictor, check_place, save
from ..profiler.plan import QUICK
from ..shown import counted
from ..spaces.encoding import OneHots
from ..spaces.space import SearchSpace
from .costs import operations_ms
from .fit_table import Labelled, is_table, labelled
from .fitting import open_to_tasks, spec_in
from .option import fields_of, one_of
from .outcome import REMARK, Outcome, Progress, device_spec_of, plain, silent, stored_space

MIN_ROWS = 40
SAMPLE = 500  # networks that say what latencies a space has


def fit(
    store: Path,
    out: Path,
    *,
    quantities: Sequence[str] = (LATENCY,),
    model: str | None = None,
    sources: Sequence[Path] = (),
    space: str | None = None,
    device: str | None = None,
    column: str | None = None,
    where: Sequence[str] = (),
    steps: Count | None = None,
    seed: Seed = 0,
    progress: Progress = silent,
) -> Outcome:
    """Learn a predictor from a store and write it with its card: one head for every quantity, the first the main one.

    In place of a store it takes a table of latencies, a file or what ``export`` wrote: see :mod:`.fit_table`. There
    ``column`` and ``where`` say which numbers; space and column need no word where only one can be meant.

    Every network is predicted once without its own label, whatever names it has in the space: by leave-one-out where
    the model can, else in 5 folds. These predictions give the scores and the width of the intervals; the model that is
    written has seen all rows. The encoding is chosen before by leave-one-out of a small Gaussian process, or by a
    lookup itself, which means the encoding's entries literally. Rows that are not ``ok`` take part with the small
    weight of their wide interval, and are not scored, unless fewer than 19 are ``ok``: then scores and intervals hold
    their noise, too. Networks in which nothing leads from input to output take part and are not scored either, as no
    search takes one: all of them compute the same, so that each fold without them is far off. Censored ones take part
    where the model would put them too low. Networks without a head's quantity are left out of it, and counted.

    The model is ``gp``, or ``transfer`` below 100 networks or with ``sources``: stores of the same space from other
    devices, each a line that the new device's latency may be made of.
    """
    check_arguments(fit, locals())
    if not quantities or len(set(quantities)) < len(quantities):
        raise UsageError(f"quantities={list(quantities)}; give one or more, each once: {', '.join(QUANTITIES)}")
    check_place(out)
    if told := outputs.foreign(out, [DOCUMENT]):
        progress(told, 0, REMARK)
    table_ms: NDArray[Any] | None = None
    read: Labelled | None = None
    if is_table(store):
        _check_of_table(quantities, device, model)
        read = labelled(store, space=space, column=column, where=where)
        dataset, chosen = read.dataset, read.space
    else:
        if column is not None or where:
            raise UsageError(f"--column and --where are of a table, and {store} is none; leave them out")
        with Store(store) as opened:
            dataset = LatencyDataset.from_store(opened, space=spec_in(opened, space), fingerprint_id=device)
            chosen = stored_space(dataset.space)
            if model is not None and stated(model, "literal"):
                table_ms = _options_ms(opened, chosen, dataset.fingerprint.id)
    parts = [dataset.having(quantity) for quantity in quantities]
    models = [_model_for(part, name, model, sources, steps) for part, name in zip(parts, quantities, strict=True)]
    files: dict[str, Any] = {"predictor": str(out)}
    if read is None:
        files["store"] = str(store.resolve())
    else:
        files |= {"table": str(read.file), "column": read.column, "where": list(where), "remarks": list(read.remarks)}
    heads: list[Head] = []
    for part, quantity, name in zip(parts, quantities, models, strict=True):
        progress("fitting", len(heads), len(quantities))
        about = {"quantity": quantity, "model": name, "seed": seed, **files}
        lines = tuple(line for path in sources for line in _lines(path, chosen, quantity, dataset.fingerprint.id))
        wanted = {"steps": steps, "table_ms": table_ms, "calibrate": True, "sources": lines}
        heads.append(_fit_head(part, chosen, about, wanted))
    main, *others = heads
    save(out, main.predictor, binding=main.binding, card=main.card, conformal=main.conformal, others=others)
    progress("fitting", len(quantities), len(quantities))
    return outcome_of(heads, chosen, seed)


def outcome_of(heads: Sequence[Head | SavedPredictor], space: SearchSpace, seed: int) -> Outcome:
    """Return what is told of a predictor by its heads, the main one first."""
    document, *beside = [{key: value for key, value in head.card.items() if key != "parity"} for head in heads]
    document = document | {"heads": beside, "of_space": _of_space(heads[0], space, seed)}
    fingerprint = Fingerprint.from_json(heads[0].binding.fingerprint_json)
    following = _following(document, device_spec_of(fingerprint), space)
    return Outcome(document, _text(document), following=following)


def _check_of_table(quantities: Sequence[str], device: str | None, model: str | None) -> None:
    """Refuse what only a store can give."""
    if list(quantities) != [LATENCY]:
        raise UsageError(f"quantities={list(quantities)} of a table; allowed: {LATENCY}, of one column")
    if device is not None:
        raise UsageError(f"--device {device} is of a store; rows of a table are chosen with --where COLUMN=VALUE")
    if model is not None and stated(model, "literal"):
        raise UsageError(f"a {model} adds up measured operations, which a table has not; fit it from a store")


def _model_for(
    dataset: LatencyDataset, quantity: str, model: str | None, sources: Sequence[Path], steps: int | None
) -> str:
    """Return the model for a quantity of these networks, or say why none can be fitted."""
    labels = int(dataset.informative.sum())
    model = model or default_model(labels, sources)
    check_taken(model, sources=sources, steps=steps)
    frugal = stated(model, "frugal")
    least = FEW_ROWS if frugal else MIN_ROWS
    if labels < least:
        able = one_of(name for name in registry.names("model") if stated(name, "frugal"))
        other = "" if frugal else f", or fit --model {able}, which needs {FEW_ROWS}"
        raise UsageError(
            f"{counted(labels, 'network')} with a {quantity} to learn from (measured, and not so noisy that its "
            f"interval has no upper end); allowed: {least} or more for {model}. Collect more of them{other}"
        )
    if stated(model, "literal") and quantity != LATENCY:
        raise UsageError(f"a {model} adds up {LATENCY} of operations, not {quantity}; fit it with another model")
    return model


def _fit_head(
    dataset: LatencyDataset, chosen: SearchSpace, about: Mapping[str, Any], wanted: Mapping[str, Any]
) -> Head:
    """Return a model of one quantity with its card; what is called ms in it is the quantity's unit.

    Args:
        dataset: networks that have the quantity.
        chosen: their space.
        about: what the card begins with, ``quantity``, ``model`` and ``seed`` among it.
        wanted: arguments of the model.
    """
    quantity, model, seed = about["quantity"], about["model"], about["seed"]
    labels, weight = dataset.values(quantity), dataset.weights(quantity)
    names = encodings_of(chosen, model)
    bounds_ms = dataset.censored if quantity == LATENCY else {}
    networks = [chosen.from_key(key) for key in (*dataset.keys, *bounds_ms)]
    connected = np.array([chosen.is_connected(network) for network in networks[: len(labels)]])
    both = dataset.judging & connected
    judging = both if both.sum() >= FEW_ROWS else dataset.judging
    encoded = {name: chosen.encode(networks, name).astype(float) for name in names}
    groups, n = chosen.groups(networks), len(labels)
    above = {name: X[n:] for name, X in encoded.items()}
    learnt = learn(
        {name: X[:n] for name, X in encoded.items()}, labels, weight, groups[:n], model=model,
        blocks=blocks_of(chosen), stages=chosen.schedule, seed=seed,
        judging=judging, censored=Censored(above, np.array(list(bounds_ms.values()), float), groups[n:]), **wanted,
    )  # fmt: skip
    predicted, encoding = learnt.held_out_ms, learnt.encoding
    scores, conformal = asdict(learnt.scores), learnt.conformal
    low, high = conformal.interval(predicted, COVERAGE)
    binding = Binding.of(space=dataset.space, encoding=encoding, fingerprint=dataset.fingerprint, quantity=quantity)
    unit = binding.unit
    document = {
        **about, "space": dataset.space, "encoding": encoding, "device": dataset.fingerprint.id,
        "networks": len(labels), "different_networks": len(np.unique(groups[:n])),
        "verdicts": dataset.counts, "left_out": dataset.left_out, "scored": int(judging.sum()),
        "disconnected": int((~connected).sum()),
        "scores": {(f"mae_{unit}" if name == "mae_ms" else name): value for name, value in scores.items()},
        "error_pct_by_encoding": {name: 100 * error for name, error in learnt.error_by_encoding.items()},
        "gradient": gradient_of(chosen, encoding, learnt.predictor), "censored": learnt.censored,
        "noise_floor_mape_pct": (
            noise_floor_mape_pct(dataset.half_width[judging] / 1.96)
            if quantity == LATENCY and "store" in about
            else float("nan")
        ),
        "repeatability": dataset.repeatability if quantity == LATENCY else float("nan"), "coverage": COVERAGE,
        "interval_pct": 100 * (float(np.exp(conformal.log_half_width(COVERAGE))) - 1),
    }  # fmt: skip
    columns = {"measured": labels, "predicted": predicted, "low": low, "high": high}
    parity = {f"{name}_{unit}": values[judging].tolist() for name, values in columns.items()}
    return Head(learnt.predictor, binding, plain(document) | {"parity": parity}, conformal)


def _lines(path: Path, space: SearchSpace, quantity: str, own: str) -> list[Linear]:
    """Return the quantity on every device of another store but ``own``, as a line over counts.

    The own device is none: networks that are held out would come back through it.
    """
    with Store(path) as opened:
        of_space = [device for found, device in opened.sets() if found == space.spec]
        if not of_space:
            raise UsageError(f"no networks of {space.spec} in {path}; a source is a store of the same space")
        devices = [device for device in of_space if device != own]
        if not devices:
            raise UsageError(f"all networks of {path} are of the device {own} itself; a source is of another device")
        sets = [LatencyDataset.from_store(opened, space=space.spec, fingerprint_id=device) for device in devices]
    sets = [found.having(quantity) for found in sets]
    if bare := [found.fingerprint.id for found in sets if not found.keys]:
        raise UsageError(f"no network with {quantity} on {', '.join(bare)} in {path}; leave this source out")
    sparing = space.sparing_encoding
    blocks = sparing.blocks(space)
    return [
        source_line(d.encode(space, sparing.name), d.values(quantity), d.weights(quantity), blocks=blocks) for d in sets
    ]


def encodings_of(space: SearchSpace, model: str) -> tuple[str, ...]:
    """Return the encodings that a model may be fitted on, from simple to rich."""
    if stated(model, "frugal"):
        return (space.sparing_encoding.name,)
    literal = stated(model, "literal")  # a table has one entry an option, and no other features
    return tuple(e.name for e in space.encodings if not e.sparing and (isinstance(e, OneHots) or not literal))


def blocks_of(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Return the blocks of every encoding that has some, by name."""
    return {encoding.name: encoding.blocks(space) for encoding in space.encodings if encoding.sparing}


def gradient_of(space: SearchSpace, encoding: str, estimator: Any) -> str:
    """Return what a gradient search makes of this predictor."""
    if not hasattr(type(estimator), "module"):
        return "none: the model has no slope"
    if not space.encoding(encoding).slope:
        return "swaps: every single change of sampled networks is predicted"
    return "back-propagation through the encoding of sampled networks"


def _options_ms(store: Store, space: SearchSpace, device: str) -> NDArray[Any]:
    """Return ``(d,)``: what every option of every site costs in ms, from measured operations by the circuit."""
    _, costs = space.circuit.linear(operations_ms(store, space, device))
    return np.array([costs.get((site.name, i), 0.0) for site in space.sites for i in range(len(site.options))])


def _of_space(head: Head | SavedPredictor, space: SearchSpace, seed: int) -> dict[str, Any]:
    """Return what sampled networks that connect input and output are predicted at, in the unit of the quantity."""
    drawn = space.sample(space.at_most(SAMPLE), np.random.default_rng([seed, 8]))
    networks = [architecture for architecture in drawn if space.is_connected(architecture)]
    predicted = head.predictor.predict(space.encode(networks, head.binding.encoding))
    named = {"smallest": 0.0, "tenth": 0.1, "median": 0.5, "largest": 1.0}
    return {name: float(np.quantile(predicted, share)) for name, share in named.items()} | {"verdict": "predicted"}


def _following(d: Mapping[str, Any], device: str | None, space: SearchSpace) -> str:
    """Return the next command, with a target that half of the networks meet, where a search can take one."""
    predictor = quote(d["predictor"])
    if not d["quantity"].endswith("_ms") or d["gradient"].startswith("none"):
        return f"tempograd predict --predictor {predictor} --arch ARCH"
    median_ms = d["of_space"]["median"]
    rounded_ms = float(f"{median_ms:.2g}")
    target_ms = rounded_ms if rounded_ms > d["of_space"]["smallest"] else median_ms
    if "table" in d:
        rows = "".join(f" --where {quote(condition)}" for condition in d["where"])
        latency = quote(f"table:{d['table']}:{d['column']}")
        return (
            f"tempograd search --space {quote(open_to_tasks(d['space']))} --latency {latency}{rows} "
            f"--target-ms {target_ms:.4g} --task digits --out result/"
        )
    asked = f"--space {quote(registry.typed('space', d['space']))} --predictor {predictor} --target-ms {target_ms:.4g}"
    if device not in (None, "local"):
        asked += f" --device {quote(device)}"
    return f"tempograd search {asked}{_task_for(space)} --out result/"


def _task_for(space: SearchSpace) -> str:
    """Return the option that a search of a space needs: a task, where its networks cannot learn the default one."""
    from ..tasks.load import load_task
    from .request import SearchRequest

    default = next(one.default for one in fields_of(SearchRequest) if one.name == "task")
    try:
        load_task(default).fitted(space)
    except (UsageError, ValueError):  # other outputs, or inputs that are no images
        return " --task TASK"
    return ""


def _text(d: Mapping[str, Any]) -> str:
    about, unit = d["of_space"], d["quantity"].rpartition("_")[2]
    return "\n".join((
        *d.get("remarks", ()),
        *map(_fit_text, (d, *d["heads"])),
        f"predicted in this space: smallest {about['smallest']:.4g} {unit}, median {about['median']:.4g}, largest "
        f"{about['largest']:.4g}, of sampled networks",
    ))  # fmt: skip


def _fit_text(d: Mapping[str, Any]) -> str:
    s, floor_pct = d["scores"], d["noise_floor_mape_pct"]
    floor = "" if floor_pct is None else f" (noise floor {floor_pct:.2f} %)"
    missing = "".join(f", {n} {what} left out" for what, n in d["left_out"].items())
    nowhere = f"; {n} that lead nowhere are not scored" if (n := d.get("disconnected")) else ""
    return "\n".join((
        f"{d['quantity']}: {d['model']} on {counted(d['networks'], 'network')} of {d['space']} (encoding "
        f"{d['encoding']}), in {d['predictor']}{missing}",
        f"held out: MAPE {s['mape_pct']:.2f} %{floor}, within 1/5/10 %: "
        f"{s['within_1_pct']:.0f}/{s['within_5_pct']:.0f}/{s['within_10_pct']:.0f}, Spearman {s['spearman']:.3f}, "
        f"Kendall {s['kendall']:.3f}{nowhere}",
        f"{COVERAGE:.0%} of networks lie within {d['interval_pct']:.1f} % of their prediction"
        + ("" if d["verdicts"].get("ok", 0) >= FEW_ROWS else ", as far as labels this noisy can tell"),
        *(
            [f"but the labels themselves differ by {differ:.1%} between processes: measure again on a quieter device"]
            if (differ := d["repeatability"] or 0) > QUICK.target else []
        ),
    ))  # fmt: skip
