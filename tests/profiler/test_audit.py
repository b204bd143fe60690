"""Every check of an audit: it passes where all is well, and fails for its own reason."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.store import Store
from tempograd.devices.places.local import LocalDevice
from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.errors import UsageError
from tempograd.measurement.label import Estimate
from tempograd.profiler.audit import Audit, _row, is_constant
from tempograd.profiler.check import compare
from tempograd.profiler.plan import QUICK

from .conftest import sample

NAMES = {
    "provenance.device", "provenance.labels", "provenance.file", "run.repeatability", "run.verdicts", "run.rounds",
    "run.drift", "providers.stored", "providers.now", "output.network", "output.values", "caching.outputs",
    "caching.repeated", "caching.work", "aa.coverage", "aa.drift",
}  # fmt: skip
COMPUTING = {"output.values", "caching.outputs", "caching.repeated", "caching.work"}

CHEATS = """
import numpy as np
from tempograd.devices.runtime.engines.onnxruntime import OnnxRuntime


class Program:
    gpu_time, build_ms = None, 0.0

    def __init__(self, inner):
        self._inner = inner
        self._held, self._first = False, None
        self.providers, self.kernels = inner.providers, inner.kernels
        self.invalid_output = inner.invalid_output

    def run(self):
        self._inner.run()

    def compute(self, values):
        return self._inner.compute(values)

    def hold(self, held):
        self._held = held
        self._inner.hold(held)


class Remembers(Program):
    def run(self):
        if self._held:
            hash(bytes(4096))  # it looks its input up; a run of no time at all is refused by itself
        else:
            self._inner.run()

    def compute(self, values):
        self._first = values if self._first is None else self._first
        return self._inner.compute(self._first)


class Wrong(Program):
    def compute(self, values):
        return self._inner.compute(values) + 0.1


class Lazy(Program):
    _work = np.ones((64, 64), np.float32)

    def run(self):
        for _ in range(10):
            self._work @ self._work


class Elsewhere(Program):
    def __init__(self, inner):
        super().__init__(inner)
        self.providers = {"CPUExecutionProvider": 3, "OtherProvider": 1}


def runtime(program):
    class Cheat(OnnxRuntime):
        def load(self, model, folder):
            return program(super().load(model, folder))

    return Cheat


