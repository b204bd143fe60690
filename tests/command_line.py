"""The command line as tests run it: each command in a process of its own, forked from one that has imported it all.

A verb needs seconds of CPU for its imports, a fork some milliseconds. Whoever asks what is imported, or traces system
calls from the start, begins a fresh interpreter instead.
"""

import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

FORKS = get_context("forkserver")
PRELOADED = (
    "torch", "torch._dynamo", "torch.utils.data", "sklearn.linear_model", "sklearn.ensemble", "scipy.stats", "onnx",
    "onnxruntime", "pandas", "pyarrow.parquet", "matplotlib.figure", "jinja2", "rich.progress", "pymoo.core.problem",
    "tempograd.cli", "tempograd.verbs.collect", "tempograd.verbs.fit", "tempograd.verbs.search",
    "tempograd.verbs.evaluate", "tempograd.verbs.report",
)  # fmt: skip
FORKS.set_forkserver_preload(list(PRELOADED))


def tempograd(*arguments, cwd=None, timeout=240) -> subprocess.CompletedProcess:
    """Run a verb; return the completed process with its exit code, and what it wrote as text."""
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        written = [Path(folder) / name for name in ("stdout", "stderr")]
        for path in written:
            path.touch()
        code = _forked(words, str(cwd or Path.cwd()), dict(os.environ), written, timeout)
        return subprocess.CompletedProcess(words, code, *(path.read_text() for path in written))


@contextmanager
def program(path: Path) -> Iterator[None]:
    """Have a program ``tempograd`` at ``path`` for the time being, whose every start is such a fork."""
    address = str(path.with_suffix(".socket"))
    path.write_text(PROGRAM.format(python=sys.executable, address=address))
    path.chmod(0o755)
    with socketserver.ThreadingUnixStreamServer(address, _Starts) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


PROGRAM = """#!{python} -ISs
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as link:
    link.connect({address!r})
    link.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), os.getpid()]).encode() + b"\\n")
    sys.exit(int(link.recv(8)))
"""


class _Starts(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        words, cwd, environment, pid = json.loads(self.rfile.readline())
        written = [Path(f"/proc/{pid}/fd/{number}") for number in (1, 2)]
        self.wfile.write(b"%d" % _forked(words, cwd, environment, written, 240))


def _forked(words: list[str], cwd: str, environment: dict[str, str], written: list[Path], timeout: float) -> int:
    child = FORKS.Process(target=_run, args=(words, cwd, environment, written))
    child.start()
    child.join(timeout)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise subprocess.TimeoutExpired(["tempograd", *words], timeout, *(path.read_bytes() for path in written))
    return child.exitcode


def _run(words: list[str], cwd: str, environment: dict[str, str], written: list[Path]) -> None:
    """Become the command: its streams, folder, environment and words; its exit code is this process's."""
    for number, path in enumerate(written, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["tempograd", *words]
    from tempograd.__main__ import main

    main()
