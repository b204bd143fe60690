import threading
from math import nan

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.store import Store
from tempograd.devices.device import Model
from tempograd.devices.places.simulated import SimulatedDevice
from tempograd.errors import UsageError
from tempograd.measurement.repeatability import across
from tempograd.measurement.rounds import Failure
from tempograd.profiler.campaign import run
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import QUICK, Items
from tempograd.profiler.verify import TRIES, confirm, measure
from tempograd.search.result import measured_of, verdict_of

from .conftest import ScriptedDevice, fastest_ms, items


@pytest.mark.slow
def test_networks_come_back_in_the_order_asked_and_precisely(device, space, tmp_path):
    chosen = space.sample(5, np.random.default_rng(0))
    with Store(tmp_path / "s.db", write=True) as store:
        run(device, Items.of(space, choose(space, 40, seed=0)), QUICK, store)
        found = measure(device, Items.of(space, chosen), store=store)
        again = measure(device, Items.of(space, chosen), store=store)
        rows = list(store.measurements(newest=10))
    assert [m.key for m in found] == [a.key for a in chosen]
    assert [(m.key, m.replicate) for m in rows] == [
        (m.key, m.replicate) for m in sorted(rows, key=lambda m: m.replicate)
    ]
    assert {m.replicate for m in again} == {1}
    for m in found:
        model = Model(m.key, *space.write_onnx(space.from_key(m.key), tmp_path / "onnx"))
        assert m.latency_ms == pytest.approx(device.true_ms(model), rel=0.05)
        assert m.plan["name"] == "precise"


def test_the_stores_readings_say_which_state_is_meant(tmp_path):
    device = ScriptedDevice()
    with Store(tmp_path / "s.db", write=True) as store:
        run_count = measure(device, items(40), QUICK, store)
        assert len(run_count) == 40
        (known,) = measure(device, items(1), QUICK, store)
    assert known.reference.calibration == run_count[0].reference.calibration
    assert len(known.rounds) == 6  # nothing was calibrated anew


def test_without_a_store_the_call_is_its_own_reference():
    device = ScriptedDevice()
    found = measure(device, items(2))
    assert [m.latency_ms for m in found] == pytest.approx([1.0, 1.1], rel=2e-3)
    assert {m.verdict for m in found} == {"ok"}
    assert {len(m.rounds) for m in found} == {15}  # the first look after the calibration


def test_a_failure_is_a_measurement_too():
    device = ScriptedDevice(on_load=lambda s, key: Failure("refused", "load", detail="x") if key == "op1" else None)
    found = measure(device, items(3), QUICK)
    assert [m.verdict for m in found] == ["ok", "failed", "ok"]
    assert np.isnan(found[1].latency_ms)


@pytest.mark.slow
def test_the_interval_of_one_process_holds_what_differs_between_processes(tmp_path):
    """Planted: every process times each network off by 0.4 or 2 %, which no round of that process tells."""
    noise = 0.008

    def truth_ms(model):
        return 0.5 + 0.01 * int(model.key[2:])

    def held(found, *, alone=False):
        labels = [m.estimate.between(0.0) if alone else m.estimate for m in found]
        true_ms = [fastest_ms(truth_ms(m), noise, len(m.rounds[0].cpu_ms)) for m in found]
        return np.mean([label.low_ms <= true <= label.high_ms for label, true in zip(labels, true_ms, strict=True)])

    def timed(spread, processes):
        device = SimulatedDevice(latency_of=truth_ms, process_noise=spread, noise=noise, slow=1.0, seed=3)
        with Store(tmp_path / f"{spread}.db", write=True) as store:
            return [measure(device, items(100), QUICK, store, seed=n, batch_size=100) for n in range(processes)]

    first, *_ = timed(0.004, 1)
    assert held(first) >= 0.95 > held(first, alone=True)
    *_, learnt = timed(0.02, 3)  # by then a pair of every network tells how far two processes differ
    assert held(learnt) >= 0.92
    assert held(learnt, alone=True) < 0.75
    assert {m.verdict for m in learnt} == {"ok"}  # more rounds of this process would not help


