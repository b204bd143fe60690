"""From the words of ``--cost`` to the price of networks: with a predictor's folder, and the rows of a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .. import outputs, registry
from ..data.dataset import LatencyDataset
from ..data.store import Store
from ..devices.device import Place
from ..errors import UsageError
from ..measurement.measurement import Measurement
from ..predictor.interval import COVERAGE
from ..predictor.kernels import KernelPredictor
from ..predictor.predictor import DifferentiablePredictor
from ..predictor.saved import SavedPredictor
from ..profiler.plan import OPERATIONS
from ..search.cost import CostModel, PredictorCost, TableCost
from ..search.price import Price, sum_in_ms
from ..spaces.architecture import Architecture
from ..spaces.circuit import SKELETON, counts
from ..spaces.space import SearchSpace
from .choices import COUNTERS, HEADS, shares_of
from .kernel_price import Sums, by_kernels, sums
from .option import one_of

LINE = 16  # measured networks that a line through a table's or a counter's costs asks for

Measure = Callable[[Sequence[Architecture]], list[Measurement]]


def priced(
    spec: str,
    space: SearchSpace,
    kept: SavedPredictor | KernelPredictor | None,
    store: Store,
    device: Place,
    measure: Measure,
    *,
    upper_bound: bool,
    inputs: Path | None = None,
    once: Callable[[Callable[[], dict[str, Any]]], dict[str, Any]] = lambda gather: gather(),
) -> Price:
    """Return the price of networks by the costs that a spec names.

    Args:
        spec: as for :func:`.choices.shares_of`.
        space: searched.
        kept: the predictor, of whole networks or of kernels, where there is one.
        store: with the measured operations of the device.
        device: that the price is of; it is asked for kernels only.
        measure: times networks, where the store holds fewer than ``LINE``.
        upper_bound: whether a predictor is followed at the upper end of its interval.
        inputs: file that keeps what a cost was made of: the store grows while a search runs, and a search that goes on
            must go on with the same numbers.
        once: has what costs are made of gathered; of several processes that train together one measures, for all.

    Raises:
        UsageError: no predictor, one without a slope, or no operations in the store.
        InputRefusedError: of the space's networks no kernels can be known.
    """
    shares = shares_of(spec)
    if list(shares) == ["predictor"]:
        return _by_predictor(kept, space, upper_bound=upper_bound)
    costs: dict[str, tuple[float, CostModel]] = {}
    encoding: str | None = None
    of_kernels: Price | None = None
    for name, share in shares.items():
        if name == "predictor":
            module, encoding = _module(kept, upper_bound=upper_bound)
            costs[name] = share, PredictorCost(module, space, encoding)
            continue
        if name in HEADS:
            module, own = _module(_head(kept, name), upper_bound=upper_bound)
            costs[name] = share, PredictorCost(module, space, own)
            continue
    known = once(lambda: _gathered(spec, space, kept, store, device, measure, inputs))
    for name, share in shares.items():
        if name in {"predictor", *HEADS}:
            continue
        if name == "kernels":
            of_kernels = by_kernels(space, _of_kernels(kept), Sums(**known["kernels"]), upper_bound=upper_bound)
            if len(shares) > 1:
                costs[name] = share, of_kernels.as_cost(PredictorCost)
            continue
        table = known["table"] if name == "table" else counts(space.graph, space.operations, COUNTERS[name])
        costs[name] = share, TableCost(space.circuit, table)
    costs = {name: costs[name] for name in shares if name in costs}  # they are summed in the order that was asked
    if of_kernels is not None and not costs:
        return of_kernels
    measured_ms = {space.from_key(key): ms for key, ms in known["measured"].items()}
    price = sum_in_ms(costs, space, measured_ms, proportional=HEADS)
    outside = {} if of_kernels is None else {"out_of_support": of_kernels.told["out_of_support"]}
    price = replace(price, told={"model": spec, "encoding": encoding} | price.told | outside)
    if not shares.keys() & set(HEADS):
        return price
    latency = _by_predictor(kept, space, upper_bound=upper_bound)
    scores = {"scores": latency.told["scores"]}
    return replace(price, latency=latency, interval=latency.interval, told=price.told | scores, parity=latency.parity)


def _gathered(
    spec: str, space: SearchSpace, kept: SavedPredictor | KernelPredictor | None, store: Store, device: Place,
    measure: Measure, inputs: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Return what costs are made of, JSON-ready: it is measured and kept in the file, where it is not there already."""
    shares, id_ = shares_of(spec), device.fingerprint.id
    known = _read(inputs, [spec, space.spec, id_])
    if "kernels" in shares and "kernels" not in known:
        known["kernels"] = asdict(sums(space, device, _of_kernels(kept)))
    if "table" in shares and "table" not in known:
        known["table"] = operations_ms(store, space, id_)
    if list(shares) != ["kernels"] and "measured" not in known:
        known["measured"] = _measured(space, store, id_, measure)
    if inputs is not None:
        outputs.write({inputs: json.dumps(known).encode()}, is_inputs)
    return known


