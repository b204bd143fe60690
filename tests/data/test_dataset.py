from dataclasses import replace

import numpy as np
import pytest

from tempograd import registry
from tempograd.data.dataset import LatencyDataset, Row
from tempograd.data.store import Store
from tempograd.errors import InvalidArchitectureError, MismatchError, UnknownNameError, UsageError
from tempograd.measurement.rounds import Failure

from .conftest import SPACE, keep, make

SPREAD = np.array([0.99, 0.995, 1.0, 1.0, 1.005, 1.01])


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.db", write=True) as store:
        yield store


def keys(n):
    return [f"{i % 5}.{i // 5 % 5}.{i // 25}.0.1.2" for i in range(n)]


def test_labels_intervals_and_weights(store, fingerprint):
    narrow, wide, *_ = keys(2)
    keep(store, fingerprint, make(narrow, 2 * SPREAD, fingerprint), make(wide, 3 * SPREAD**4, fingerprint))
    found = LatencyDataset.from_store(store)
    assert found.keys == (narrow, wide)
    assert found.y_ms == pytest.approx([2.0, 3.0])
    floor = 1.96 * 0.005  # no network was timed twice: so much processes differ by anyway
    assert found.half_width == pytest.approx([np.hypot(0.01, floor), np.hypot(1.01**4 - 1, floor)], rel=1e-6)
    assert found.weight == pytest.approx(1 / (found.half_width / 1.96).clip(0.005) ** 2)
    assert found.verdict == ("ok", "ok")
    assert found.counts == {"ok": 2}
    assert found.space == SPACE
    assert found.fingerprint == fingerprint
    assert np.isnan(found.repeatability)
    assert "not measured" in found.describe()
    assert [(row["low_ms"], row["high_ms"]) for row in found.listed()] == [
        *zip(found.low_ms, found.high_ms, strict=True)
    ]


def test_nothing_is_dropped_silently(store, fingerprint):
    ok, noisy, crashed, slow, twice = keys(5)
    keep(
        store,
        fingerprint,
        make(ok, SPREAD, fingerprint),
        make(noisy, SPREAD**20, fingerprint),
        make(crashed, [], fingerprint, failure=Failure("oom", "load")),
        make(slow, [], fingerprint, failure=Failure("timeout", "run", 9, elapsed_ms=2000.0)),
        make(twice, [], fingerprint, failure=Failure("crashed", "run", 11), attempts=2),
    )
    found = LatencyDataset.from_store(store)
    assert found.counts == {"censored": 1, "failed": 1, "noisy": 1, "ok": 1, "quarantined": 1}
    assert found.keys == (ok, noisy)
    assert found.censored == {slow: 2000.0}
    kept = found.ok()
    assert kept.keys == (ok,)
    assert kept.left_out == {"noisy": 1, "failed": 1, "censored": 1, "quarantined": 1}
    assert "left out: 1 censored, 1 failed, 1 noisy, 1 quarantined" in kept.describe()
    assert found.only("ok", "noisy").ok().left_out == kept.left_out
    with pytest.raises(UnknownNameError, match=r"unknown verdict 'okay'; allowed: .*noisy, ok"):
        found.only("okay")


def test_blind_duplicates_widen_every_interval(store, fingerprint):
    names = keys(40)
    rng = np.random.default_rng(0)
    levels = np.exp(0.02 * rng.standard_normal((2, 40)))
    for replicate in (0, 1):
        rows = [
            make(k, level * SPREAD, fingerprint, replicate=replicate)
            for k, level in zip(names, levels[replicate], strict=True)
        ]
        keep(store, fingerprint, *rows)
    found = LatencyDataset.from_store(store)
    assert len(found.keys) == 40
    assert found.pairs >= 38
    assert found.repeatability == pytest.approx(0.02, rel=0.3)
    expected = np.hypot(0.01, 1.96 * found.repeatability)
    assert found.half_width == pytest.approx(np.full(40, expected), rel=0.02)
    assert found.low_ms == pytest.approx(found.y_ms * (1 - expected), rel=0.01)


