"""A trained network made faster: by ``tempograd shrink``, by torch-pruning, by a narrower network; who keeps more?

    python benchmarks/shrink.py --cifar10 cifar10/ --out shrink/ [--networks resnet20 mobilenet] [--seeds 3]
        [--method ofa:largest=1,draws=1,batch=64,queries=80]
    python benchmarks/shrink.py --cifar10 cifar10/ --out /tmp/shrink --tiny --device simulated:seed=1 --shares 0.9

A ResNet-20 and a network like MobileNetV2 are trained, and made to take 0.7 and 0.5 of their measured latency, by

- ``tempograd``: the verb ``shrink`` as it stands, and its own measured verdict;
- ``torch_pruning``: its magnitude pruning of groups, the same share of every group, channels in multiples of 4, which
  is kind to the runtime. The share is the one nearest in latency to what ``tempograd`` found that is no slower;
- ``uniform``: a network of fewer channels all over, trained from random weights for as many epochs as the other two
  got in all; its factor is chosen alike.

All learn by the same recipe on the same images, the first two for as many epochs from the trained network, which is
their teacher. What is compared is measured in turn, in one call. Rows go to ``OUT/rows.jsonl``; the same command goes
on where it was stopped. The last line is the summary, as JSON: accuracies with standard errors over seeds, measured
latency as a share of the whole, differences of ``tempograd`` to the others, paired by seed.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
import torch_pruning
from pyarrow import parquet
from torch import Tensor, nn

import tempograd as tg
from tempograd.errors import TargetError
from tempograd.search.steps import seeded
from tempograd.search.teacher import of_module
from tempograd.search.trainer import Trainer
from tempograd.search.training import Training
from tempograd.spaces.export import to_onnx
from tempograd.spaces.network import Network
from tempograd.spaces.tracing.tracer import Tracer
from tempograd.tasks.load import load_task
from tempograd.tasks.task import Task
from tempograd.verbs.measure import measure
from tempograd.verbs.shrink import shrink

STEP = 4  # channels go in multiples of it, for all
NEAREST, ALIKE = 3, 1.02  # candidates that are timed beside what was found; how much slower than it is no slower
RATIOS = tuple(i / 16 for i in range(1, 13))
WAYS = ("tempograd", "torch_pruning", "uniform")


def conv(inputs: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out))


def channels(published: int, width: float) -> int:
    return max(STEP, STEP * round(published * width / STEP))


class Basic(nn.Module):
    """A residual block of ResNet-20."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv(inputs, out, 3, stride), conv(out, out, 3)
        self.short = nn.Identity() if stride == 1 and inputs == out else conv(inputs, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.short(x))


class Inverted(nn.Module):
    """An inverted residual of MobileNetV2, expanded by 4."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()
        inside = 4 * inputs
        self.body = nn.Sequential(
            conv(inputs, inside, 1), nn.ReLU6(), conv(inside, inside, 3, stride, inside), nn.ReLU6(),
            conv(inside, out, 1),
        )  # fmt: skip
        self.adds = stride == 1 and inputs == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def network(kind: str, width: float, blocks: int) -> nn.Module:
    """Return a network with random weights, of ``width`` times the published channels."""
    block, sizes = (Basic, (16, 32, 64)) if kind == "resnet20" else (Inverted, (16, 32, 64))
    inputs = channels(sizes[0], width)
    parts: list[nn.Module] = [conv(3, inputs, 3), nn.ReLU()]
    for i, size in enumerate(sizes):
        out, stride = channels(size, width), 1 if i == 0 else 2
        parts.append(block(inputs, out, stride))
        parts.append(nn.Sequential(*[block(out, out, 1) for _ in range(blocks - 1)]))
        inputs = out
    found = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))
    return said(found)


def said(module: nn.Module) -> nn.Module:
    """Tell what the house's trainer asks of a network: the shape that it gives."""
    cast(Any, module).graph = SimpleNamespace(shape=(10,))
    return module


