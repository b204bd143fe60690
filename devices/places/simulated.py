"""A device that is not there: its truth is known, its clock is virtual, its noise and faults come from a seed.

It ships because it is how the protocol, a campaign or a search is tried out without waiting and without a device; every
number from it says so in its fingerprint.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

from ...arguments import Batch, NonNegative, Positive, Seed, Share, check
from ...errors import InputRefusedError, UnknownNameError, UsageError
from ...graphs.kernels import Profile
from ...measurement.fingerprint import Fingerprint
from ..device import Model
from ..simulated.roofline import Roofline
from ..simulated.session import Behaviour, Dwell, Rate, SimulatedSession, Slower, Spread, options_of
from ..worker import foreign


class SimulatedDevice:
    """A simulated device; see `Device` and, for the noise and the faults, `Behaviour`.

    Args:
        table: the truth: network's key -> ms, or the path of a JSON file that holds such an object.
        latency_of: the truth as a function, instead of a table. With neither, a roofline over the ONNX file.
        gflops, gbps, overhead_us: the roofline's limits.
        batch: inputs per inference.
        seed, noise, sentinel_noise, process_noise, slow, dwell_min_s, dwell_max_s, elastic, preemptions, drift,
            disturbed, throttle, crash, hang, oom, nan: as in `Behaviour`.

    Raises:
        UsageError: a value that is not allowed, or a table and a function.
        InputRefusedError: the table cannot be read.
    """

    def __init__(
        self,
        table: Mapping[str, float] | str | Path | None = None,
        *,
        latency_of: Callable[[Model], float] | None = None,
        seed: Seed = 0,
        noise: Spread = Behaviour.noise,
        sentinel_noise: Spread = Behaviour.sentinel_noise,
        process_noise: Spread = Behaviour.process_noise,
        slow: Slower = Behaviour.slow,
        dwell_min_s: Dwell = Behaviour.dwell_min_s,
        dwell_max_s: Dwell = Behaviour.dwell_max_s,
        elastic: bool = Behaviour.elastic,
        preemptions: Rate = Behaviour.preemptions,
        drift: Spread = Behaviour.drift,
        disturbed: Share = Behaviour.disturbed,
        throttle: Share = Behaviour.throttle,
        crash: Share = 0.0,
        hang: Share = 0.0,
        oom: Share = 0.0,
        nan: Share = 0.0,
        gflops: Positive = Roofline.gflops,
        gbps: Positive = Roofline.gbps,
        overhead_us: NonNegative = Roofline.overhead_us,
        batch: Batch = 1,
    ) -> None:
        if table is not None and latency_of is not None:
            raise UsageError("a table and latency_of were given; one truth is needed")
        limits = {"gflops": gflops, "gbps": gbps, "overhead_us": overhead_us, "batch": batch}
        check(SimulatedDevice, limits, what="device simulated")
        self._behaviour = Behaviour(
            seed=seed,
            noise=noise,
            sentinel_noise=sentinel_noise,
            process_noise=process_noise,
            slow=slow,
            dwell_min_s=dwell_min_s,
            dwell_max_s=dwell_max_s,
            elastic=elastic,
            preemptions=preemptions,
            drift=drift,
            disturbed=disturbed,
            throttle=throttle,
            crash=crash,
            hang=hang,
            oom=oom,
            nan=nan,
        )
        self._table = None if table is None else _read(table)
        self._latency_of = latency_of
        self._roofline = Roofline(gflops, gbps, overhead_us)
        self._estimate = lru_cache(maxsize=100_000)(self._from_file)
        self._batch = batch
        self._sessions: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        truth = "a table" if self._table is not None else "a function" if self._latency_of is not None else "a roofline"
        return f"SimulatedDevice({truth}, seed {self._behaviour.seed}, batch {self._batch})"

    @property
    def fingerprint(self) -> Fingerprint:
        """What must be equal for two measurements to be comparable; the faults are not part of it."""
        truth: Any = {"roofline": vars(self._roofline)}
        if self._table is not None:
            truth = {"table": sha256(json.dumps(self._table, sort_keys=True).encode()).hexdigest()[:12]}
        elif self._latency_of is not None:
            truth = {"function": getattr(self._latency_of, "__qualname__", type(self._latency_of).__name__)}
        return Fingerprint(
            place="simulated",
            hardware={"cpu": "simulated"},
            runtime={"name": "simulated", "version": "1"},
            options={"batch": self._batch, "threads": 1, "truth": truth, **options_of(self._behaviour)},
        )

    @property
    def batch(self) -> int:
        """Inputs per inference."""
        return self._batch

    def environment(self) -> dict[str, Any]:
        """Return that nothing here is real."""
        return {"simulated": True, "virtual_clock": True}

    def open(self) -> SimulatedSession:
        """Start one measuring process that never was."""
        return SimulatedSession(self._behaviour, self.true_ms, self._occurrence)

    def true_ms(self, model: Model) -> float:
        """Return a network's time at the device's best, without any noise.

        Raises:
            UnknownNameError: the table lacks this network.
            UsageError: latency_of returned what is no time.
            InputRefusedError: the ONNX file is refused, or its shapes cannot be inferred.
        """
        if self._table is not None:
            if model.key not in self._table:
                raise UnknownNameError("network in the simulated device's table", model.key, self._table)
            return self._table[model.key]
        if self._latency_of is None:
            return self._estimate(model.path, model.digest, None if model.own_batch else self._batch)
        value = self._latency_of(model)
        if not (isfinite(value) and value > 0):
            raise UsageError(f"latency_of returned {value!r} for {model.key!r}; a positive number of ms is needed")
        return float(value)

    def _from_file(self, path: Path, digest: str, batch: int | None) -> float:
        content = foreign.read(path, digest)
        foreign.check(content, path.parent, batch)
        return self._roofline.latency_ms(content)

    def profile(self, model: Model, *, seconds: float = 4.0) -> Profile:
        """Return every node with the roofline's time, whatever the truth for whole networks is.

        Raises:
            InputRefusedError: the ONNX file is refused, or its shapes cannot be inferred.
        """
        content = foreign.read(model.path, model.digest)
        foreign.check(content, model.path.parent, None)
        return self._roofline.profile(content)

    def profiles(self, models: Iterable[Model]) -> Iterator[Profile | InputRefusedError]:
        """Return the same of each of many networks, or why there is none."""
        for model in models:
            try:
                yield self.profile(model)
            except InputRefusedError as error:
                yield error

    def _occurrence(self, content: tuple[str, ...]) -> int:
        with self._lock:
            self._sessions[content] += 1
            return self._sessions[content]


def _read(table: Mapping[str, float] | str | Path) -> dict[str, float]:
    if isinstance(table, str | Path):
        try:
            if not Path(table).is_file():  # a device or a pipe may never end
                raise OSError("it is no regular file")
            table = json.loads(Path(table).read_text())
        except (OSError, ValueError) as error:
            raise InputRefusedError(f"cannot read the table {table}: {error}") from error
        if not isinstance(table, dict):
            raise InputRefusedError("the table must be a JSON object of network's key -> ms")
    truth: dict[str, float] = {}
    for key, value in dict[Any, Any](table).items():
        if type(value) not in (int, float) or not (isfinite(value) and value > 0):
            raise InputRefusedError(f"the table says {value!r} for {key!r}; a positive number of ms is needed")
        truth[str(key)] = float(value)
    return truth


DEVICE = SimulatedDevice
