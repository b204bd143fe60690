"""What prices networks in a search: a predictor, a table of measured operations, or a counter, in milliseconds.

A table adds up single operations, and a counter knows no device at all: both become milliseconds by a line through a
few networks measured on the device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from .. import outputs
from ..data.dataset import LatencyDataset
from ..data.store import Store
from ..errors import UsageError
from ..measurement.measurement import Measurement
from ..predictor.metrics import Scores
from ..predictor.predictor import DifferentiablePredictor
from ..predictor.saved import SavedPredictor
from ..profiler.plan import OPERATIONS
from ..search.cost import CostModel, PredictorCost, TableCost, WeightedSum
from ..search.method import predict_with
from ..spaces.architecture import Architecture
from ..spaces.circuit import SKELETON, counts
from ..spaces.space import SearchSpace
from .choices import COUNTERS, shares_of

LINE = 16  # measured networks that a line through a table's or a counter's costs asks for
REWEIGHTINGS = 15

Measure = Callable[[Sequence[Architecture]], list[Measurement]]


@dataclass(frozen=True)
class Priced:
    """A cost, and what a result tells of it.

    Attributes:
        price: in ms; a module where it is a predictor alone.
        encoding: that it was trained on, if it was.
        told: model, encoding and held-out scores.
        parity: held-out columns, in ms.
    """

    price: nn.Module | CostModel
    encoding: str | None = None
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    parity: dict[str, list[float]] | None = None


def priced(
    spec: str,
    space: SearchSpace,
    kept: SavedPredictor | None,
    store: Store,
    device: str,
    measure: Measure,
    *,
    upper: float | None,
    inputs: Path | None = None,
) -> Priced:
    """Return the cost that a spec names.

    Args:
        spec: as for :func:`.choices.shares_of`.
        space: searched.
        kept: the predictor, where there is one.
        store: with the measured operations of the device.
        device: its fingerprint's id.
        measure: times networks, where the store holds fewer than ``LINE``.
        inputs: file that keeps what a cost was made of: the store grows while a search runs, and a search that goes on
            must go on with the same numbers.
        upper: of a predictor's interval, the coverage at whose upper end it is followed; None for the prediction.

    Raises:
        UsageError: no predictor, one without a slope, or no operations in the store.
    """
    shares = shares_of(spec)
    costs: list[tuple[float, CostModel]] = []
    encoding = None
    known = _read(inputs, [spec, space.spec, device])
    for name, share in shares.items():
        if name == "predictor":
            module, encoding = _module(kept, upper=upper)
            if len(shares) == 1:
                assert kept is not None
                told = {"model": kept.model, "encoding": encoding, "scores": kept.card["scores"]}
                return Priced(module, encoding, told, kept.card["parity"])
            costs.append((share, PredictorCost(module, space, encoding)))
            continue
        if name == "table":
            table: Mapping[str, float] = known.get("table") or operations_ms(store, space, device)
            known["table"] = table
        else:
            table = counts(space.graph, space.operations, COUNTERS[name])
        costs.append((share, TableCost(space.circuit, table)))
    if "measured" not in known:
        known["measured"] = _measured(space, store, device, measure)
    if inputs is not None:
        outputs.write({inputs: json.dumps(known).encode()}, is_inputs)
    architectures, y_ms = [space.from_key(key) for key in known["measured"]], np.array(list(known["measured"].values()))
    lines = [_line(cost, space, architectures, y_ms, name) for name, (_, cost) in zip(shares, costs, strict=True)]
    price = WeightedSum(tuple(zip(shares.values(), (line.price for line in lines), strict=True)))
    predicted = sum(share * line.held_out for share, line in zip(shares.values(), lines, strict=True))
    columns = {"measured_ms": y_ms.tolist(), "predicted_ms": np.asarray(predicted).tolist()}
    scores = asdict(Scores.of(y_ms, np.asarray(predicted)))
    return Priced(price, encoding, {"model": spec, "encoding": encoding, "scores": scores}, columns)


def operations_ms(store: Store, space: SearchSpace, device: str) -> dict[str, float]:
    """Return the table of a space's circuit from measured operations.

    An operation's cost is its time less that of the cheapest one, which is little more than the call.

    Raises:
        UsageError: the store holds no operations of this space, or not all.
    """
    name = space.spec + OPERATIONS
    advice = f"measure them: tempograd collect --operations --space '{space.spec}' --store {store.path}"
    if (name, device) not in store.sets():
        raise UsageError(f"no operations of {space.spec} in {store.path}, which a table adds up; {advice}")
    rows = LatencyDataset.from_store(store, space=name, fingerprint_id=device)
    call_ms = float(rows.y_ms.min())
    table = {key: float(ms) - call_ms for key, ms in zip(rows.keys, rows.y_ms, strict=True)} | {SKELETON: 0.0}
    missing = sorted(space.circuit.keys - table.keys())
    if missing:
        raise UsageError(f"{len(missing)} operations of {space.spec} have no latency, such as {missing[0]}; {advice}")
    return table


@dataclass(frozen=True)
class _Line:
    price: CostModel
    held_out: NDArray[np.float64]


def _module(kept: SavedPredictor | None, *, upper: float | None) -> tuple[nn.Module, str | None]:
    if kept is None:
        raise UsageError("--cost predictor needs --predictor DIRECTORY, written by tempograd fit")
    if not isinstance(kept.predictor, DifferentiablePredictor):
        raise UsageError(f"the model {kept.model} has no gradient; fit gp, mlp or ridge to search")
    return kept.predictor.module if upper is None else kept.upper_bound(upper), kept.binding.encoding


is_inputs = outputs.json_with("of")


def _read(inputs: Path | None, wanted: list[str]) -> dict[str, Any]:
    """Return what a cost was made of before, or the beginning of it."""
    if inputs is not None and inputs.exists():
        found: dict[str, Any] = json.loads(inputs.read_text())
        if found.get("of") == wanted:
            return found
    return {"of": wanted}


def _measured(space: SearchSpace, store: Store, device: str, measure: Measure) -> dict[str, float]:
    """Return networks by key with their latencies in ms, measured now where the store holds too few."""
    if (space.spec, device) in store.sets():
        rows = LatencyDataset.from_store(store, space=space.spec, fingerprint_id=device).ok()
        known = {
            key: ms
            for key, ms in zip(rows.keys, rows.y_ms.tolist(), strict=True)
            if space.is_connected(space.from_key(key))  # no search keeps others, and no sum of costs explains them
        }
        if len(known) >= LINE:
            return known
    drawn = space.sample(min(4 * LINE, round(10 ** min(space.size_log10, 9))), np.random.default_rng(0))
    networks = [architecture for architecture in drawn if space.is_connected(architecture)][:LINE]
    found = {m.key: m.latency_ms for m in measure(networks) if m.estimate is not None}
    if len(found) < 3:
        raise UsageError(f"only {len(found)} of {len(networks)} networks of {space.spec} could be measured")
    return found


def _least_absolute(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two numbers from 0 whose products with rows ``(n, 2)`` are nearest to 1, by absolute distance.

    A square would follow the networks of which a part reaches no output: a sum of costs is wrong about these.
    """
    weight = np.ones(len(rows))
    found = np.zeros(2)
    for _ in range(REWEIGHTINGS):
        found = nnls(rows * weight[:, None], weight)[0]
        weight = 1 / np.sqrt(np.maximum(np.abs(rows @ found - 1), 0.01))
    return found


def _line(
    cost: CostModel, space: SearchSpace, architectures: Sequence[Architecture], y_ms: NDArray[np.float64], name: str
) -> _Line:
    """Return a cost in ms, by the line of least relative error, and every network by a line through the others."""
    if isinstance(cost, PredictorCost):
        return _Line(cost, predict_with(cost, space, None)(architectures))
    x = predict_with(cost, space, None)(architectures)
    unit = float(x.max()) or 1.0
    rows = np.stack([x / unit, np.ones_like(x)], axis=1) / y_ms[:, None]
    slope, constant_ms = _least_absolute(rows)
    if slope == 0:
        raise UsageError(f"{name} say nothing about latency in {space.spec} on this device; take another --cost")
    held_out, groups = np.empty_like(y_ms), space.groups(architectures)
    for i in range(len(y_ms)):
        others = groups != groups[i]
        held_out[i] = _least_absolute(rows[others]) @ rows[i] * y_ms[i]
    return _Line(WeightedSum(((float(slope) / unit, cost),), float(constant_ms)), held_out)
