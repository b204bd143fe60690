"""A real NATS server for the tests that need one; they skip, with the reason, where there is none."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempograd.devices.farm import server


def _programs() -> dict[str, Path]:
    """Every server that is here, by version: on the path, beside this interpreter, in TEMPOGRAD_NATS_SERVERS."""
    named = os.environ.get("TEMPOGRAD_NATS_SERVERS", "").split(os.pathsep)
    beside = str(Path(sys.executable).parent)
    found = [
        shutil.which("nats-server"),
        shutil.which("nats-server", path=beside),
        *map(shutil.which, filter(None, named)),
    ]
    programs = {Path(path).resolve() for path in found if path}
    return {".".join(map(str, server.server_version(path))): path for path in programs}


PROGRAMS = _programs()
NEWEST = max(PROGRAMS, key=server.parse_version, default=None)
NONE = pytest.param("none", marks=pytest.mark.skip(reason=f"no nats-server is here: {server.INSTALL}"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class NatsServer:
    """A server that tests may kill, start again and rob of its disk; on loopback, open to all."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder, self.port = program, folder, free_port()
        self.version = server.server_version(program)
        self.url = f"nats://127.0.0.1:{self.port}"
        self.configuration = folder / "nats-server.conf"
        self.configuration.write_text(
            f'listen: "127.0.0.1:{self.port}"\nmax_payload: 1114112\n'
            f'jetstream {{ store_dir: "{folder / "jetstream"}", max_memory_store: 64MB, max_file_store: 30GB }}\n'
        )
        self.process = None

    def start(self) -> None:
        address = ("127.0.0.1", self.port)
        self.process = server.start(self.program, self.configuration, address, log=self.folder / "nats-server.log")

    def kill(self) -> None:
        """SIGKILL, as by a power cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wipe(self) -> None:
        """Kill it and forget everything it stored."""
        self.kill()
        shutil.rmtree(self.folder / "jetstream", ignore_errors=True)


@pytest.fixture(scope="session", params=sorted(PROGRAMS) or [NONE])
def nats_program(request) -> Path:
    """Each server's program that is here, in turn."""
    return PROGRAMS[request.param]


@pytest.fixture(scope="session", params=[NEWEST] if NEWEST else [NONE])
def newest_nats_program(request) -> Path:
    """The newest server's program that is here."""
    return PROGRAMS[request.param]


@pytest.fixture
def nats_server(nats_program, tmp_path) -> Iterator[NatsServer]:
    """A running server of each version."""
    folder = tmp_path / "nats-server"
    folder.mkdir()
    running = NatsServer(nats_program, folder)
    running.start()
    yield running
    running.kill()
