"""Does tempograd's protocol repeat its numbers better than the peers' at equal wall time? One command runs and draws
all.

python -m tempograd.benchmarks.repeatability.run --out runs/repeatability [--conditions quiet load found]

Replicates follow each other; in each the tools take turns in random order, each in a fresh process that holds all
networks. Results are appended as they come: stopped at any moment, by ``--minutes`` too, the same command goes on.
About a minute: ``--networks 6 --replicates 2 --conditions quiet --no-throughput``. At most 20 minutes on two
quiet cores, with every peer in turn: ``--short``, which is 20 networks and 8 minutes each of quiet and load, then the
cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tempograd import registry
from tempograd.devices.places.local import LocalDevice
from tempograd.profiler.plan import QUICK, Plan
from tempograd.spaces.layers import Conv
from tempograd.spaces.space import SearchSpace

from . import analyse, said, throughput
from .harness import MISSING

SPACE = "nasbench201:cells=1,width=32"
CONDITIONS = ("quiet", "load", "found", "predict")  # predict: the second set, under load
LOADED = ("load", "predict")
TOOLS = sorted(path.stem for path in Path(__file__).with_name("tools").glob("*.py"))
OWN_ENGINE = ("openvino",)  # no level to learn or rank beside the others
PACKAGES = ("onnxruntime", "torch", "pyperf", "google-benchmark", "mlcommons-loadgen", "openvino", "numpy")
START_UP = (-2, -1)  # replicates of our tool before all: the first calibrates, the second gives the first budget
MIN_SEEN = 3  # processes of a tool before its overrun is believed
SECOND_SET = (1.0, 0.5)  # share of the second set that every tool times, by replicate
REFERENCE_BURST_MS = 20.0
SHORT: dict[str, Any] = {"conditions": ["quiet", "load"], "networks": 20, "second": 0, "minutes": 8.0}
MODULE = __package__


@dataclass(frozen=True)
class Models:
    """Networks on the disk: ``(key, path, SHA-256)`` each, the first set and the second."""

    space: str
    first: tuple[tuple[str, str, str], ...]
    second: tuple[tuple[str, str, str], ...]


def build(spec: str, folder: Path, first: int, second: int, seed: int) -> Models:
    """Write two sets of different networks as ONNX; those in which nothing is computed from the input are left out."""
    space: SearchSpace = registry.create("space", spec)
    drawn = space.sample(2 * (first + second), np.random.default_rng([seed, 11]))
    connected = [a for a in drawn if any(isinstance(n.operation, Conv) for n, _ in space.network_graph(a).walk())]
    folder.mkdir(parents=True, exist_ok=True)
    written = [(a.key, *space.write_onnx(a, folder)) for a in connected[: first + second]]
    rows = [(key, str(path), digest) for key, path, digest in written]
    if len(rows) < first + second:
        raise SystemExit(f"{spec} gave {len(rows)} connected networks; {first + second} are needed: ask for fewer")
    return Models(space.spec, tuple(rows[:first]), tuple(rows[first:]))


class Raw:
    """The folder of one condition: ``runs.jsonl`` (a line a process) and the stores of our own tool.

    ``before`` are runs of another condition under the same load, from which overruns are known.
    """

    def __init__(self, folder: Path, before: Sequence[dict[str, Any]] = ()) -> None:
        self.folder = folder
        self._before = before
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "runs.jsonl"
        self.runs = said.read_runs(self._path)

    def done(self, tool: str, replicate: int) -> bool:
        """Return whether this process has been run."""
        return any(r["replicate"] == replicate for r in self._of(tool))

    def append(self, run: dict[str, Any]) -> None:
        """Keep what a process gave."""
        self.runs.append(run)
        with self._path.open("a") as file:
            file.write(json.dumps(run) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def budget_s(self) -> float:
        """Return the wall time a network that our own tool has needed in this condition so far."""
        return median(r["timed_s"] / r["networks"] for r in self._of("tempograd") if r["replicate"] >= -1)

    def overrun(self, tool: str) -> float:
        """Return how many times the wall time that it was given a tool has spent in this condition so far.

        Those that count iterations or CPU time spend more under load. They are given less then, so that all spend the
        same; what they spent stands in the table.
        """
        runs = [*(r for r in self._before if r["tool"] == tool), *self._of(tool)]
        seen = [r["spent_s"] / r["budget_s"] for r in runs if r["spent_s"] > 0]
        return min(max(median(seen), 0.5), 10.0) if len(seen) >= MIN_SEEN else 1.0

    def _of(self, tool: str) -> list[dict[str, Any]]:
        return [r for r in self.runs if r["tool"] == tool]


class Bench:
    """Runs one condition."""

    def __init__(self, raw: Raw, models: Models, arguments: argparse.Namespace, condition: str, end_s: float) -> None:
        self._raw, self._models, self._arguments = raw, models, arguments
        self._condition, self._end_s = condition, end_s
        self._tools: list[str] = arguments.tools
        self._missing: set[str] = set()
        device = LocalDevice()
        self._cores, self._idle_cores = list(device.timed_cores), list(device.idle_cores)

    def run(self) -> None:
        """Run what is missing, until it is done or the time is up."""
        for replicate in START_UP:
            self._turn("tempograd", replicate, self._models.first)
        predict = self._condition == "predict"
        replicates = len(SECOND_SET) if predict else self._arguments.replicates
        for replicate in range(replicates):
            order = np.random.default_rng([self._arguments.seed, replicate, 12]).permutation(len(self._tools))
            tools = [self._tools[i] for i in order]
            models = self._models.first
            if predict:
                tools = [tool for tool in tools if tool not in OWN_ENGINE]
                models = self._models.second[: int(SECOND_SET[replicate] * len(self._models.second))]
            for tool in tools if predict else [*tools, "reference"]:
                if time.monotonic() > self._end_s:
                    print(f"{self._condition}: time is up in replicate {replicate + 1}; the same command goes on")
                    return
                self._turn(tool, replicate, models)
            print(f"{self._condition}: replicate {replicate + 1} of {replicates}", flush=True)

    def _turn(self, tool: str, replicate: int, models: Sequence[tuple[str, str, str]]) -> None:
        if tool in self._missing or self._raw.done(tool, replicate):
            return
        ours = tool in ("tempograd", "reference")
        target_s = 0.0 if ours else self._arguments.budget or self._raw.budget_s
        budget_s = target_s if ours else target_s / self._raw.overrun(tool)
        request: dict[str, Any] = {
            "models": models, "budget_s": budget_s, "cores": self._cores, "idle_cores": self._idle_cores,
            "seed": replicate - START_UP[0],
        }  # fmt: skip
        if ours:
            plan = QUICK if tool == "tempograd" else self._reference_plan
            store = str(self._raw.folder / f"{tool}.db")
            request |= {"space": self._models.space, "plan": asdict(plan), "store": store}
        started_s, begin = time.time(), time.perf_counter()
        lines = self._process("tempograd" if ours else tool, request)
        if lines is None:
            self._missing.add(tool)
            return
        head, *labels = lines
        self._raw.append({
            "condition": self._condition, "replicate": replicate, "tool": tool, "seed": request["seed"],
            "started_s": started_s, "total_s": time.perf_counter() - begin, "target_s": target_s, "budget_s": budget_s,
            "spent_s": _first_variant_s(labels), "networks": len(models), **head,
            "labels": labels if tool != "reference" else [],
        })  # fmt: skip

    @property
    def _reference_plan(self) -> Plan:
        rounds = self._arguments.reference_rounds
        return Plan("reference", REFERENCE_BURST_MS, (rounds,), 0.01, 0.985, requeue=False)

    def _process(self, tool: str, request: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Run a tool on a request; None if its package is missing or it failed, which is told."""
        limit_s = 120 + 30 * max(request["budget_s"], 1.0) * len(request["models"])
        with TemporaryDirectory() as folder:
            question, answer, log = (Path(folder, name) for name in ("request.json", "answer.jsonl", "log"))
            question.write_text(json.dumps(request))
            command = [sys.executable, "-P", "-m", f"{MODULE}.tools.{tool}", str(question), str(answer)]
            with log.open("wb") as out:
                done = subprocess.run(command, stdout=out, stderr=out, cwd=folder, timeout=limit_s, check=False)
            if done.returncode == 0:
                return [json.loads(line) for line in answer.read_text().splitlines()]
            tail = log.read_text(errors="replace").strip()[-2000:]
        if tool == "tempograd":
            raise SystemExit(f"tempograd ended with status {done.returncode}:\n{tail}")
        why = "left out" if done.returncode == MISSING else f"left out, it ended with status {done.returncode}"
        print(f"{tool}: {why}: {tail}", file=sys.stderr, flush=True)
        return None