@pytest.mark.fault(24)
def test_a_duplicate_off_beyond_chance_is_quarantined_and_does_not_spoil_the_rest(store, fingerprint):
    names = keys(20)
    keep(store, fingerprint, *(make(k, SPREAD, fingerprint) for k in names))
    wrong = [make(k, SPREAD * (1.6 if k == names[3] else 1.002), fingerprint, replicate=1) for k in names]
    keep(store, fingerprint, *wrong)
    found = LatencyDataset.from_store(store)
    assert [row.key for row in found.rows if row.verdict == "quarantined"] == [names[3]]
    assert found.pairs == 19
    assert found.repeatability < 0.002
    assert found.ok().left_out == {"quarantined": 1}


def test_of_several_measurements_the_narrowest_gives_the_label(store, fingerprint):
    (key,) = keys(1)
    keep(store, fingerprint, make(key, [], fingerprint, failure=Failure("crashed", "run", 11)))
    keep(store, fingerprint, make(key, 1.02 * SPREAD**3, fingerprint), seed=1)
    keep(store, fingerprint, make(key, 1.01 * SPREAD, fingerprint), seed=2)
    assert LatencyDataset.from_store(store).y_ms == pytest.approx([1.01])


def test_networks_closed_while_the_device_was_slow_are_corrected_in_hindsight(store, fingerprint):
    slow, *fast = keys(200)
    # all that was known of the device when the first network was closed was its slow state: sentinel 1.6, gate 1.76
    first = make(slow, 1.6 * SPREAD, fingerprint, sentinel_ms=1.6)
    assert first.latency_ms == pytest.approx(1.6)
    keep(store, fingerprint, first)
    keep(store, fingerprint, *(make(k, SPREAD, fingerprint, started_s=10.0 * i) for i, k in enumerate(fast)))
    found = LatencyDataset.from_store(store)
    assert found.y_ms[0] == pytest.approx(1.0, abs=1e-3)
    assert found.rows[0].path == "ratio"
    assert found.rows[1].path == "gated"


def test_rounds_of_before_and_of_today_have_one_definition_in_a_data_set(store, fingerprint):
    old, new = keys(2)
    for key, quantile in ((old, 0.25), (new, 0.0)):
        m = make(key, SPREAD, fingerprint)
        rounds = tuple(replace(r, cpu_ms=tuple(r.cpu_ms[0] * x for x in (1.5, 1.0, 1.1, 1.2, 1.3))) for r in m.rounds)
        m = replace(m, rounds=rounds, reference=replace(m.reference, burst_quantile=quantile))
        assert m.latency_ms == pytest.approx(1.1 if quantile else 1.0, abs=1e-3)
        keep(store, fingerprint, m)
    assert LatencyDataset.from_store(store).y_ms == pytest.approx([1.0, 1.0], abs=1e-3)


@pytest.mark.slow
def test_a_reference_is_of_its_own_time(store, fingerprint):
    # a device that became slower for good: an hour of each, too many readings to need the other one's
    for hour, level in ((0, 1.0), (9, 1.5)):
        rows = [
            make(k, level * SPREAD, fingerprint, sentinel_ms=level, started_s=36000.0 * hour + i)
            for i, k in enumerate(keys(125) * 3)
        ]
        for seed in range(3):
            keep(store, fingerprint, *rows[125 * seed : 125 * (seed + 1)], seed=10 * hour + seed)
    for row in store.measurements():
        assert row.latency_ms in (pytest.approx(1.0), pytest.approx(1.5))
    found = LatencyDataset.from_store(store)
    assert {row.path for row in found.rows} == {"gated"}


@pytest.mark.fault(19)
def test_devices_are_not_mixed(store, fingerprint):
    other = replace(fingerprint, options={"threads": 2})
    keep(store, fingerprint, make(keys(1)[0], SPREAD, fingerprint))
    keep(store, other, make(keys(1)[0], 3 * SPREAD, other))
    with pytest.raises(MismatchError, match=r"options\.threads: [12] and [12]") as caught:
        LatencyDataset.from_store(store)
    assert fingerprint.id in str(caught.value)
    assert other.id in str(caught.value)
    assert LatencyDataset.from_store(store, fingerprint_id=other.id).y_ms == pytest.approx([3.0])


