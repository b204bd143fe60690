"""Mutated files of every kind that is opened: each must be refused, or read exactly as it was before it was mutated.

    python benchmarks/mutations.py [--total 12000] [--seed 0]

ONNX files go to a measuring process; stores, data sets, predictors and messages are read here. What this process or its
workers write outside the work folder is an error: an audit hook sees every file that is opened to be written, removed
or renamed here, and files beside the folder are compared in the end. An ONNX file with other weights is another
network, and a message has no checksum of its own (its link has): these two are ``taken`` where they are allowed, and
a message must come back as it was taken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tempograd.data import parquet
from tempograd.data.dataset import LatencyDataset
from tempograd.data.store import Store
from tempograd.devices.device import Model
from tempograd.devices.places.local import LocalDevice
from tempograd.errors import DeviceError, InputRefusedError, StoreError, UsageError
from tempograd.farm.messages import AgentState, Environment, Job, Result
from tempograd.farm.wire import decode, encode
from tempograd.predictor import saved
from tempograd.testing.networks import conv
from tempograd.verbs.collect import collect

ASSETS = Path(__file__).parents[1] / "tests" / "assets" / "0.1.0"
SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
REFUSED = (InputRefusedError, StoreError, UsageError)
BATCH = 50  # mutated networks in one measuring process


def mutated(chance: random.Random, content: bytes) -> bytes:
    """Return content with bits flipped, bytes changed, a stretch emptied, moved or doubled, or the end cut off."""
    found, size = bytearray(content), len(content)
    match chance.randrange(6):
        case 0:
            for _ in range(chance.randint(1, 4)):
                found[chance.randrange(size)] ^= 1 << chance.randrange(8)
        case 1:
            for _ in range(chance.randint(1, 8)):
                found[chance.randrange(size)] = chance.randrange(256)
        case 2:
            start = chance.randrange(size)
            stretch = chance.randint(1, 512)
            found[start : start + stretch] = bytes(len(found[start : start + stretch]))
        case 3:
            del found[chance.randrange(size) :]
        case 4:
            start, stretch = chance.randrange(size), chance.randint(1, 256)
            found[start:start] = found[start : start + stretch]
        case _:
            start, stretch, to = chance.randrange(size), chance.randint(1, 256), chance.randrange(size)
            found[to : to + stretch] = found[start : start + stretch]
    return bytes(found)


class Watch:
    """Remembers what this process does to files outside a folder."""

    WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def __init__(self, folder: Path) -> None:
        self.inside, self.outside = str(folder.resolve()), list[str]()
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & self.WRITES:
                self._note(event, path)
        elif event in ("os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
            self._note(event, arguments[0], arguments[-1])
        elif event in ("os.rename", "os.link"):
            for path, folder in zip(arguments[:2], arguments[2:], strict=True):
                self._note(event, path, folder)

    def _note(self, event: str, path: Any, folder: Any = -1) -> None:
        """Note a path, which may be relative to an open folder, unless it is inside."""
        if isinstance(path, str | bytes | os.PathLike):
            base = f"/proc/self/fd/{folder}" if isinstance(folder, int) and folder >= 0 else "."
            real = os.path.realpath(Path(base) / os.fsdecode(path))
            if not real.startswith((self.inside, "/dev/", "/proc/")) and "__pycache__" not in real:
                self.outside.append(f"{event} {real}")


def stores(folder: Path, chance: random.Random, each: int) -> Iterator[str]:
    original = folder / "original.db"
    collect(SPACE, original, device="simulated:crash=0.05", count=30)
    content = original.read_bytes()

    def read(path: Path) -> list[Any]:
        with Store(path) as store:
            return [list(store.measurements()), LatencyDataset.from_store(store).rows]

    expected = [repr(part) for part in read(original)]
    path = folder / "mutated.db"
    for _ in range(each):
        path.write_bytes(mutated(chance, content))
        yield judged(lambda: [repr(part) for part in read(path)] == expected)


def data_sets(folder: Path, chance: random.Random, each: int) -> Iterator[str]:
    with Store(folder / "original.db") as store:
        dataset = LatencyDataset.from_store(store)
    parquet.export(dataset, folder / "set")
    expected = repr(parquet.load(folder / "set").rows)
    files = [path for path in sorted((folder / "set").iterdir()) if path.name != "README.md"]
    for n in range(each):
        path = files[n % len(files)]
        content = path.read_bytes()
        path.write_bytes(mutated(chance, content))
        yield judged(lambda: repr(parquet.load(folder / "set").rows) == expected)
        path.write_bytes(content)


def predictors(folder: Path, chance: random.Random, each: int) -> Iterator[str]:
    truth = json.loads((ASSETS / "predictors" / "predictors.json").read_text())
    X, kept = np.array(truth["X"]), {}
    for name in truth["models"]:
        shutil.copytree(ASSETS / "predictors" / name, folder / name)
        kept[name] = [part.tolist() for part in saved.load(folder / name).predict(X, return_interval=True)]
    files = [path for name in kept for path in sorted((folder / name).iterdir()) if path.name != "README.md"]
    for n in range(each):
        path = files[n % len(files)]
        content = path.read_bytes()
        path.write_bytes(mutated(chance, content))

        def same(path: Path = path) -> bool:
            found = saved.load(path.parent).predict(X, return_interval=True)
            return [part.tolist() for part in found] == kept[path.parent.name]

        yield judged(same)
        path.write_bytes(content)


def messages(folder: Path, chance: random.Random, each: int) -> Iterator[str]:
    with sqlite3.connect(f"file:{ASSETS / 'farm' / 'queue.db'}?mode=ro&immutable=1", uri=True) as queue:
        bodies = [
            (kind, body)
            for kind, query in (
                (Job, "SELECT body FROM jobs"), (Result, "SELECT body FROM results"),
                (AgentState, "SELECT body FROM agents"), (Environment, "SELECT body FROM environments"),
            )
            for (body,) in queue.execute(query)
        ]  # fmt: skip
    for n in range(each):
        kind, body = bodies[n % len(bodies)]
        plain = encode(decode(body, kind))
        try:
            found = decode(mutated(chance, body if n % 2 else plain), kind)
        except InputRefusedError:
            yield "refused"
            continue
        except Exception as error:
            yield f"wrong: {type(error).__name__}: {error}"
            continue
        same = decode(encode(found), kind) == found
        yield ("exact" if found == decode(body, kind) else "taken") if same else "wrong: it does not come back"


def networks(folder: Path, chance: random.Random, each: int) -> Iterator[str]:
    originals = [conv(channels=4), conv(channels=8, size=4), conv(channels=2, size=2)]
    device, number = LocalDevice(load_timeout_s=5.0), 0
    while number < each:
        models: list[Model] = []
        for _ in range(min(BATCH, each - number)):
            content = mutated(chance, originals[number % len(originals)])
            path = folder / f"{number}.onnx"
            path.write_bytes(content)
            models.append(Model(str(number), path, sha256(content).hexdigest()))
            number += 1
        try:
            with device.open() as session:
                for loaded in session.load(models):
                    yield (
                        "refused"
                        if loaded.failure and loaded.failure.cause == "refused"
                        else (f"failed: {loaded.failure.cause}" if loaded.failure else "taken")
                    )
        except DeviceError as error:
            yield from [f"wrong: {error}"] * len(models)
        for model in models:
            model.path.unlink()


def judged(exact: Callable[[], bool]) -> str:
    """Return how reading ended: ``exact``, ``refused``, or what was wrong."""
    try:
        return "exact" if exact() else "wrong: other data"
    except REFUSED:
        return "refused"
    except Exception as error:
        return f"wrong: {type(error).__name__}: {error}"[:200]


SHARES = {stores: 0.15, data_sets: 0.2, predictors: 0.1, messages: 0.4, networks: 0.15}


def digests(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        beside, work = Path(name) / "beside", Path(name) / "work"
        shutil.copytree(ASSETS, beside)
        before = digests(beside)
        tempfile.tempdir = str(work)  # measuring processes work below it
        work.mkdir()
        watch = Watch(work)
        told: dict[str, Any] = {}
        for kind, share in SHARES.items():
            folder, start_s = work / kind.__name__, time.monotonic()
            if kind is data_sets:
                shutil.copytree(work / "stores", folder)
            else:
                folder.mkdir()
            counts = Counter(kind(folder, random.Random(f"{asked.seed} {kind.__name__}"), round(share * asked.total)))
            told[kind.__name__] = dict(counts) | {"seconds": round(time.monotonic() - start_s, 1)}
            print(json.dumps({kind.__name__: told[kind.__name__]}), file=sys.stderr, flush=True)
        wrong = sum(n for found in told.values() for how, n in found.items() if str(how).startswith("wrong"))
        total = sum(n for found in told.values() for how, n in found.items() if how != "seconds")
        print(json.dumps({"mutated": total, "wrong": wrong, "kinds": told, "written outside": watch.outside,
                          "files beside untouched": digests(beside) == before}, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