def few(source: Path, kept: Path, limit: int) -> Path:
    """Return a folder of the first images of each class, as many of either part: quick to read, time and again."""
    kept.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        if not (kept / f"{part}.parquet").exists():
            rows = parquet.read_table(source / f"{part}.parquet")
            labels = rows.column("label").to_numpy()
            first = [np.flatnonzero(labels == label)[: limit // 10] for label in range(10)]
            parquet.write_table(rows.take(np.sort(np.concatenate(first))), kept / f"{part}.parquet")
    return kept


def pruned(whole: nn.Module, example: Tensor, ratio: float) -> nn.Module:
    """Return a copy of a network that torch-pruning took the same share of every group of channels from."""
    own = copy.deepcopy(whole).eval()
    last = [module for module in own.modules() if isinstance(module, nn.Linear)]
    pruner = torch_pruning.pruner.MagnitudePruner(
        own, example, importance=torch_pruning.importance.GroupMagnitudeImportance(p=2), pruning_ratio=ratio,
        round_to=STEP, ignored_layers=last,
    )  # fmt: skip
    pruner.step()
    return said(own)


class Bench:
    """One folder of one benchmark."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.out = asked, Path(asked.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.rows_path = self.out / "rows.jsonl"
        lines = self.rows_path.read_text().splitlines() if self.rows_path.exists() else []
        self.rows = {row["id"]: row for row in map(json.loads, (line for line in lines if line.endswith("}")))}
        self.example = torch.zeros(1, 3, asked.size, asked.size)
        self.task = f"cifar10:{few(asked.cifar10, self.out / f'images-{asked.limit}', asked.limit)}"
        self._grid: dict[str, dict[str, dict[float, float]]] = {}

    def latencies(self, networks: list[Any]) -> list[float]:
        """Return measured latencies in ms, of torch modules and folders of results that are timed in turn."""
        asked = self.asked
        models = [self.model(one) if isinstance(one, nn.Module) else one for one in networks]
        done = measure(models, device=asked.device, plan=asked.plan)
        return [row["latency_ms"] for row in done.document["networks"]]

    def model(self, module: nn.Module) -> Any:
        """Return a module as ONNX, written as networks of spaces are: no way is slower by its file alone."""
        tracer = Tracer(module, [self.example.repeat(2, 1, 1, 1)])
        graph = tracer.run()
        return to_onnx(graph, {name: value.detach().numpy() for name, value in tracer.start.items()})

    def grid(self, kind: str) -> dict[str, dict[float, float]]:
        """Return latency as a share of the whole by way and ratio; weights are no matter, so it is measured once."""
        path = self.out / f"{kind}-grid.json"
        if kind not in self._grid and path.exists():
            kept = json.loads(path.read_text())
            self._grid[kind] = {way: {float(ratio): share for ratio, share in kept[way].items()} for way in kept}
        if kind not in self._grid:
            whole, blocks = network(kind, 1.0, self.asked.blocks), self.asked.blocks
            makers: dict[str, Callable[[float], nn.Module]] = {
                "torch_pruning": lambda ratio: pruned(whole, self.example, ratio),
                "uniform": lambda ratio: network(kind, 1 - ratio, blocks),
            }
            found: dict[str, dict[float, float]] = {}
            for way, make in makers.items():
                made: dict[tuple[Any, ...], tuple[float, nn.Module]] = {}
                for ratio in RATIOS:  # several round to one network: the least share stands for them
                    one = make(ratio)
                    made.setdefault(tuple(tuple(p.shape) for p in one.parameters()), (ratio, one))
                first, *others = self.latencies([whole, *(one for _, one in made.values())])
                found[way] = {ratio: ms / first for (ratio, _), ms in zip(made.values(), others, strict=True)}
            path.write_text(json.dumps(found, indent=1))
            self._grid[kind] = found
        return self._grid[kind]

    def near(self, kind: str, way: str, share: float) -> list[float]:
        """Return the ratios whose networks are nearest to a share of the whole's latency."""
        grid = self.grid(kind)[way]
        return sorted(grid, key=lambda ratio: abs(grid[ratio] - share))[:NEAREST]

    def learnt(self, module: nn.Module, name: str, epochs: int, seed: int, task: Task, teacher: Any = None) -> float:
        """Train a network by the recipe and return its accuracy on the test part."""
        trainer = Trainer(
            cast(Network, module), task, Training(epochs=epochs), seed=seed, compute="cpu", name=name, teacher=teacher
        )
        kept = trainer.run(trainer.file(self.out / "trainings"), lambda *told: None)
        return task.score(kept, "test", "cpu")

    def keep(self, row: dict[str, Any]) -> None:
        self.rows[row["id"]] = row
        with self.rows_path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def case(self, kind: str, seed: int) -> None:
        """Train one network, and make it faster in every way that is not done yet."""
        ids = {share: f"{kind}/{seed}/{share}" for share in self.asked.shares}
        if all(one in self.rows for one in ids.values()):
            return
        asked = self.asked
        with seeded(seed):
            whole = network(kind, 1.0, asked.blocks)
        task = load_task(self.task, seed=seed).fitted(tg.shrink(whole, self.example, step=STEP))
        accuracy = self.learnt(whole, f"{kind} whole", asked.epochs, seed, task)
        whole.eval()
        space = tg.shrink(whole, self.example, step=STEP)
        for share, row_id in ids.items():
            if row_id in self.rows:
                continue
            folder = self.out / row_id
            folder.mkdir(parents=True, exist_ok=True)
            if (earlier := self.out / f"{kind}.db").exists():  # one space: what was measured serves every seed
                shutil.copy(earlier, folder / "run.db")
            try:
                done = shrink(
                    space, folder, share=share, task=self.task, device=asked.device, count=asked.count,
                    plan=asked.plan, method=asked.method, epochs=asked.search_epochs, train_epochs=asked.tune_epochs,
                    seed=seed,
                )  # fmt: skip
            except TargetError as error:  # of the whole's latency more is overhead than may be left
                print(f"{row_id}: {error}", flush=True)
                continue
            if not earlier.exists():
                shutil.copy(folder / "run.db", earlier)
            row = {"id": row_id, "verdict": done.document["verdict"]}
            self.keep(row | self._compared(kind, seed, task, whole, accuracy, done.document, folder))

    def _compared(
        self,
        kind: str,
        seed: int,
        task: Task,
        whole: nn.Module,
        accuracy: float,
        document: dict[str, Any],
        folder: Path,
    ) -> dict[str, Any]:
        asked, own = self.asked, document["found"]["measured"]["latency_ms"] / document["shrink"]["whole_ms"]
        with seeded(seed):
            made = {
                "torch_pruning": {r: pruned(whole, self.example, r) for r in self.near(kind, "torch_pruning", own)},
                "uniform": {r: network(kind, 1 - r, asked.blocks) for r in self.near(kind, "uniform", own)},
            }
        rivals = [(way, ratio, one) for way, some in made.items() for ratio, one in some.items()]
        first, own_ms, *others = self.latencies([whole, folder / "result", *(one for _, _, one in rivals)])
        timed = [(ms, *rival) for ms, rival in zip(others, rivals, strict=True)]
        cut_ms, _, cut_ratio, cut = _equal([one for one in timed if one[1] == "torch_pruning"], own_ms)
        thin_ms, _, thin_ratio, thin = _equal([one for one in timed if one[1] == "uniform"], own_ms)
        name = f"{kind} {document['shrink']['share']}"
        accuracies = (
            document["found"]["accuracy"],
            self.learnt(cut, f"{name} pruned {cut_ratio}", asked.tune_epochs, seed, task, of_module(whole)),
            self.learnt(thin, f"{name} thin {thin_ratio}", asked.epochs + asked.tune_epochs, seed, task),
        )
        shares = {way: ms / first for way, ms in zip(WAYS, (own_ms, cut_ms, thin_ms), strict=True)}
        ratios = {"torch_pruning": cut_ratio, "uniform": thin_ratio}
        return {
            "network": kind, "seed": seed, "asked": document["shrink"]["share"], "whole_accuracy": accuracy,
            "accuracy": dict(zip(WAYS, accuracies, strict=True)),
            "share": shares,
            "measured_ms": document["found"]["measured"]["latency_ms"], "target_ms": document["target_ms"],
            "ratios": ratios, "found": document["found"]["text"],
        }  # fmt: skip


def _equal(timed: list[tuple[float, str, float, nn.Module]], own_ms: float) -> tuple[float, str, float, nn.Module]:
    """Return the slowest of what is no slower, or the fastest where all are slower."""
    fits = [one for one in timed if one[0] <= ALIKE * own_ms]
    return max(fits, key=lambda one: one[0]) if fits else min(timed, key=lambda one: one[0])


def summary(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield for every network and share the means over seeds, with standard errors."""
    for kind, share in sorted({(row["network"], row["asked"]) for row in rows}):
        mine = [row for row in rows if (row["network"], row["asked"]) == (kind, share)]
        accuracies = {way: np.array([100 * row["accuracy"][way] for row in mine]) for way in WAYS}
        yield {
            "network": kind, "asked": share, "seeds": len(mine), "passed": sum(r["verdict"] == "pass" for r in mine),
            "whole": _mean(np.array([100 * row["whole_accuracy"] for row in mine])),
            "accuracy": {way: _mean(values) for way, values in accuracies.items()},
            "share": {way: round(float(np.mean([row["share"][way] for row in mine])), 4) for way in WAYS},
            "tempograd above": {way: _mean(accuracies["tempograd"] - accuracies[way]) for way in WAYS[1:]},
        }  # fmt: skip


def _mean(values: Any) -> dict[str, float | None]:
    error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
    return {"mean": round(float(values.mean()), 3), "standard_error": error and round(error, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=("resnet20", "mobilenet"), default=["resnet20", "mobilenet"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.7, 0.5], help="Of the measured latency.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--device", default="local")
    parser.add_argument("--plan", default="quick")
    parser.add_argument("--size", type=int, default=16, help="Height and width of images, 16 or 32.")
    parser.add_argument("--limit", type=int, default=10_000, help="Images that are kept.")
    parser.add_argument("--blocks", type=int, default=3, help="Blocks of a stage.")
    parser.add_argument("--epochs", type=int, default=20, help="Of the whole network.")
    parser.add_argument("--tune-epochs", type=int, default=10, help="Of fine-tuning.")
    parser.add_argument("--search-epochs", type=int, default=4, help="Of the search.")
    parser.add_argument("--method", default="la_darts", help="Of the search.")
    parser.add_argument("--count", type=int, default=120, help="Sub-networks that are measured.")
    parser.add_argument("--tiny", action="store_true", help="Minutes, to see that it runs.")
    asked = parser.parse_args()
    if asked.tiny:
        asked.seeds, asked.size, asked.limit, asked.blocks = 1, 16, 400, 2
        asked.epochs, asked.tune_epochs, asked.search_epochs, asked.count = 2, 1, 1, 40
    torch.set_num_threads(1)
    bench = Bench(asked)
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for kind in asked.networks:
            bench.case(kind, seed)
    print(json.dumps([*summary(list(bench.rows.values()))], indent=1))


if __name__ == "__main__":
    main()