def test_spaces_are_not_mixed_and_absent_ones_are_named(store, fingerprint):
    with pytest.raises(UsageError, match="it holds: none"):
        LatencyDataset.from_store(store)
    keep(store, fingerprint, make(keys(1)[0], SPREAD, fingerprint))
    with pytest.raises(UsageError, match="it holds: nasbench201"):
        LatencyDataset.from_store(store, space="darts")
    keep(store, fingerprint, replace(make("x", SPREAD, fingerprint), space="another"))
    with pytest.raises(UsageError, match="several spaces; choose one: another, nasbench201"):
        LatencyDataset.from_store(store)


def test_of_a_store_of_kernels_the_verb_that_learns_them_is_named(store, fingerprint):
    for seed, name in enumerate(("#kernels", "#models")):
        keep(store, fingerprint, replace(make("x", SPREAD, fingerprint), space=name), seed=seed)
    with pytest.raises(UsageError, match="tempograd kernels fit"):
        LatencyDataset.from_store(store)


def test_encoding_is_the_spaces(store, fingerprint, space):
    names = keys(7)
    keep(store, fingerprint, *(make(k, SPREAD, fingerprint) for k in names))
    found = LatencyDataset.from_store(store)
    assert np.array_equal(found.encode(space), space.encode([space.from_key(k) for k in names]))
    with pytest.raises(MismatchError, match="the space given is 'nasbench201:cells=5"):
        found.encode(registry.create("space", "nasbench201"))


def test_a_key_of_no_architecture_is_an_error(fingerprint, space):
    with pytest.raises(InvalidArchitectureError):
        LatencyDataset(space.spec, fingerprint, (Row("9.9", "ok", 1.0, 1.0, 1.0, "gated", 6, 6),)).encode(space)


def test_an_unknown_spread_has_no_weight(fingerprint):
    found = LatencyDataset("s", fingerprint, (Row("a", "noisy", 1.0, 0.0, float("inf"), "gated", 1, 1),))
    assert found.weight == pytest.approx([0.0])


def test_quantities_beside_latency_and_what_has_none_is_counted(store, fingerprint):
    told, silent, noisy, failed = keys(4)
    rows = [
        make(told, 2 * SPREAD, fingerprint),
        make(silent, 3 * SPREAD, fingerprint),
        make(noisy, SPREAD**20, fingerprint),
        make(failed, [], fingerprint, failure=Failure("oom", "load")),
    ]
    energies_mj = iter([30.0, 31.0, 32.0, 31.0, 31.0, 31.0])
    drawn = tuple(replace(r, state={"energy_mj": next(energies_mj)}) for r in rows[0].rounds)
    rows[0] = replace(rows[0], rounds=drawn, environment={"memory_bytes": 2000})
    rows[2] = replace(rows[2], environment={"memory_bytes": 1000})
    keep(store, fingerprint, *rows)
    found = LatencyDataset.from_store(store)
    assert found.values("latency_ms") == pytest.approx(found.y_ms)
    assert found.values("energy_mj") == pytest.approx([31.0, np.nan, np.nan], nan_ok=True)
    assert found.values("wall_median_ms") == pytest.approx([2.0, 3.0, 1.0])
    with_memory = found.having("memory_bytes")
    assert with_memory.keys == (told, noisy)
    assert with_memory.values("memory_bytes").tolist() == [2000.0, 1000.0]
    assert with_memory.verdict == ("ok", "noisy")
    assert with_memory.weights("memory_bytes").tolist() == [1.0, 1.0]
    assert with_memory.weights("energy_mj").tolist() == with_memory.weight.tolist()
    assert with_memory.left_out == {"without memory_bytes": 1}
    assert with_memory.counts == {"failed": 1, "noisy": 1, "ok": 1}
    assert "left out: 1 without memory_bytes" in with_memory.describe()
    assert found.having("latency_ms") == found
    with pytest.raises(UsageError, match="memory_bytes"):
        found.having("memory")
