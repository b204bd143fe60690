"""How a simulated device behaves: states, noise and faults, on a virtual clock, all from a seed.

The shape of the noise is that of a shared virtual machine in a pilot: two states a factor 1.6 apart whose dwell times
spread over 0.1-30 s, networks that follow them with an elasticity of 0.74-1.16, pre-emptions that wall time sees and
CPU time does not. So a protocol can be judged where the truth is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ...arguments import Seed, Share, check_fields
from ...errors import DeviceError, InputRefusedError, UnknownNameError, UsageError
from ...measurement.quantities import ENERGY
from ...measurement.rounds import Cause, Failure, Round
from ..device import Loaded, Model, PassResult
from ..worker.timing import MIN_SAMPLES, OTHERS_EVERY, SENTINEL_RUNS, block_of

EPOCH_S = 1_700_000_000.0  # the virtual clock's zero
_SENTINEL_MS = 1.0
_HEAT_PERIOD_S = 60.0
_HOT = 1.3
_DISTURBED = 2.0
_PREEMPTION_MS = 4.0
_WARM_UP_RUNS = 10
_WATTS = 15.0
_OTHER_ELASTICITY = {"depthwise": 0.8, "overhead": 0.5}  # how the other sentinels follow the device's state
_FAULTS: tuple[Cause, ...] = ("crashed", "timeout", "oom", "invalid_output")


Spread = Annotated[float, Meta(ge=0, le=10)]  # sd of ln
Slower = Annotated[float, Meta(ge=1, le=1000)]
Rate = Annotated[float, Meta(ge=0, le=10_000)]  # a second
Dwell = Annotated[float, Meta(ge=0.001, le=1e7)]  # a pass draws some for all of its time


@dataclass(frozen=True)
class Behaviour:
    """What disturbs a simulated device.

    Attributes:
        seed: everything random comes from it.
        noise: sd of ln of a round's level, and of a sample.
        sentinel_noise: sd of ln of a sentinel run.
        process_noise: sd of ln of a network's level between measuring processes.
        slow: how many times slower the slow state is; 1 for none.
        dwell_min_s, dwell_max_s: a state's duration, log-uniform between them.
        elastic: networks follow the state with an elasticity drawn from 0.74-1.16, not 1.
        preemptions: a second, seen by wall time only.
        drift: amplitude of ln of a slow wave, one an hour.
        disturbed: share of rounds in which a network is up to twice as slow, unseen by the sentinel.
        throttle: share of time in which the device is hot: 1.3 x slower, and rounds carry the event ``thermal``.
        crash, hang, oom, nan: shares of networks with that fault, chosen by key.
    """

    seed: Seed = 0
    noise: Spread = 0.01
    sentinel_noise: Spread = 0.02
    process_noise: Spread = 0.01
    slow: Slower = 1.6
    dwell_min_s: Dwell = 0.1
    dwell_max_s: Dwell = 30.0
    elastic: bool = True
    preemptions: Rate = 2.0
    drift: Spread = 0.0
    disturbed: Share = 0.0
    throttle: Share = 0.0
    crash: Share = 0.0
    hang: Share = 0.0
    oom: Share = 0.0
    nan: Share = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share, no spread, no factor."""
        check_fields(self, what="device simulated")
        shares = (self.crash, self.hang, self.oom, self.nan)
        if sum(shares) > 1:
            raise UsageError(f"crash, hang, oom, nan={shares}; allowed: shares of one whole")
        if self.dwell_min_s > self.dwell_max_s:
            raise UsageError(
                f"dwell_min_s={self.dwell_min_s}, dwell_max_s={self.dwell_max_s}; allowed: dwell_min_s <= dwell_max_s"
            )

    def elasticity(self, key: str) -> float:
        """Return the exponent with which a network follows the device's state."""
        return 0.74 + 0.42 * _uniform(self.seed, "elasticity", key) if self.elastic else 1.0

    def failure(self, key: str, true_ms: float) -> Failure | None:
        """Return the fault that this network always shows, or None."""
        draw, early = _uniform(self.seed, "fault", key), _uniform(self.seed, "phase", key) < 0.5
        for cause, share in zip(_FAULTS, (self.crash, self.hang, self.oom, self.nan), strict=True):
            if draw < share:
                return _fault(cause, early, true_ms)
            draw -= share
        return None


