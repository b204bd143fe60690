"""The spawned, limited process in which foreign models run: ``python -m tempograd.devices.worker.worker``.

It is dumb: it loads what it is told, times one round of each network it is told, and returns raw rows at the end. Which
networks, how often, and what the rows mean is decided by its parent, between passes. It imports torch only where
that is the runtime.

Requests come on standard input, replies leave on what was standard output; whatever the engine prints goes to standard
error, a file that the parent reads after a crash.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from ...errors import InputRefusedError, TempogradError
from ...measurement.quantities import ENERGY
from ...registry import create
from .. import host, sentinels
from ..runtime import nvml
from ..runtime.runtime import FallbackError, Program, Runtime, TellsKernels
from . import foreign, isolation, timing
from .meters import EnergyMeter, MemoryMeter
from .wire import Board, from_text, pack, to_text, unpack

COPIES = 3  # of the sentinel, on a CPU: one in ten lay so that it took 4 % longer than in other processes


class Worker:
    """The networks resident in this process, and the sentinels: the one in every round, the others in every fourth."""

    def __init__(
        self,
        board: Board,
        runtime: Runtime,
        *,
        threads: int,
        batch: int,
        sentinel: str,
        precision: str,
        watches: bool = False,
    ) -> None:
        self._board = board
        self._runtime = runtime
        self._threads = threads
        self._batch = batch
        self._networks: dict[int, tuple[Program, timing.WarmUp]] = {}
        self._cores: list[int] = []
        self._quantises = precision != "fp32"  # in this process: whose memory that was, nobody can tell
        small = precision == "int8-dynamic"  # convolutions are some ten times slower
        # created first: the first session of a process decides on denormals for its main thread
        self._sentinel, self._sentinel_warm_up = self._best_of(
            1 if watches else COPIES, sentinels.read(sentinel, small=small)
        )
        others = [] if watches else [kind for kind in sentinels.KINDS if kind != sentinel]
        self._others = {kind: runtime.load(sentinels.read(kind, small=small), Path.cwd()) for kind in others}
        self._blocks = {sentinel: _block(self._sentinel, self._sentinel_warm_up)}
        for kind, program in self._others.items():
            self._blocks[kind] = _block(program, timing.warm_up(program.run, _nothing))
        self._kind, self._rounds, self._emulated = sentinel, 0, host.emulated()
        self._on_gpu = self._sentinel.gpu_time is not None  # whose memory and energy are not this process's
        self._watch = nvml.watch() if self._on_gpu else None
        self._energy = None if self._on_gpu else EnergyMeter()

    def _best_of(self, copies: int, content: bytes) -> tuple[Program, timing.WarmUp]:
        """Return the fastest of some copies of a sentinel: memory that lies badly makes one slower, and no network."""
        found: list[tuple[Program, timing.WarmUp]] = []
        while not found or (len(found) < copies and found[0][0].gpu_time is None):
            program = self._runtime.load(content, Path.cwd())
            found.append((program, timing.warm_up(program.run, _nothing)))
        return min(found, key=lambda each: each[1].fastest_ms)

    @property
    def sentinel_ms(self) -> float:
        """Return the sentinel's typical time after warming up."""
        return self._sentinel_warm_up.typical_ms

    @contextmanager
    def _at(self, network: int, phase: str) -> Generator[None]:
        """Tell the parent what is under way; what nobody expected ends the process, and then still stands there."""
        self._board.note(network, phase)
        try:
            yield
        except TempogradError:  # the parent is told of it, and this process goes on
            self._board.note(-1, "idle")
            raise
        self._board.note(-1, "idle")

    def load(self, network: int, path: str, digest: str, own_batch: bool = False) -> dict[str, Any]:
        """Check, load and warm up one network; a failure is a reply, not an exception."""
        with self._at(network, "load"):
            return self._load(network, path, digest, own_batch)

    def _load(self, network: int, path: str, digest: str, own_batch: bool) -> dict[str, Any]:
        phase = "load"
        try:
            content = foreign.read(Path(path), digest)
            foreign.check(content, Path(path).parent, None if own_batch else self._batch)
            memory = None if self._quantises or self._on_gpu else MemoryMeter()
            start = time.perf_counter_ns()
            program = self._runtime.load(content, Path(path).parent)
            load_ms = (time.perf_counter_ns() - start) / 1e6
            phase = "warm_up"
            self._board.note(network, phase)
            warm = timing.warm_up(program.run, self._board.count)
            wrong = _wrong_output(program)
            memory_bytes = memory and memory.peak_bytes()
        except InputRefusedError as error:
            return _failure("refused", phase, error)
        except FallbackError as error:
            return _failure("fallback", phase, error)
        except MemoryError as error:
            return _failure("oom", phase, error)
        if wrong:
            return _failure("invalid_output", phase, wrong)
        self._networks[network] = program, warm
        return {
            "load_ms": load_ms,
            "build_ms": program.build_ms,
            "first_run_ms": warm.first_run_ms,
            "warm_up_runs": warm.runs,
            "warm_up_capped": warm.capped,
            "typical_ms": warm.typical_ms,
            "providers": program.providers,
            "kernels": program.kernels,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "memory_bytes": memory_bytes,
        }

    def profile(self, path: str, digest: str, seconds: float) -> dict[str, Any]:
        """Run a network that is not kept while the engine watches its kernels."""
        if not isinstance(self._runtime, TellsKernels):
            title = self._runtime.package.title
            return {"refused": f"{title} does not tell its kernels; runtime=onnxruntime, openvino and litert do"}
        self._board.note(0, "run")
        try:
            content = foreign.read(Path(path), digest)
            foreign.check(content, Path(path).parent, None)
            return msgspec.to_builtins(self._runtime.profile(content, Path(path).parent, seconds=seconds))
        except MemoryError as error:
            why = "it needs more memory than the measuring process may take; allow more, --device local:memory_gib=16"
            return {"refused": f"{why} ({_line(error)[:200]})"}
        except (InputRefusedError, FallbackError) as error:
            return {"refused": _line(error)}
        finally:
            self._board.note(-1, "idle")

    def outputs(self, network: int, shape: list[int], data: str) -> dict[str, Any]:
        """Return what a network computes for an input."""
        with self._at(network, "run"):
            return to_text(self._networks[network][0].compute(from_text(shape, data)))

    def hold_inputs(self, held: bool) -> dict[str, Any]:
        """Run networks on one and the same input, or on several in turn."""
        for program, _ in self._networks.values():
            program.hold(held)
        return {}

    def start_timing(self, cores: list[int]) -> dict[str, Any]:
        """Move every thread to the timed cores."""
        gc.collect()
        gc.freeze()  # what lives now is out of later collections, which would take 20 ms before every pass
        isolation.move_to(cores)
        self._cores = cores
        if self._sentinel.gpu_time is not None:
            timing.heat(lambda: min(self._sentinel_ms(self._kind, self._sentinel)))
        return {"cores": sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []}

    def run_pass(self, networks: list[int], burst_ms: float, reads_others: bool) -> dict[str, Any]:
        """Time one round of each network, in this order; nothing is collected, written or sent meanwhile."""
        rows: list[dict[str, Any]] = []
        gc.disable()
        counters = timing.Counters(self._cores)
        try:
            for network in networks:
                warm = bool(rows) and not rows[-1]["other_sentinels_ms"]
                others = self._others if reads_others and self._rounds % timing.OTHERS_EVERY == 0 else {}
                self._rounds += 1
                with self._at(network, "run"):
                    try:
                        rows.append({"network": network, **self._round(network, burst_ms, counters, others, warm=warm)})
                    except InputRefusedError as error:
                        return {"network": network, **_failure("crashed", "run", error)}
                    except MemoryError as error:
                        return {"network": network, **_failure("oom", "run", error)}
        finally:
            counters.close()
            gc.enable()
        return {"rounds": rows}

    def _round(
        self, network: int, burst_ms: float, counters: timing.Counters, others: Mapping[str, Program], *, warm: bool
    ) -> dict[str, Any]:
        """Time one round, and after it other sentinels; ``warm`` where the last thing that ran was the one in use."""
        program, warm_up = self._networks[network]
        started_s = time.time()
        start = counters.read()
        before = self._sentinel_ms(self._kind, self._sentinel, warm=warm)
        inner = counters.read()
        block = _block(program, warm_up)
        before_uj = self._energy.read_uj() if self._energy else None
        burst = timing.burst(program, self._board.count, burst_ms=burst_ms, block=block)
        burst_mj = self._energy.since_mj(before_uj) if self._energy else None
        switches, wait_ms, _ = counters.read().since(inner)
        state = counters.state()
        events = ["emulated"] if self._emulated else []
        if burst.gpu_ms:
            state["enqueue_ms"] = median(burst.enqueue_ms)
        if self._watch is not None:
            state |= self._watch.state()
            events += self._watch.events()
            if "gpu_sm_mhz" in state:
                state["gpu_kilocycles"] = median(burst.gpu_ms) * state["gpu_sm_mhz"]
        after = self._sentinel_ms(self._kind, self._sentinel)
        now = counters.read()
        energy = {} if burst_mj is None else {ENERGY: burst_mj / (1 + block * len(burst.wall_ms))}  # 1 run is discarded
        return {
            "started_s": started_s,
            "sentinel_before_ms": before,
            "sentinel_after_ms": after,
            "wall_ms": burst.wall_ms,
            "cpu_ms": burst.cpu_ms,
            "gpu_ms": burst.gpu_ms,
            "involuntary_switches": switches,
            "run_queue_wait_ms": wait_ms,
            "events": [*now.since(start)[2], *events],
            "block": block,
            "other_sentinels_ms": {kind: min(self._sentinel_ms(kind, other)) for kind, other in others.items()},
            "state": state | energy,
        }

    def _sentinel_ms(self, kind: str, program: Program, *, warm: bool = False) -> list[float]:
        return timing.sentinel_ms(program, threads=self._threads, block=self._blocks[kind], warm=warm)


