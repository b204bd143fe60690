from hashlib import sha256
from itertools import count
from math import exp
from statistics import NormalDist

import pytest

from tempograd import registry
from tempograd.devices.device import Loaded, PassResult
from tempograd.errors import DeviceError
from tempograd.measurement.fingerprint import Fingerprint
from tempograd.measurement.rounds import Round
from tempograd.profiler.campaign import run
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import Items

SPACE = "nasbench201:cells=1,width=4,size=8"
STILL = "simulated:noise=0,sentinel_noise=0,process_noise=0,slow=1,elastic=false,preemptions=0"


@pytest.fixture(scope="session")
def space():
    return registry.create("space", SPACE)


@pytest.fixture
def device():
    return registry.create("device", "simulated:seed=1")


def write(key, directory):
    path = directory / f"{key}.onnx"
    path.write_text(key)
    return path, sha256(key.encode()).hexdigest()


def fastest_ms(true_ms, noise, samples, block=1):
    """Return where the fastest of a simulated burst is to be expected, by the samples' own noise (Blom, 1958)."""
    return true_ms * exp(noise / block**0.5 * NormalDist().inv_cdf(0.625 / (samples + 0.25)))


def items(n):
    return Items("operations", tuple(f"op{i}" for i in range(n)), write)


class ScriptedDevice:
    """A device whose sessions do what a test says, and that remembers what was done to it.

    ``on_load(session, key)`` and ``on_round(session, key)`` return a failure, None, or raise.
    """

    batch = 1

    def __init__(self, *, on_load=None, on_round=None, step_s=0.01, events=(), environment=None):
        self.fingerprint = Fingerprint("scripted", options={"threads": 1})
        self.on_load = on_load or (lambda session, key: None)
        self.on_round = on_round or (lambda session, key: None)
        self.step_s = step_s
        self.events = events
        self.sessions = []
        self.now_s = 1000.0
        self._environment = environment or {"simulated": True, "virtual_clock": True}

    def environment(self):
        return dict(self._environment)

    def open(self):
        session = ScriptedSession(self, len(self.sessions))
        self.sessions.append(session)
        return session

    def level_ms(self, key):
        return 1 + int(key.removeprefix("op")) / 10


class ScriptedSession:
    def __init__(self, device, number):
        self.device, self.number = device, number
        self.loaded, self.passes, self.closed, self.timing = [], [], False, False
        self._tick = count()

    def load(self, models):
        assert all(model.path.is_file() for model in models)
        self.loaded += [model.key for model in models]
        return [Loaded(m.key, load_ms=1.0, failure=self.device.on_load(self, m.key)) for m in models]

    def start_timing(self):
        self.timing = True

    def run_pass(self, keys, *, burst_ms):
        assert self.timing
        assert not self.closed
        assert set(keys) <= set(self.loaded)
        self.passes.append(list(keys))
        rounds = []
        for key in keys:
            failure = self.device.on_round(self, key)
            if isinstance(failure, DeviceError):
                self.close()
                raise failure
            if failure is not None:
                self.close()
                return PassResult((), {key: failure})
            self.device.now_s += self.device.step_s
            y = self.device.level_ms(key) * (1 + 0.001 * (next(self._tick) % 3))
            rounds.append(
                Round(key, self.device.now_s, (1.0, 1.01), (1.0, 1.02), (y,) * 3, (y,) * 3, events=self.device.events)
            )
        return PassResult(tuple(rounds))

    def close(self):
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def sample(device, space, plan, store, *, count, seed=0, **options):
    """Time a sample of a space, as ``collect`` does."""
    items = Items.of(space, choose(space, count, seed=seed), batch=device.batch)
    return run(device, items, plan, store, seed=seed, **options)