class Weather:
    """The state of the device over virtual time."""

    def __init__(self, behaviour: Behaviour, rng: np.random.Generator, start_s: float) -> None:
        self._behaviour = behaviour
        self._rng = rng
        self._first = int(rng.integers(0, 2))
        self._switches = np.array([start_s])

    def factor(self, time_s: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` how many times slower than at its best the device is at times ``(n,)``."""
        behaviour = self._behaviour
        factor = np.exp(behaviour.drift * np.sin(2 * np.pi * time_s / 3600))
        factor = np.where(self.hot(time_s), factor * _HOT, factor)
        if behaviour.slow == 1:
            return factor
        while self._switches[-1] < time_s.max():
            low, high = np.log(behaviour.dwell_min_s), np.log(behaviour.dwell_max_s)
            dwell = np.exp(self._rng.uniform(low, high, 64))
            self._switches = np.concatenate([self._switches, self._switches[-1] + np.cumsum(dwell)])
        slow = (np.searchsorted(self._switches, time_s) + self._first) % 2 == 1
        return np.where(slow, factor * behaviour.slow, factor)

    def hot(self, time_s: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` whether the device throttles at times ``(n,)``: the last part of every minute."""
        return time_s % _HEAT_PERIOD_S > (1 - self._behaviour.throttle) * _HEAT_PERIOD_S


class SimulatedSession:
    """One measuring process that never was; see `Session`.

    Args:
        behaviour: Behaviour of the device.
        true_ms: a network's time at the device's best.
        occurrence: how often a session with this same content was opened before.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        true_ms: Callable[[Model], float],
        occurrence: Callable[[tuple[str, ...]], int],
    ) -> None:
        self._behaviour = behaviour
        self._true_ms = true_ms
        self._occurrence = occurrence
        self._networks: dict[str, tuple[float, Failure | None]] = {}
        self._energy_mj: dict[str, float] = {}
        self._open = True
        self._ready = False

    def load(self, models: Sequence[Model]) -> list[Loaded]:
        """Load and warm up; a network that fails is reported, the others stay.

        Raises:
            UsageError: a key that is already there.
            DeviceError: the session is closed.
        """
        self._check_open()
        if not self._ready:
            self._begin(tuple(model.key for model in models))
        return [self._load(model) for model in models]

    def start_timing(self) -> None:
        """Do nothing: there are no cores.

        Raises:
            DeviceError: the session is closed.
        """
        self._check_open()

    def run_pass(self, keys: Sequence[str], *, burst_ms: float) -> PassResult:
        """Time one round of each network, in the order given.

        Raises:
            UsageError: a key that is not loaded, or a burst that is no positive number.
            DeviceError: the session is closed.
        """
        self._check_open()
        for key in keys:
            if key not in self._networks:
                raise UnknownNameError("network", key, self._networks)
        if not (np.isfinite(burst_ms) and burst_ms > 0):
            raise UsageError(f"burst_ms={burst_ms}; a positive number of milliseconds is needed, such as 10")
        rounds: list[Round] = []
        for key in keys:
            level_ms, failure = self._networks[key]
            if failure is not None:
                self.close()
                return PassResult((), {key: failure})
            rounds.append(self._round(key, level_ms, burst_ms))
        return PassResult(tuple(rounds))

    def outputs(self, key: str, inputs: Sequence[NDArray[np.float32]]) -> None:
        """Return None: nothing is computed here."""

    def hold_inputs(self, held: bool) -> None:
        """Do nothing: there are no inputs."""

    def close(self) -> None:
        """Close; nothing is left to end."""
        self._open = False

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _begin(self, content: tuple[str, ...]) -> None:
        """Draw this process's fate from the seed, its networks, and how often it was run: not from other sessions."""
        entropy = _entropy(self._behaviour.seed, str(self._occurrence(content)), *content)
        self._rng = np.random.Generator(np.random.PCG64(entropy))
        self._others_rng = np.random.default_rng([entropy, 1])
        self._rounds = 0
        self._now_s = EPOCH_S + float(self._rng.uniform(0, 1800))
        self._weather = Weather(self._behaviour, self._rng, self._now_s)
        self._ready = True

    def _load(self, model: Model) -> Loaded:
        if model.key in self._networks:
            raise UsageError(f"network {model.key!r} was already given to this session; keys must be unique")
        try:
            true_ms = self._true_ms(model)
        except InputRefusedError as error:
            return Loaded(model.key, failure=Failure("refused", "load", detail=str(error)))
        failure = self._behaviour.failure(model.key, true_ms)
        if failure is not None and failure.phase != "run":
            return Loaded(model.key, failure=failure)
        level_ms = true_ms * float(np.exp(self._behaviour.process_noise * self._rng.standard_normal()))
        self._networks[model.key] = level_ms, failure
        self._energy_mj[model.key] = energy_mj(true_ms)
        return Loaded(
            model.key,
            load_ms=20.0,
            first_run_ms=3 * level_ms,
            warm_up_runs=_WARM_UP_RUNS,
            providers={"simulated": 1},
            peak_memory_bytes=50 * 2**20,
            memory_bytes=memory_bytes(true_ms),
        )

    def _round(self, key: str, level_ms: float, burst_ms: float) -> Round:
        started_s = self._now_s
        hot = [self._is_hot()]
        before = self._sentinel()
        block = block_of(level_ms)
        wall, cpu, waits, switches = self._burst(key, level_ms, burst_ms, block)
        after = self._sentinel()
        hot.append(self._is_hot())
        events = ("thermal",) if any(hot) else ()
        others = self._other_sentinels() if self._rounds % OTHERS_EVERY == 0 else {}
        self._rounds += 1
        state = {ENERGY: self._energy_mj[key]}
        return Round(key, started_s, before, after, wall, cpu, switches, waits, events, block, others, state)

    def _other_sentinels(self) -> dict[str, float]:
        factor = float(self._weather.factor(np.array([self._now_s]))[0])
        spread = np.exp(self._behaviour.sentinel_noise * self._others_rng.standard_normal(len(_OTHER_ELASTICITY)))
        return {
            kind: _SENTINEL_MS * factor**elasticity * float(noise)
            for (kind, elasticity), noise in zip(_OTHER_ELASTICITY.items(), spread, strict=True)
        }

    def _sentinel(self) -> tuple[float, ...]:
        spread = np.exp(self._behaviour.sentinel_noise * self._rng.standard_normal(1 + SENTINEL_RUNS))
        factor = float(self._weather.factor(np.array([self._now_s]))[0])
        times_ms = _SENTINEL_MS * factor * spread
        self._now_s += float(times_ms.sum()) / 1e3
        return tuple(times_ms[1:].tolist())

    def _burst(
        self, key: str, level_ms: float, burst_ms: float, block: int
    ) -> tuple[tuple[float, ...], tuple[float, ...], float, int]:
        count = max(MIN_SAMPLES, int(np.ceil(burst_ms / (block * level_ms))))
        behaviour, rng = self._behaviour, self._rng
        steps_s = block * level_ms / 1e3 * np.arange(1, count + 1)
        factor = self._weather.factor(self._now_s + steps_s) ** behaviour.elasticity(key)
        spread = behaviour.noise * (rng.standard_normal() + rng.standard_normal(count) / np.sqrt(block))
        if behaviour.disturbed and rng.random() < behaviour.disturbed:
            spread = spread + rng.uniform(0, np.log(_DISTURBED))
        cpu_ms = level_ms * factor * np.exp(spread)
        hits = rng.poisson(behaviour.preemptions * block * cpu_ms / 1e3)
        waits_ms = rng.exponential(_PREEMPTION_MS, count) * hits
        wall_ms = cpu_ms + waits_ms / block
        self._now_s += float(level_ms + block * wall_ms.sum()) / 1e3
        return tuple(wall_ms.tolist()), tuple(cpu_ms.tolist()), float(waits_ms.sum()), int(hits.sum())

    def _is_hot(self) -> bool:
        return bool(self._weather.hot(np.array([self._now_s]))[0])

    def _check_open(self) -> None:
        if not self._open:
            raise DeviceError("this session is closed; open another")