def _first_variant_s(labels: Sequence[dict[str, Any]]) -> float:
    """Return the mean wall time a network of a tool's first variant, the one that is to spend the budget."""
    return float(np.mean([label["wall_s"] for label in labels if label["variant"] == labels[0]["variant"]] or [0.0]))


@contextmanager
def load(condition: str, seed: int) -> Generator[None]:
    """Run the load generator meanwhile, if this is its condition."""
    if condition not in LOADED:
        yield
        return
    core = LocalDevice().timed_cores[0]
    command = [sys.executable, "-P", "-m", f"{MODULE}.load", "--core", str(core), "--seed", str(seed)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/repeatability"), help="folder of the raw data")
    parser.add_argument("--docs", type=Path, help="folder that table and figures are written to; default: OUT")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--space", default=SPACE)
    parser.add_argument("--networks", type=int, default=40, help="of the first set")
    parser.add_argument("--second", type=int, default=240, help="of the second set, for predict")
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument(
        "--budget", type=float, help="wall seconds a network of the peers, for a trial; default: what tempograd needs"
    )
    parser.add_argument("--reference-rounds", type=int, default=3, help="of the long reference, after every replicate")
    parser.add_argument("--minutes", type=float, default=18, help="after which a condition stops")
    parser.add_argument("--throughput", action=argparse.BooleanOptionalAction, default=True, help="T1 and T2 as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--short",
        action="store_true",
        help="at most 20 minutes in all: 20 networks, 8 minutes each of quiet and load, the cost",
    )
    arguments = parser.parse_args()
    if arguments.short:
        vars(arguments).update(SHORT)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    out: Path = arguments.out.resolve()
    models = build(arguments.space, out / "models", arguments.networks, arguments.second, arguments.seed)
    device = LocalDevice()
    for condition in arguments.conditions:
        raw = Raw(out / condition, Raw(out / "load").runs if condition == "predict" else ())
        note = {
            "at_s": time.time(), "arguments": {k: str(v) for k, v in vars(arguments).items()},
            "space": models.space, "first": [key for key, *_ in models.first],
            "second": [key for key, *_ in models.second], "environment": device.environment(),
            "fingerprint": json.loads(device.fingerprint.to_json()),
            "versions": {package: installed(package) for package in PACKAGES},
        }  # fmt: skip
        with (raw.folder / "environment.jsonl").open("a") as file:
            file.write(json.dumps(note) + "\n")
        with load(condition, arguments.seed + len(raw.runs)):
            Bench(raw, models, arguments, condition, time.monotonic() + 60 * arguments.minutes).run()
    if arguments.throughput:
        throughput.write(out, models.first[:5])
    analyse.write(out, arguments.docs or out)


if __name__ == "__main__":
    main()
