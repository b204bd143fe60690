"""A trained network made faster: by ``tempograd shrink``, by torch-pruning, by a narrower network; who keeps more?

    python benchmarks/shrink.py --cifar10 cifar10/ --out shrink/ [--networks resnet20 mobilenet] [--seeds 3]
        [--one-base] [--method METHOD]
    python benchmarks/shrink.py --cifar10 cifar10/ --out /tmp/shrink --tiny --device simulated:seed=1 --shares 0.9

A ResNet-20 and a network like MobileNetV2 are trained, and made to take 0.7 and 0.5 of their measured latency, by

- ``torch_pruning``: its magnitude pruning of groups, the same share of every group, channels in multiples of 4, which
  is kind to the runtime. The share is the one whose measured latency is nearest;
- ``uniform``: a network of fewer channels all over, trained from random weights for as many epochs as the other two
  got in all; its factor is the one nearest in measured latency to what torch-pruning made;
- ``tempograd``: the verb ``shrink`` as it stands, asked for the very latency of what torch-pruning made, and its own
  measured verdict. So it is never the slowest of these two.

All learn by the same recipe on the same images and by the same code, the first and the last for as many epochs from
the trained network, which is their teacher. The images of the part ``law`` train none of them; ``tempograd`` looks at
them to choose. With ``--one-base`` the trained network is one for all seeds, which then are those of pruning, search
and fine-tuning alone. What is compared is measured in turn, in one call. Rows go to ``OUT/rows.jsonl``; the same
command goes on where it was stopped. The last line is the summary, as JSON: accuracies with standard errors over seeds,
measured latency as a share of the whole, differences of ``tempograd`` to the others, paired by seed.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning
from pyarrow import parquet
from torch import Tensor, nn

import tempograd as tg
from tempograd.errors import TargetError
from tempograd.search.steps import seeded
from tempograd.search.teacher import Teacher, of_module
from tempograd.search.trainer import Trainer
from tempograd.search.training import Training
from tempograd.spaces.export import to_onnx
from tempograd.spaces.graph import Graph
from tempograd.spaces.network import Network
from tempograd.spaces.tracing.tracer import Tracer
from tempograd.tasks.load import load_task
from tempograd.tasks.task import Task
from tempograd.verbs.measure import measure
from tempograd.verbs.shrink import shrink

STEP = 4  # channels go in multiples of it, for all
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
        parts.append(nn.Sequential(block(inputs, out, stride), *[block(out, out, 1) for _ in range(blocks - 1)]))
        inputs = out
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def read(module: nn.Module, example: Tensor) -> tuple[Graph, dict[str, Any]]:
    """Return a module as the graph and the weights that networks of spaces have."""
    tracer = Tracer(module, [example.repeat(2, 1, 1, 1)])
    graph = tracer.run()
    return graph, {name: value.detach().numpy() for name, value in tracer.start.items()}


def built(module: nn.Module, example: Tensor) -> Network:
    """Return a module as networks of spaces are built, layer by layer, with its weights.

    torch's own strided 1x1 convolutions of few channels may write past their buffer, see ``spaces/pointwise.py``.
    """
    graph, weights = read(module, example)
    return Network(graph).load_arrays(weights)


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
    return own


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
        return to_onnx(*read(module, self.example))

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

    def near(self, kind: str, way: str, share: float) -> float:
        """Return the ratio whose network is nearest to a share of the whole's latency."""
        grid = self.grid(kind)[way]
        return min(grid, key=lambda ratio: abs(grid[ratio] - share))

    def learnt(
        self, module: nn.Module, name: str, epochs: int, seed: int, task: Task, teacher: Teacher | None = None
    ) -> float:
        """Train a module by the recipe, its weights in place, and return its accuracy on the test part."""
        network = built(module, self.example)
        trainer = Trainer(network, task, Training(epochs=epochs), seed=seed, compute="cpu", name=name, teacher=teacher)
        kept = trainer.run(trainer.file(self.out / "trainings"), lambda *told: None)
        trained = {key.replace("/", "."): torch.from_numpy(value) for key, value in kept.arrays().items()}
        module.load_state_dict(module.state_dict() | trained)
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
        base = asked.first_seed if asked.one_base else seed
        with seeded(base):
            whole = network(kind, 1.0, asked.blocks)
        task = load_task(self.task, seed=base)
        fitted = task.fitted(tg.shrink(whole, self.example, step=STEP))
        accuracy = self.learnt(whole, f"{kind} whole", asked.epochs, base, fitted)
        whole.eval()
        for share, row_id in ids.items():
            if row_id not in self.rows:
                ratio = self.near(kind, "torch_pruning", share)
                aim = self.grid(kind)["torch_pruning"][ratio]
                ratios = {"torch_pruning": ratio, "uniform": self.near(kind, "uniform", aim)}
                told = {"id": row_id, "network": kind, "seed": seed, "asked": share, "aim": aim, "ratios": ratios,
                        "whole_accuracy": accuracy}  # fmt: skip
                if (found := self._found(kind, seed, aim, whole, task, self.out / row_id)) is not None:
                    self.keep(told | self._compared(kind, seed, fitted, whole, ratios, found, self.out / row_id))

    def _found(
        self, kind: str, seed: int, aim: float, whole: nn.Module, task: Task, folder: Path
    ) -> dict[str, Any] | None:
        """Return what the verb says of the network that it found; None where none takes so little."""
        asked = self.asked
        folder.mkdir(parents=True, exist_ok=True)
        if (earlier := self.out / f"{kind}.db").exists():  # one space: what was measured serves every seed
            shutil.copy(earlier, folder / "run.db")
        try:
            done = shrink(
                tg.shrink(whole, self.example, step=STEP, options=asked.options), folder, share=aim, task=task,
                device=asked.device, count=asked.count, plan=asked.plan, method=asked.method,
                epochs=asked.search_epochs, train_epochs=asked.tune_epochs, seed=seed,
            )  # fmt: skip
        except TargetError as error:  # of the whole's latency more is overhead than may be left
            print(f"{folder}: {error}", flush=True)
            return None
        if not earlier.exists():
            shutil.copy(folder / "run.db", earlier)
        return done.document

    def _compared(
        self,
        kind: str,
        seed: int,
        task: Task,
        whole: nn.Module,
        ratios: dict[str, float],
        document: dict[str, Any],
        folder: Path,
    ) -> dict[str, Any]:
        asked = self.asked
        with seeded(seed):
            cut = pruned(whole, self.example, ratios["torch_pruning"])
            thin = network(kind, 1 - ratios["uniform"], asked.blocks)
        first, *others = self.latencies([whole, folder / "result", cut, thin])
        teacher = of_module(built(whole, self.example))
        accuracies = (
            document["found"]["accuracy"],
            self.learnt(cut, f"{kind} pruned {ratios['torch_pruning']}", asked.tune_epochs, seed, task, teacher),
            self.learnt(thin, f"{kind} thin {ratios['uniform']}", asked.epochs + asked.tune_epochs, seed, task),
        )
        return {
            "verdict": document["verdict"],
            "accuracy": dict(zip(WAYS, accuracies, strict=True)),
            "share": {way: ms / first for way, ms in zip(WAYS, others, strict=True)},
            "measured_ms": document["found"]["measured"]["latency_ms"], "target_ms": document["target_ms"],
            "found": document["found"]["text"], "seconds": document["seconds"],
        }  # fmt: skip


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
    parser.add_argument("--one-base", action="store_true", help="One trained network for all seeds.")
    parser.add_argument("--device", default="local")
    parser.add_argument("--plan", default="quick")
    parser.add_argument("--size", type=int, default=16, help="Height and width of images, 16 or 32.")
    parser.add_argument("--limit", type=int, default=10_000, help="Images that are kept.")
    parser.add_argument("--blocks", type=int, default=3, help="Blocks of a stage.")
    parser.add_argument("--epochs", type=int, default=20, help="Of the whole network.")
    parser.add_argument("--tune-epochs", type=int, default=10, help="Of fine-tuning.")
    parser.add_argument("--search-epochs", type=int, help="Of the search; else what the method takes.")
    parser.add_argument("--method", default="slim", help="Of the search.")
    parser.add_argument("--options", type=int, default=4, help="Sizes that each width is chosen from.")
    parser.add_argument("--count", type=int, default=120, help="Sub-networks that are measured.")
    parser.add_argument("--tiny", action="store_true", help="Minutes, to see that it runs.")
    asked = parser.parse_args()
    if asked.tiny:
        asked.seeds, asked.size, asked.limit, asked.blocks = 1, 16, 400, 2
        asked.epochs, asked.tune_epochs, asked.count = 2, 1, 40
    torch.set_num_threads(1)
    bench = Bench(asked)
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for kind in asked.networks:
            bench.case(kind, seed)
    print(json.dumps([*summary(list(bench.rows.values()))], indent=1))


if __name__ == "__main__":
    main()