def energy_mj(true_ms: float) -> float:
    """Return the energy of an inference: the simulated device always draws 15 W."""
    return _WATTS * true_ms


def memory_bytes(true_ms: float) -> int:
    """Return the memory of a network: 1 MiB for one that takes 1 ms, growing with the square root."""
    return round(2**20 * true_ms**0.5)


def _fault(cause: Cause, early: bool, true_ms: float) -> Failure:
    """Return a failure as a real worker would report it."""
    match cause:
        case "crashed":
            return Failure(cause, "load" if early else "run", 11, "Segmentation fault (simulated)")
        case "timeout":
            elapsed_ms = max(2000.0, 20 * true_ms)
            return Failure(cause, "warm_up" if early else "run", 9, "stopped (simulated)", elapsed_ms)
        case "oom":
            return Failure(cause, "load" if early else "run", detail="out of memory (simulated)")
        case _:
            return Failure(cause, "warm_up", detail="output 'y' is not finite (simulated)")


def _entropy(seed: int, *parts: str) -> int:
    return int.from_bytes(sha256(repr((seed, parts)).encode()).digest()[:16], "big")


def _uniform(seed: int, what: str, key: str) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments."""
    return (_entropy(seed, what, key) >> 75) / 2**53


def options_of(behaviour: Behaviour) -> dict[str, Any]:
    """Return what changes latencies; the faults do not, nor does a disturbance that is not there."""
    left_out = {"crash", "hang", "oom", "nan"} | (set() if behaviour.disturbed else {"disturbed"})
    return {k: v for k, v in vars(behaviour).items() if k not in left_out}
