"""tempograd's own protocol, through the engine as a user runs it: `verify.measure` with a store that remembers.

The request has, besides what every tool gets, ``store``, ``plan`` (fields of a `Plan`) and ``space``. The budget is
not used: what this tool spends is the budget of the others. Its wall time is that from the first pass of a process to
its last, with what is decided and written in between. The same file makes the long reference, by another plan into
another store.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tempograd.data.store import Store
from tempograd.devices.device import PassResult
from tempograd.devices.places.local import LocalDevice
from tempograd.devices.worker.session import WorkerSession
from tempograd.profiler.plan import Items, Plan
from tempograd.profiler.verify import measure

from ..harness import Label


class _WatchedDevice(LocalDevice):
    """The local device; it counts measuring processes and adds up the time from their first pass to the last."""

    timed_s = 0.0
    processes = 0

    def open(self) -> WorkerSession:
        session = super().open()
        self.processes += 1
        run_pass = session.run_pass
        counted: list[float] = []  # up to when the time of this process is counted

        def watched(*arguments: Any, **options: Any) -> PassResult:
            counted[:] = counted or [time.perf_counter()]
            try:
                return run_pass(*arguments, **options)
            finally:
                now = time.perf_counter()
                self.timed_s += now - counted[0]
                counted[:] = [now]

        session.run_pass = watched
        return session


def main() -> None:
    request, answer = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    models = {key: (Path(path), digest) for key, path, digest in request["models"]}
    device = _WatchedDevice(cores=request["cores"])
    items = Items(request["space"], tuple(models), lambda key, _: models[key])
    plan = Plan(**request["plan"] | {"checks": tuple(request["plan"]["checks"])})
    with Store(request["store"], write=True) as store:
        found = measure(device, items, plan, store, seed=request["seed"], batch_size=len(models))
    lines = [{"timed_s": device.timed_s, "processes": device.processes}]
    for m in found:
        if m.estimate is not None:
            e = m.estimate
            wall_s = device.timed_s / len(models)
            lines.append(asdict(Label(m.key, "tempograd", e.latency_ms, wall_s, e.low_ms, e.high_ms, e.path)))
    answer.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