def _of_kernels(kept: SavedPredictor | KernelPredictor | None) -> KernelPredictor:
    if not isinstance(kept, KernelPredictor):
        raise UsageError("--cost kernels needs --predictor DIRECTORY, written by tempograd kernels fit")
    return kept


def _by_predictor(kept: SavedPredictor | KernelPredictor | None, space: SearchSpace, *, upper_bound: bool) -> Price:
    module, encoding = _module(kept, upper_bound=upper_bound)
    assert isinstance(kept, SavedPredictor)

    def interval(architectures: Sequence[Architecture]) -> tuple[NDArray[Any], NDArray[Any]]:
        _, low, high = kept.predict(space.encode(architectures, encoding), return_interval=True, coverage=COVERAGE)
        return low, high

    return Price(
        module, space, encoding, interval, None if upper_bound else kept.conformal,
        {"model": kept.model, "encoding": encoding, "scores": kept.card["scores"]}, kept.card["parity"],
    )  # fmt: skip


def operations_ms(store: Store, space: SearchSpace, device: str) -> dict[str, float]:
    """Return the table of a space's circuit from measured operations.

    An operation's cost is its time less that of the cheapest one, which is little more than the call.

    Raises:
        UsageError: the store holds no operations of this space, or not all.
    """
    name = space.spec + OPERATIONS
    advice = (
        f"measure them: tempograd collect --operations --space {quote(space.spec)} --store {quote(str(store.path))}"
    )
    if (name, device) not in store.sets():
        raise UsageError(f"no operations of {space.spec} in {store.path}, which a table adds up; {advice}")
    rows = LatencyDataset.from_store(store, space=name, fingerprint_id=device)
    call_ms = float(rows.y_ms.min())
    table = {key: float(ms) - call_ms for key, ms in zip(rows.keys, rows.y_ms, strict=True)} | {SKELETON: 0.0}
    missing = sorted(space.circuit.keys - table.keys())
    if missing:
        raise UsageError(f"{len(missing)} operations of {space.spec} have no latency, such as {missing[0]}; {advice}")
    return table


def _module(kept: SavedPredictor | KernelPredictor | None, *, upper_bound: bool) -> tuple[nn.Module, str | None]:
    if kept is None:
        raise UsageError("--cost predictor needs --predictor DIRECTORY, written by tempograd fit")
    if isinstance(kept, KernelPredictor):
        raise UsageError("--predictor holds what was learnt of kernels; say --cost kernels")
    if not isinstance(kept.predictor, DifferentiablePredictor):
        others = one_of(name for name in registry.names("model") if hasattr(registry.load("model", name), "module"))
        raise UsageError(f"the model {kept.model} has no gradient; fit {others} to search")
    return kept.upper_bound(COVERAGE) if upper_bound else kept.predictor.module, kept.binding.encoding


def _head(kept: SavedPredictor | KernelPredictor | None, quantity: str) -> SavedPredictor:
    """Return a predictor's head of a quantity.

    Raises:
        UsageError: there is none.
    """
    if not isinstance(kept, SavedPredictor):
        raise UsageError(
            f"--cost {quantity} needs --predictor DIRECTORY; write one: "
            f"tempograd fit --store STORE --quantity {quantity} --out DIRECTORY"
        )
    if quantity not in kept.heads:
        raise UsageError(
            f"the predictor has heads for {', '.join(kept.heads)}, and none for {quantity}; fit it too: "
            f"tempograd fit --store STORE {' '.join(f'--quantity {one}' for one in (*kept.heads, quantity))} "
            "--out PREDICTOR"
        )
    return kept.heads[quantity]


is_inputs = outputs.json_with("of")


def _read(inputs: Path | None, wanted: list[str]) -> dict[str, Any]:
    """Return what a cost was made of before, or the beginning of it."""
    if inputs is not None and inputs.exists():
        found: dict[str, Any] = json.loads(inputs.read_text())
        if found.get("of") == wanted:
            return found
    return {"of": wanted}


def trusted_ms(space: SearchSpace, store: Store, device: str) -> dict[str, float]:
    """Return networks of a store by key with their latencies in ms: those that are ``ok`` and connect in and output.

    No search keeps others, and no sum of costs explains them.
    """
    if (space.spec, device) not in store.sets():
        return {}
    rows = LatencyDataset.from_store(store, space=space.spec, fingerprint_id=device).ok()
    told = zip(rows.keys, rows.y_ms.tolist(), strict=True)
    return {key: ms for key, ms in told if space.is_connected(space.from_key(key))}


def _measured(space: SearchSpace, store: Store, device: str, measure: Measure) -> dict[str, float]:
    """Return networks by key with their latencies in ms, measured now where the store holds too few."""
    known = trusted_ms(space, store, device)
    if len(known) >= LINE:
        return known
    drawn = space.sample(space.at_most(4 * LINE), np.random.default_rng(0))
    networks = [architecture for architecture in drawn if space.is_connected(architecture)][:LINE]
    found = {m.key: m.latency_ms for m in measure(networks) if m.estimate is not None}
    if len(found) < 3:
        raise UsageError(
            f"{len(found)} of {len(networks)} networks of {space.spec} were measured, and 3 make milliseconds of a "
            "cost: take a larger space, or a device on which more of them run"
        )
    return found
