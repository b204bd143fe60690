"""One worker as its parent sees it: started, asked, watched, and ended with everything that it started."""

from __future__ import annotations

import os
import select
import signal
import site
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import DeviceError, InputRefusedError
from ...measurement.rounds import Cause, Failure
from ...scratch import Scratch
from .wire import Board, Note, pack, unpack

_WAKE_MS = 250  # how often a waiting parent looks at the board; it never spins
_TAIL_BYTES = 4096
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TZ", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES")


class WorkerEndedError(DeviceError):
    """The worker died or was stopped; it is gone when this is raised.

    Attributes:
        note: what it was doing.
        failure: what that says about the network concerned.
    """

    def __init__(self, note: Note, failure: Failure) -> None:
        super().__init__(f"{failure.cause} in {failure.phase}: {failure.detail}")
        self.note = note
        self.failure = failure


class WorkerProcess:
    """A running worker.

    Args:
        settings: its first message; see ``worker.serve``.
        start_s: time that it may take to answer that.

    Raises:
        DeviceError: it cannot be started, or its runtime is not there.
    """

    def __init__(self, settings: dict[str, Any], *, start_s: float) -> None:
        self._folder = Scratch()
        folder = Path(self._folder.name)
        self._board = Board(folder / "board", create=True)
        self._stderr = folder / "stderr"
        self._buffer = bytearray()
        self._oom_kills = _oom_kills()
        try:
            # a worker dies with the *thread* that started it, so that thread must outlive the caller's
            self._process = (
                _starter(os.getpid()).submit(_start, folder, self._stderr, int(settings["threads"])).result()
            )
        except OSError as error:
            self._folder.cleanup()
            raise DeviceError(f"cannot start a measuring process: {error}") from error
        self._end = weakref.finalize(self, _end, self._process, self._board, self._folder)
        self._requests, self._replies = (pipe.fileno() for pipe in (self._process.stdin, self._process.stdout) if pipe)
        try:
            self.greeting = self.ask(settings, patience_s=lambda _: start_s, total_s=start_s)
        except WorkerEndedError as ended:
            raise DeviceError(f"the measuring process did not start: {ended.failure.detail}") from ended
        except DeviceError:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Return its process id, which is also that of its process group."""
        return self._process.pid

    def ask(
        self, request: dict[str, Any], *, patience_s: Callable[[Note], float], total_s: float = float("inf")
    ) -> dict[str, Any]:
        """Send a request and wait, blocked, for its reply.

        Args:
            request: for the worker.
            patience_s: how long one step, as noted on the board, may take.
            total_s: how long all of it may take: the worker, which writes the board, is not trusted.

        Raises:
            WorkerEndedError: it died, was too slow, or sent what is no message.
            DeviceError: it says that it cannot do this.
        """
        self._send(pack(request))
        start = stepped = begun = time.monotonic()
        note = self._board.read()
        while True:
            try:
                reply = unpack(self._buffer)
            except InputRefusedError as error:
                raise self._ended(note, str(error)) from error
            if reply is not None:
                if "error" in reply:
                    raise DeviceError(str(reply["error"])[:1000])
                return reply
            closed = self._wait()
            now = time.monotonic()
            previous, note = note, self._board.read()
            stepped = now if note.steps != previous.steps else stepped
            begun = now if note.inferences != previous.inferences else begun
            if closed:
                raise self._ended(note)
            if now - stepped > patience_s(note) or now - start > total_s:
                raise self._too_slow(note, now - stepped, now - max(stepped, begun))

    def end(self) -> None:
        """Kill it with its whole process group, and remove its files. May be called again."""
        self._end()

    def _send(self, frame: bytes) -> None:
        rest = memoryview(frame)
        with suppress(BrokenPipeError):  # its death is noticed, and explained, when the reply is read
            while rest:
                rest = rest[os.write(self._requests, rest) :]

    def _wait(self) -> bool:
        """Sleep until there is something to read or it is time to look at the board; return whether it hung up."""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        if not poll.poll(_WAKE_MS):
            return False
        part = os.read(self._replies, 2**20)
        self._buffer += part
        return not part

    def _too_slow(self, note: Note, step_s: float, inference_s: float) -> WorkerEndedError:
        self.end()
        # while loading nothing has run yet: the time says nothing about the latency
        elapsed_ms = inference_s * 1000 if note.phase in ("warm_up", "run") else None
        detail = f"stopped after {step_s:.1f} s of {note.phase}"
        return WorkerEndedError(note, Failure("timeout", note.phase, signal.SIGKILL, detail, elapsed_ms))

    def _ended(self, note: Note, reason: str = "") -> WorkerEndedError:
        """Find out why it is gone, and clean up."""
        code = _kill_and_wait(self._process, grace_s=0.0 if reason else 1.0)
        tail = _tail(self._stderr)
        number = -code if code < 0 else None
        cause: Cause = "crashed"
        if number == signal.SIGKILL and _oom_kills() > self._oom_kills:
            cause, reason = "oom", "the kernel ran out of memory and killed the measuring process"
        elif "bad_alloc" in tail or "MemoryError" in tail:
            cause = "oom"
        elif number == signal.SIGXCPU:
            cause, reason = "timeout", "used up its CPU time"
        how = f"exit status {code}" if number is None else signal.strsignal(number) or f"signal {number}"
        self.end()
        return WorkerEndedError(note, Failure(cause, note.phase, number, "; ".join(filter(None, (reason, how, tail)))))


@cache
def _starter(pid: int) -> ThreadPoolExecutor:
    """Return this process's one thread that starts workers; after a fork the child gets its own."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"tempograd-start-{pid}")


def _start(folder: Path, stderr: Path, threads: int) -> subprocess.Popen[bytes]:
    with stderr.open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            cwd=folder,
            env=environment(folder, threads),
            start_new_session=True,
        )


def environment(folder: Path, threads: int) -> dict[str, str]:
    """Return the variables that a worker may see."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    paths = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "TMPDIR": str(folder),
    }


def _kill_and_wait(process: subprocess.Popen[bytes], grace_s: float) -> int:
    """End the process group and return the exit status of its leader.

    The group is killed before the leader is reaped: until then its number cannot be given to another.
    """
    deadline = time.monotonic() + grace_s
    while grace_s and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _end(process: subprocess.Popen[bytes], board: Board, folder: Scratch) -> None:
    if process.returncode is None:
        _kill_and_wait(process, grace_s=0.0)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    board.close()
    folder.cleanup()


def _tail(path: Path) -> str:
    """Return the last lines that the worker printed, without control characters."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = ["".join(filter(str.isprintable, line)) for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-5:])[-1000:]


def _oom_kills() -> int:
    """Return how often the kernel has killed for want of memory, 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