remembers, wrong, lazy, elsewhere = map(runtime, (Remembers, Wrong, Lazy, Elsewhere))
"""


@pytest.fixture
def cheats(tmp_path, monkeypatch):
    """Runtimes that cheat, installed as a plug-in would be."""
    info = tmp_path / "site" / "cheats-1.dist-info"
    info.mkdir(parents=True)
    (info.parent / "cheating_runtimes.py").write_text(CHEATS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cheats\nVersion: 1\n")
    names = ("remembers", "wrong", "lazy", "elsewhere")
    points = "\n".join(f"{name} = cheating_runtimes:{name}" for name in names)
    (info / "entry_points.txt").write_text(f"[tempograd.runtimes]\n{points}\n")
    monkeypatch.syspath_prepend(info.parent)
    monkeypatch.setenv("PYTHONPATH", str(info.parent))


@pytest.fixture
def store(tmp_path, space, device):
    with Store(tmp_path / "s.db", write=True) as opened:
        sample(device, space, QUICK, opened, count=40)
        yield opened


def answers(device, space, store, *, fingerprint=None, larger=None, **options):
    options = {"count": 8, "plan": QUICK} | options
    checks = Audit(device, larger, space, store, fingerprint or device.fingerprint, **options).run()
    assert {check.check for check in checks} == NAMES
    assert all(check.reason for check in checks if check.passed is not True)
    return {check.check: check for check in checks}


def failed(found):
    return {name for name, check in found.items() if check.passed is False}


@pytest.mark.slow
def test_a_simulated_device_passes_all_that_it_can_be_asked(device, space, store):
    found = answers(device, space, store)
    assert failed(found) == set()
    assert {name for name, check in found.items() if check.passed is None} == COMPUTING
    assert "computes nothing" in found["output.values"].reason
    assert sum(row.purpose == "verify" for row in store.campaigns()) == 1
    assert store.counts()["ok"] >= 45


@pytest.mark.slow
def test_a_changed_builder_shows(device, space, store, monkeypatch):
    monkeypatch.setattr("tempograd.spaces.export.IR_VERSION", 10)
    found = answers(device, space, store)
    assert failed(found) == {"output.network"}
    assert found["output.network"].found == "8 of 8 differ"


@pytest.mark.slow
@pytest.mark.fault(19)
def test_another_device_is_named_field_by_field_and_not_compared(space, store, device):
    other = registry.create("device", "simulated:seed=1,noise=0.05")
    found = answers(other, space, store, fingerprint=device.fingerprint)
    assert failed(found) == {"provenance.device"}
    assert "options.noise: 0.01 in the store, 0.05 now" in found["provenance.device"].reason
    assert found["aa.coverage"].passed is found["aa.drift"].passed is None


@pytest.mark.slow
def test_a_label_that_its_raw_rounds_do_not_give_shows(tmp_path, device, space, store):
    (key,) = [m.key for m in store.measurements(newest=1)]
    with sqlite3.connect(tmp_path / "s.db") as other:
        other.execute("UPDATE measurements SET latency_ms = latency_ms * 1.001 WHERE key = ? AND replicate = 0", [key])
    other.close()
    found = answers(device, space, store)
    assert failed(found) == {"provenance.labels"}
    assert found["provenance.labels"].reason == f"first: {key}"


@pytest.mark.slow
def test_a_device_that_has_become_slower_shows(tmp_path, space):
    speed = {"factor": 1.0}

    def truth(model):
        return speed["factor"] * (0.5 + int(model.digest[:4], 16) / 65536)

    device = SimulatedDevice(latency_of=truth, slow=1.0, noise=0.003, sentinel_noise=0.003, process_noise=0.003)
    with Store(tmp_path / "slower.db", write=True) as store:
        sample(device, space, QUICK, store, count=40)
        assert failed(answers(device, space, store)) == set()
        speed["factor"] = 1.1
        found = answers(device, space, store, seed=1)
    assert failed(found) == {"aa.coverage", "aa.drift"}
    assert "+10" in found["aa.drift"].found


@pytest.mark.slow
def test_a_network_that_fails_now_shows(space, store, device):
    broken = registry.create("device", "simulated:seed=1,oom=1.0")
    found = answers(broken, space, store)
    assert failed(found) == {"providers.now", "aa.coverage"}
    assert "out of memory" in found["providers.now"].reason


def test_without_a_good_row_there_is_nothing_to_audit(tmp_path, device, space):
    with Store(tmp_path / "empty.db", write=True) as store, pytest.raises(UsageError, match="collect into it first"):
        Audit(device, None, space, store, device.fingerprint, 8, QUICK).run()


@pytest.fixture(scope="module")
def collected(tmp_path_factory, space):
    """A store of the local machine."""
    with Store(tmp_path_factory.mktemp("local") / "local.db", write=True) as opened:
        sample(LocalDevice(), space, replace(QUICK, target=0.9), opened, count=8)
        yield opened


@pytest.mark.real
def test_a_real_device_computes_what_torch_does(space, collected):
    device = LocalDevice()
    found = answers(device, space, collected, larger=LocalDevice(batch=8), count=4)
    assert failed(found) <= {"run.rounds", "run.drift", "aa.coverage", "aa.drift"}  # these are the machine's affair
    for name in COMPUTING | {"providers.stored", "providers.now", "output.network", "provenance.labels"}:
        assert found[name].passed, found[name]


@pytest.mark.fault(23)
@pytest.mark.real
@pytest.mark.parametrize(
    ("cheat", "caught"),
    [
        ("remembers", {"output.values", "caching.outputs", "caching.repeated"}),
        ("wrong", {"output.values"}),
        ("lazy", {"caching.work"}),
        ("elsewhere", {"providers.now"}),
    ],
)
def test_a_runtime_that_cheats_is_caught(space, collected, cheats, cheat, caught):
    device, larger = LocalDevice(cheat), LocalDevice(cheat, batch=8)
    (stored,) = collected.fingerprints().values()
    found = answers(device, space, collected, fingerprint=stored, larger=larger, count=3)
    live = COMPUTING | {"providers.now"}
    assert failed(found) & live == caught
    assert all(found[name].passed for name in live - caught)
    assert "runtime.name" in found["provenance.device"].reason


def label(ms, half=0.01):
    return Estimate(ms, ms * (1 - half), ms * (1 + half), "gated", 8, 8)


def verdicts(pairs, asked=None, repeatability=0.005):
    checks = compare(pairs, asked or len(pairs), repeatability=repeatability, target=0.02)
    return {check.check: check.passed for check in checks}


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (0.0, {"aa.coverage": True, "aa.drift": True}),
        (0.013, {"aa.coverage": True, "aa.drift": True}),
        (0.016, {"aa.coverage": True, "aa.drift": False}),
        (-0.016, {"aa.coverage": True, "aa.drift": False}),
        (0.1, {"aa.coverage": False, "aa.drift": False}),
    ],
)
def test_labels_that_moved_one_way(shift, expected):
    tiny = [1e-4 * (-1) ** n for n in range(8)]
    assert verdicts([(label(1.0), label((1 + shift) * (1 + e))) for e in tiny]) == expected


def test_wide_intervals_do_not_excuse_labels_that_half_of_the_networks_changed_by():
    spread = [(label(1.0, 0.2), label(1 + 0.061 * (-1) ** n, 0.2)) for n in range(8)]
    assert verdicts(spread)["aa.coverage"] is False
    close = [(label(1.0, 0.2), label(1 + 0.04 * (-1) ** n, 0.2)) for n in range(8)]
    assert verdicts(close)["aa.coverage"] is True


def test_labels_that_spread_are_no_drift_and_unreliable_ones_tell_none():
    spread = [(label(1.0), label(1 + 0.1 * (-1) ** n)) for n in range(8)]
    assert verdicts(spread) == {"aa.coverage": False, "aa.drift": True}
    noisy = [(label(1.0), label(1.6, half=0.5)) for _ in range(8)]
    assert verdicts(noisy) == {"aa.coverage": False, "aa.drift": None}
    assert verdicts([(label(1.0), label(1.0001))] * 5, asked=8)["aa.coverage"] is False


@pytest.mark.slow
def test_the_coverage_test_fails_a_sound_device_in_one_of_a_hundred_cases_at_most():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(500):
        errors = rng.normal(0, 0.01 / 1.96, (16, 2))
        pairs = [(label(1 + a), label(1 + b)) for a, b in errors]
        wrong += verdicts(pairs)["aa.coverage"] is False
    assert wrong <= 5


def test_a_network_whose_input_is_lost_is_constant(space):
    assert is_constant(space, space.architecture([0] * len(space.sites)).key)
    assert not is_constant(space, space.architecture([1] * len(space.sites)).key)


@pytest.mark.slow
def test_a_stored_row_of_another_provider_shows(tmp_path, device, space, store):
    rows = list(store.measurements())
    with Store(tmp_path / "elsewhere.db", write=True) as other:
        campaign = other.begin(space.spec, device.fingerprint, QUICK.record(0), 0)
        moved = replace(rows[0], environment=rows[0].environment | {"providers": {"simulated": 1, "cpu": 2}})
        silent = replace(rows[1], environment=rows[1].environment | {"providers": {}})
        other.append(campaign, moved, silent, *rows[2:])
        found = answers(device, space, other)
    assert failed(found) == {"providers.stored"}
    assert "1 on cpu, simulated" in found["providers.stored"].reason
    assert "1 on no provider stated" in found["providers.stored"].reason


def test_a_row_of_an_older_definition_agrees_and_is_compared_by_that_of_today(store):
    today = next(m for m in store.measurements() if m.verdict == "ok")
    before = replace(today, reference=replace(today.reference, burst_quantile=0.25))
    row = _row(before, (before.verdict, before.latency_ms))
    assert row.agrees
    assert not _row(today, (before.verdict, before.latency_ms)).agrees
    assert row.label == today.estimate != before.estimate


@pytest.mark.slow
def test_where_falling_back_is_allowed_some_nodes_may_run_elsewhere_but_not_all(device, space, store):
    places = [("a", {"gpu", "cpu"}), ("b", {"gpu"}), ("c", {"cpu"})]
    for allowed, elsewhere in ((True, "1 on cpu"), (False, "1 on cpu, gpu, 1 on cpu")):
        options = device.fingerprint.options | {"provider": "gpu", "allow_fallback": allowed}
        asked = Audit(device, None, space, store, replace(device.fingerprint, options=options), 1, QUICK)
        assert asked._provided("providers.now", places).reason == elsewhere
