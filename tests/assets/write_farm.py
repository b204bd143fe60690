"""Write the files of a farm that later versions must read: ``python tests/assets/write_farm.py tests/assets/0.1.0``.

A queue in a file and an agent's spool, both of a campaign that was stopped halfway, and the folder of a farm whose
server runs elsewhere. Run once for a release, never again: what it wrote is kept as it is. Nothing that is private in
it is of use: the keys of the authority and of the agents are removed, and the campaign's seed opens no server.
"""

import json
import shutil
import sqlite3
import sys
import threading
import time
import zlib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from tempograd import registry
from tempograd.data.store import Store
from tempograd.farm.agent.command import agent as lend
from tempograd.farm.agent.settings import Settings
from tempograd.farm.agent.spool import Spool
from tempograd.farm.connection import open_queue
from tempograd.farm.device import FarmDevice
from tempograd.farm.messages import Result
from tempograd.farm.server.folder import Farm
from tempograd.profiler.campaign import run
from tempograd.profiler.plan import QUICK, Items
from tempograd.profiler.verify import measure

DEVICE = "simulated:seed=1,slow=1.0"
WEIGHTS = "weights-0123456789ab.bin"


def items(space: str, count: int) -> Items:
    """Return networks of a name and some text, all with one file of weights beside them."""

    def build(key: str, folder: Path) -> tuple[Path, str]:
        (folder / WEIGHTS).write_bytes(b"weights")
        path = folder / f"{key}.onnx"
        path.write_text(f"{key} {WEIGHTS}")
        return path, sha256(path.read_bytes()).hexdigest()

    return Items(space, tuple(f"net{n}" for n in range(count)), build)


def table(path: Path, count: int) -> str:
    """Return the spec of a device that knows the times of so many networks."""
    path.write_text(json.dumps({f"net{n}": 1 + n / 50 for n in range(count)}))
    return f"{DEVICE},table={path}"


def write(folder: Path) -> None:
    """Fill a queue and a spool."""
    url = f"embedded:{folder / 'queue.db'}"
    device = table(folder / "truth.json", 12)
    settings = Settings(name="board", device_class="sim", url=url, spool=folder / "spool", device=device)
    place = FarmDevice("sim", queue=url)
    done, stop = threading.Event(), threading.Event()
    agent = threading.Thread(target=lend, args=[settings], kwargs={"stop": done})
    agent.start()
    with TemporaryDirectory() as elsewhere, Store(Path(elsewhere) / "store.db", write=True) as store:
        run(place, items("warm", 2), QUICK, store)
        done.set()
        agent.join()
        watch = threading.Thread(target=stop_when_offered, args=[folder / "queue.db", stop])
        watch.start()
        run(place, items("toy", 12), QUICK, store, stop=stop)
        watch.join()
    with open_queue(url) as queue, Spool(folder / "spool") as spool:
        first, second, third = queue.take("sim", 3, 1000.0)
        model = registry.create("device", device)
        results: list[Result] = []
        said = queue.agents()[0].state.devices[0]
        for lease in (first, second):
            job = lease.job
            (m,) = (m for m in measure(model, items("toy", 12), QUICK) if m.key == job.key)
            results.append(
                Result(
                    job.job_id, job.issue, lease.delivery, lease.attempt, job.campaign, "board", "sim",
                    job.model.sha256, said.environment_sha256, ("address_space",), int(time.time() * 1e3),
                    replace(m, replicate=job.replicate), {},
                )
            )  # fmt: skip
        queue.deliver(results[:1])
        queue.finish([first])
        spool.hold([second, third])
        spool.keep(results[1:])


def stop_when_offered(queue: Path, stop: threading.Event) -> None:
    """End a campaign as soon as its jobs are in the queue."""
    while not read(queue, "SELECT count(*) FROM jobs")[0][0]:
        time.sleep(0.05)
    stop.set()


def read(path: Path, query: str) -> list[tuple[object, ...]]:
    """Return rows of a file, read by nobody's code but SQLite's."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def plain(body: bytes) -> object:
    """Return a message in clear, read by nobody's code but the standard library's."""
    return json.loads(body if body[:1] == b"{" else zlib.decompress(body))


def expected(folder: Path) -> dict[str, object]:
    """Return what a reader must find."""
    queue, spool = folder / "queue.db", folder / "spool" / "spool.db"
    return {
        "jobs": [plain(body) for (body,) in read(queue, "SELECT body FROM jobs ORDER BY number")],
        "results": [plain(body) for (body,) in read(queue, "SELECT body FROM results ORDER BY number")],
        "agents": [plain(body) for (body,) in read(queue, "SELECT body FROM agents")],
        "environments": [plain(body) for (body,) in read(queue, "SELECT body FROM environments")],
        "models": [name for (name,) in read(queue, "SELECT sha256 FROM models ORDER BY sha256")],
        "spool": {
            "leases": [plain(body) for (body,) in read(spool, "SELECT job FROM leases ORDER BY attempt")],
            "results": [plain(body) for (body,) in read(spool, "SELECT body FROM results ORDER BY number")],
            "notes": {name: json.loads(text) for name, text in read(spool, "SELECT name, json FROM notes")},
        },
    }


def write_folder(folder: Path) -> None:
    """Make a farm with two agents; leave out what is private and where it was made."""
    with TemporaryDirectory() as made:
        farm = Farm.create(Path(made) / "farm", hosts=["farm.lan"])
        farm.add("board", "sim")
        farm.add("phone", "pixel", password=True)
        shutil.copytree(farm.folder, folder)
        for path in (folder / "ca.key", folder / "server.key", folder / ".lock", *folder.glob("agents/*/agent.nk")):
            path.unlink(missing_ok=True)
        configuration = folder / "nats-server.conf"
        configuration.write_text(configuration.read_text().replace(str(farm.folder), "/srv/farm"))


if __name__ == "__main__":
    folder = Path(sys.argv[1]) / "farm"
    folder.mkdir(parents=True)
    write(folder)
    (folder / "farm.json").write_text(json.dumps(expected(folder), indent=1) + "\n")
    write_folder(folder / "folder")
    for path in [*folder.rglob("*.lock"), *folder.rglob("*-wal"), *folder.rglob("*-shm")]:
        path.unlink()
    shutil.rmtree(folder / "spool" / "models", ignore_errors=True)