def _block(program: Program, warm: timing.WarmUp) -> int:
    return timing.block_of(warm.fastest_ms, gpu=program.gpu_time is not None)


def _wrong_output(program: Program) -> str | None:
    """Look at the outputs of several inputs in turn."""
    for _ in range(3):
        program.run()
        wrong = program.invalid_output()
        if wrong:
            return wrong
    return None


def serve(requests: int, replies: int, parent: int) -> None:
    """Answer requests until there are no more.

    Args:
        requests: file descriptor that they come from.
        replies: file descriptor that the answers go to.
        parent: process id of the parent.
    """
    receive = partial(_receive, requests, bytearray())
    first = receive()
    if first is None:
        return
    board = Board(Path("board"))
    try:
        in_force = isolation.confine(parent, first["memory_bytes"], first["file_bytes"])
        idle, threads = first["idle_cores"], first["threads"]
        # some engines size their pool, once, by the cores that they find: too few would leave it short for ever
        isolation.move_to(idle if len(idle) >= threads else sorted({*idle, *first["timed_cores"]}))
        isolation.allow_cpu(threads, first["cpu_seconds"])
        runtime: Runtime = create("runtime", first["runtime"], **first["options"])
        runtime.start()
        worker = Worker(
            board,
            runtime,
            threads=threads,
            batch=first["batch"],
            sentinel=first["sentinel"],
            precision=first["options"].get("precision", "fp32"),
            watches=first["watches"],
        )
        isolation.move_to(idle)
    except (TempogradError, MemoryError) as error:
        _send(replies, pack({"error": _line(error)}))
        return
    _send(replies, pack({"isolation": in_force, "sentinel_ms": worker.sentinel_ms}))
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "load": worker.load,
        "outputs": worker.outputs,
        "profile": worker.profile,
        "hold_inputs": worker.hold_inputs,
        "start_timing": worker.start_timing,
        "run_pass": worker.run_pass,
    }
    while (request := receive()) is not None:
        isolation.allow_cpu(threads, first["cpu_seconds"])
        try:
            reply = pack(verbs[request["verb"]](*request["arguments"]))
        except TempogradError as error:
            reply = pack({"error": _line(error)})
        _send(replies, reply)


def main() -> None:
    """Keep standard output for replies, send everything else that is printed to standard error, and serve."""
    replies = os.dup(1)
    os.dup2(2, 1)
    serve(0, replies, int(sys.argv[1]))


def _receive(descriptor: int, buffer: bytearray) -> dict[str, Any] | None:
    while (message := unpack(buffer)) is None:
        part = os.read(descriptor, 65536)
        if not part:
            return None
        buffer += part
    return message


def _send(descriptor: int, frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _failure(cause: str, phase: str, reason: Exception | str) -> dict[str, Any]:
    detail = _line(reason) if isinstance(reason, Exception) else reason
    return {"failure": {"cause": cause, "phase": phase, "detail": detail}}


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:500]


def _nothing() -> None:
    """Count no inference: the sentinel is not watched."""


if __name__ == "__main__":
    main()
