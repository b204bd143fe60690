"""``search`` on images with latencies of a table: priced by what was learnt from it, trained, looked up, never timed.

A network that stands in the table has its latency there; of another one nobody knows more than the prediction, and so
its result is no pass: it is ``unreliable`` until the network is measured on a device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import torch

from .. import outputs
from ..data.result import RESULT, read_result
from ..data.table import conditions_for, read_table
from ..data.table_file import header_of, open_table
from ..measurement.label import Estimate
from ..measurement.measurement import Measurement
from ..measurement.told import Told
from ..predictor.interval import COVERAGE
from ..predictor.learn import Learnt
from ..search import processes
from ..search.evaluator import check_compute
from ..search.price import Price
from ..search.result import NETWORK
from ..search.run import search as run
from ..search.searchers.checkpoint import forget, is_checkpoint
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from ..tasks.table import table_column
from .fitting import proxy_for, tell
from .kind import Kind
from .on_device import PARTS, TRAININGS, UNFINISHED, StageTold, options_of, outcome_of, space_and_task, text_of
from .outcome import VERDICT_CODES, Outcome, plain, silent
from .request import SearchRequest
from .tabular import learn_latency, price_of


class SearchOnImages(Kind):
    """Searches on images, with latencies of a table."""

    def __call__(self, request: SearchRequest) -> Outcome:
        """Search for one target, look up what was found, and write the result into the request's folder.

        Raises:
            UsageError: no such file or column, or too few rows.
            InputRefusedError: the table cannot be read or believed.
        """
        out, target_ms = request.what.out, request.target_ms
        outputs.check([out / UNFINISHED, self.supernet], is_checkpoint)
        check_compute(processes.own_compute(request.training.compute))
        latency = request.table.latency or ""
        column = table_column(latency)
        assert column is not None  # the request was checked
        space, task = space_and_task(request, header_of(open_table(column[0])).get("space"))
        self.method.check(space, target_ms=target_ms, lam=request.target.lam)
        progress = self.progress if processes.first() else silent
        tell(task, progress)
        torch.set_num_threads(request.training.train_threads)
        (where,) = conditions_for([column[0]], request.table.where)
        table = read_table(column[0], space, column[1], where=where)
        rows = min(request.table.latency_rows, len(table.y_ms))
        learnt = learn_latency(space, table, rows, seed=request.what.seed)
        book = _Book(space, dict(zip(table.architectures, table.y_ms.tolist(), strict=True)), learnt)
        out.mkdir(parents=True, exist_ok=True)
        result = run(
            space, self.method, book.price(upper_bound=request.pricing.upper_bound), task, measure=book.look_up,
            target_ms=target_ms, lam=request.target.lam, proxy=proxy_for(request.what.proxy, space),
            options=options_of(request, self.supernet), progress=StageTold(progress, self.stop),
        )  # fmt: skip
        provenance = plain({
            "device": {"table": str(column[0]), "column": column[1], "where": where},
            "predictor": {"model": learnt.model, "encoding": learnt.encoding, "rows": rows, "table": latency},
            "asked": request.asked(self.cost), "command": self.command, "networks": len(table.y_ms),
        })  # fmt: skip

        def written() -> Outcome:
            replace(result, remarks=[*result.remarks, *table.remarks]).save(out, provenance)
            forget(out, PARTS)
            forget(out / TRAININGS)
            return _answer(outcome_of(out), out)

        return processes.by_first(written)

    def again(self, request: SearchRequest) -> Outcome:
        """Tell a result of a network that no table knows as it stands: here nothing is measured."""
        out = request.what.out
        there = json.loads((out / RESULT).read_bytes())
        done = Outcome(there | {"kept": True}, self.text(out), VERDICT_CODES[there["verdict"]], folders=(out,))
        return _answer(done, out)

    def text(self, out: Path) -> str:
        """Return the result in a folder for people."""
        return text_of(read_result(out))


@dataclass(frozen=True)
class _Book:
    """Latencies of a table, and what was learnt from them.

    Attributes:
        space: Space of the networks.
        known_ms: what the table says.
        learnt: what is said of all others.
    """

    space: SearchSpace
    known_ms: Mapping[Architecture, float]
    learnt: Learnt

    def price(self, *, upper_bound: bool) -> Price:
        """Return what networks are predicted to cost, and what those of the table do."""
        return replace(price_of(self.learnt, self.space, upper_bound=upper_bound), measured_ms=self.connected_ms)

    @property
    def connected_ms(self) -> dict[Architecture, float]:
        """Return the networks of the table in which something leads from input to output."""
        return {a: ms for a, ms in self.known_ms.items() if self.space.is_connected(a)}

    def look_up(self, architectures: Sequence[Architecture]) -> list[Measurement]:
        """Return what the table says of each network, or, where it has none, the prediction with its interval."""
        predicted_ms = price_of(self.learnt, self.space).predict(architectures)
        low, high = self.learnt.conformal.interval(predicted_ms, COVERAGE)
        found: list[Measurement] = []
        for n, architecture in enumerate(architectures):
            own_ms = self.known_ms.get(architecture)
            told_ms = (float(predicted_ms[n]), float(low[n]), float(high[n]))
            ends = told_ms if own_ms is None else (own_ms, own_ms, own_ms)
            label = Estimate(*ends, "told", 0, 0)
            about = (architecture.key, self.space.spec, "table", {}, "", "wall")
            found.append(Told(*about, label=label, known=own_ms is not None))
        return found


def _answer(done: Outcome, out: Path) -> Outcome:
    """Return an outcome with the command that makes an answer of a prediction."""
    if done.document["found"]["measured"]["verdict"] != "predicted":
        return done
    return replace(
        done,
        text=f"{done.text}\nthe table has no latency of this network: what is told is a prediction, until it is "
        "measured",
        following=f"tempograd measure {quote(str(out / NETWORK))} --device local",
    )