def test_single_operations_can_be_timed(space, tmp_path):
    from tempograd.spaces.export import WeightPool, write_model

    operations = space.operations
    pool = WeightPool.of(space.graph, 0)

    def build(key, directory):
        return write_model(operations[key], directory, pool, batch=1, metadata={})

    device = registry.create("device", "simulated")
    keys = [key for key in operations if "conv" in key][:4]
    chosen = Items(f"{space.spec}#operations", tuple(keys), build)
    assert all(m.latency_ms > 0 for m in measure(device, chosen, QUICK))


class ByProcess(ScriptedDevice):
    """A device on which every measuring process has a latency of its own, and may not hold still.

    Args:
        script: for each process its latency, or its latency and by which share of it every second round is slower.
        then: called with the number of the process when it times its first round.
    """

    def __init__(self, *script, then=lambda number: None):
        super().__init__(on_round=self._turn)
        self._script = [each if isinstance(each, tuple) else (each, 0.0) for each in script]
        self._then, self._now_ms = then, 0.0

    def _turn(self, session, key):
        latency_ms, scatter = self._script[session.number]
        if len(session.passes) == 1:
            self._then(session.number)
        self._now_ms = latency_ms * (1 + scatter * (len(session.passes) % 2))

    def level_ms(self, key):
        return self._now_ms


def confirmed(device, tmp_path, **options):
    with Store(tmp_path / "s.db", write=True) as store:
        found = confirm(device, items(1), QUICK, store, **options)
        kept = list(store.measurements(newest=10))
    return found, kept


@pytest.mark.parametrize(
    ("script", "told_ms", "processes"),
    [
        ([1.0, 1.1, 0.99], 1.0, 3),
        ([1.05, 1.0, 1.1, 9.0], 1.05, 3),
        ([(1.0, 0.5), 1.25, (2.0, 0.5), 1.15, 1.2], 1.2, 5),
        ([1.0, 1.6, 1.02, 1.04, 9.0], 1.02, 4),
        ([(1.0, 0.5), 1.3, (2.0, 0.5), (2.0, 0.5), 1.2, (2.0, 0.5), 9.0], 1.3, TRIES),
    ],
)
@pytest.mark.promise(7)
def test_the_middle_process_of_three_that_held_still_is_told(script, told_ms, processes, tmp_path):
    device = ByProcess(*script)
    found, kept = confirmed(device, tmp_path)
    assert len(device.sessions) == len(found) == len(kept) == processes
    assert found[0].latency_ms == pytest.approx(told_ms, rel=2e-3)
    assert found[0].verdict == "ok"
    assert sorted(m.replicate for m in found) == list(range(processes))


def test_on_a_device_that_never_holds_still_the_narrowest_is_told(tmp_path):
    device = ByProcess(*((1.0, scatter) for scatter in (0.5, 0.3, 0.11, 0.4, 0.2, 0.6, 0.0)))
    found, _ = confirmed(device, tmp_path)
    assert len(found) == TRIES
    assert {m.verdict for m in found} == {"noisy"}
    assert [m.replicate for m in found] == [2, 0, 1, 3, 4, 5]


@pytest.mark.parametrize("script", [[1.0, 1.6] * 3, [1.0, *[1.6] * 5]])
def test_processes_that_disagree_are_no_answer_though_each_of_them_held_still(script, tmp_path):
    found, _ = confirmed(ByProcess(*script), tmp_path)
    assert len(found) == TRIES
    assert {m.verdict for m in found} == {"ok"}
    measured = measured_of(found[0], across(found[0], found, nan), found)
    assert measured.verdict == "noisy"
    assert measured.low_ms < 1.0 < 1.6 < measured.high_ms
    assert verdict_of(found[0], None, None, found) == "unreliable"


def test_a_final_test_that_is_stopped_gives_no_verdict_of_fewer_processes(tmp_path):
    stop = threading.Event()
    found, kept = confirmed(ByProcess(1.0, 1.0, 1.0, then=lambda number: number and stop.set()), tmp_path, stop=stop)
    assert found == []
    assert kept  # what the first process said


def test_one_network_at_a_time_is_confirmed(tmp_path):
    with Store(tmp_path / "s.db", write=True) as store, pytest.raises(UsageError, match="2 networks; allowed: one"):
        confirm(ScriptedDevice(), items(2), QUICK, store)
