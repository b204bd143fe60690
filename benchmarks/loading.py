"""Images from files: how fast beside Pillow's own loop, in how much memory, and what several processes gain.

    python benchmarks/loading.py rate [--images 4000] [--size 256]      some 2 minutes
    python benchmarks/loading.py memory [--images 40000]                some 5 minutes
    python benchmarks/loading.py processes [--steps 8] [--batch 32]     some 5 minutes

All write a folder of 256x256 JPEG files in two classes, a few pictures under many names (hard links), so that the disk
holds little and the loader reads and decodes as much as of distinct ones. ``rate`` takes turns: threads that only open,
convert and hand over each image, the loader's shuffled batches of bytes as they go to the device that trains, and the
same made ready by this CPU, as where it trains itself. ``memory`` trains on a folder that is
8 GB decoded, its address space limited as by ``ulimit -v 6000000``. ``processes`` trains a network of ``mbconv`` at 224
in one process and, by ``torchrun``, in two, one thread each, in turn, and holds their losses against each other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from PIL import Image

LIMIT_BYTES = 6_000_000 * 1024
SPACE = "mbconv:family=ofa,size=224"


def written(folder: Path, count: int, *, pictures: int = 64) -> list[str]:
    """Write so many names of a few pictures, smooth with some noise, as photographs are; return the paths."""
    rng = np.random.default_rng(0)
    paths: list[str] = []
    for i in range(count):
        path = folder / "train" / "ab"[i % 2] / f"{i:06}.jpg"
        if i < 2:
            path.parent.mkdir(parents=True)
        if i < pictures:
            smooth = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((256, 256))
            noisy = np.asarray(smooth).astype(int) + rng.integers(-12, 12, (256, 256, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        else:
            os.link(paths[i % pictures], path)
        paths.append(str(path))
    return paths


def rate(a: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return images a second of the loader and of Pillow's loop, in turn on the same cores, by wall and CPU time."""
    import torch

    from tempograd.search.malloc import keep_freed_memory
    from tempograd.tasks import pictures
    from tempograd.tasks.load import load_task

    keep_freed_memory()  # as every training does
    pictures.MEMORY_BYTES = 0
    written(folder, a.images)
    part: Any = load_task(f"imagefolder:{folder},size={a.size}").weights
    cores = len(os.sched_getaffinity(0))
    count, source = len(part) // 64 * 64, part.examples.source
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:count].tolist()
    paths = [source.place(int(part.examples.index[i])) for i in order]  # of the very pass that the loader makes

    def alone(path: str) -> None:
        with Image.open(path) as image:
            found = image.convert("RGB")
            np.asarray(found if a.size == 256 else found.resize((a.size, a.size), Image.Resampling.BILINEAR))

    def pillow(count: int) -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda at: [alone(path) for path in paths[at : at + 8]], range(0, count, 8)))

    def loader(batches: Any, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        assert sum(len(labels) for _, labels in batches(64, generator, augment=a.augment)) == count

    rows = list[dict[str, float]]()
    loader(part.kept, count)
    runs = {"pillow": pillow, "loader": partial(loader, part.kept), "ready": partial(loader, part.batches)}
    for _ in range(a.rounds):
        took: dict[str, float] = {}
        for name, run in runs.items():
            wall, cpu = perf_counter(), process_time()
            run(count)
            took |= {name: count / (perf_counter() - wall), f"{name}_cpu_s": process_time() - cpu}
        rows.append(took)
    shares: dict[str, float] = {}
    for name in ("loader", "ready"):
        shares[f"{name}_to_pillow"] = median(row[name] / row["pillow"] for row in rows)
        shares[f"{name}_by_cpu_time"] = median(row["pillow_cpu_s"] / row[f"{name}_cpu_s"] for row in rows)
    return {"images": count, "cores": cores, "size": a.size, "augmented": a.augment, **shares, "rounds": rows}


def memory(a: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train a small network for one epoch under the limit; return what the set and the process took."""
    written(folder, a.images)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    from tempograd import registry
    from tempograd.search.evaluator import train
    from tempograd.search.training import Training
    from tempograd.tasks.load import load_task

    space = registry.create("space", "nasbench201:cells=1,width=4,size=32,classes=2")
    task = load_task(f"imagefolder:{folder},size=256").fitted(space)
    start = perf_counter()
    trained = train(space.architecture((3, 1, 1, 1, 1, 3)), space, task, Training(epochs=1), seed=0)
    return {
        "images": a.images, "decoded_bytes": a.images * 3 * 256**2, "limit_bytes": LIMIT_BYTES,
        "largest_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "history": trained.record["history"], "score": trained.score, "seconds": perf_counter() - start,
    }  # fmt: skip


def processes(a: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return steps a second of one and of two processes, and how far their losses are from each other."""
    written(folder, 2 * a.batch * a.steps + 8)
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    own = [str(Path(__file__).resolve()), "steps", "--folder", str(folder)]
    own += ["--batch", str(a.batch), "--out", str(folder / "told.json")]
    for _ in range(a.rounds):
        for count in found:
            torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
            command = [sys.executable, *(torchrun if count > 1 else []), *own]
            subprocess.run(command, env=environment, check=True)
            found[count].append(json.loads((folder / "told.json").read_text()))
    losses = [np.array(runs[0]["losses"]) for runs in found.values()]
    rates = {count: [1 / median(run["seconds"][2:]) for run in runs] for count, runs in found.items()}
    return {
        "steps_per_second": rates, "gain": median(two / one for one, two in zip(rates[1], rates[2], strict=True)),
        "largest_difference_of_losses": float(np.abs(losses[0] - losses[1]).max()), "losses": losses[0].tolist(),
    }  # fmt: skip


def steps(a: argparse.Namespace) -> None:
    """Train one network for an epoch, in each of the processes that were started; the first writes what it took."""
    import torch

    from tempograd import registry
    from tempograd.search import processes as several
    from tempograd.search.evaluator import train
    from tempograd.search.trainer import Trainer
    from tempograd.search.training import Training
    from tempograd.tasks import pictures
    from tempograd.tasks.load import load_task

    torch.set_num_threads(1)
    pictures.MEMORY_BYTES = 0
    step, losses, ends = Trainer._step, list[float](), [perf_counter()]

    def noted(self: Trainer, *args: Any) -> None:
        step(self, *args)
        losses.append(self.tallies["loss"][-1])
        ends.append(perf_counter())

    Trainer._step = noted  # pyright: ignore[reportPrivateUsage]
    space = registry.create("space", f"{SPACE},classes=2")
    task = load_task(f"imagefolder:{a.folder},size=224").fitted(space)
    type(task).score = lambda *_: 0.0  # pyright: ignore[reportAttributeAccessIssue]
    with several.together():
        (architecture,) = space.sample(1, np.random.default_rng(0))
        train(architecture, space, task, Training(epochs=1, batch=a.batch), seed=0)
        if several.first():
            told = {"losses": losses, "seconds": np.diff(ends).tolist()}
            Path(a.out).write_text(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "memory", "processes", "steps"])
    parser.add_argument("--images", type=int)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--folder")
    parser.add_argument("--out")
    a = parser.parse_args()
    if a.what == "steps":
        return steps(a)
    a.images = a.images or {"rate": 4000, "memory": 40_000}.get(a.what, 0)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"rate": rate, "memory": memory, "processes": processes}[a.what](a, Path(folder))))
    return None


if __name__ == "__main__":
    main()
