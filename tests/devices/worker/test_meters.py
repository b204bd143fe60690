from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tempograd.devices.places.local import LocalDevice
from tempograd.devices.worker.meters import EnergyMeter, MemoryMeter
from tempograd.testing.networks import model_bytes

RANGE_UJ = 10_000


def big(zoo, key: str, weights: int):
    """A network of little but so many weights."""
    values = np.random.default_rng(0).normal(size=(64, weights // 64)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return zoo.file(key, model_bytes(nodes, [1, 64], [1, weights // 64], [numpy_helper.from_array(values, "w")]))


@pytest.fixture
def zone(tmp_path):
    def zone(name: str, kind: str, energy_uj: int | None, range_uj: int | None = RANGE_UJ) -> Path:
        folder = tmp_path / "sys/class/powercap" / name
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{kind}\n")
        for file, value in (("energy_uj", energy_uj), ("max_energy_range_uj", range_uj)):
            if value is not None:
                (folder / file).write_text(f"{value}\n")
        return folder / "energy_uj"

    return zone


def test_all_packages_are_added_up_and_nothing_in_them_twice(tmp_path, zone):
    packages = [zone("intel-rapl:0", "package-0", 100), zone("intel-rapl:1", "package-1", 50)]
    others = [
        zone("intel-rapl:0:0", "core", 10),
        zone("intel-rapl:2", "psys", 10),
        zone("intel-rapl-mmio:0", "package-0", 100),
    ]
    meter = EnergyMeter(tmp_path)
    before = meter.read_uj()
    for file in (packages[0], *others):
        file.write_text("2100")
    packages[1].write_text("1050")
    assert before == (100, 50)
    assert meter.since_mj(before) == pytest.approx(3.0)


def test_a_counter_that_wrapped_around(tmp_path, zone):
    counter = zone("intel-rapl:0", "package-0", 9_000)
    meter = EnergyMeter(tmp_path)
    before = meter.read_uj()
    counter.write_text("500")
    assert meter.since_mj(before) == pytest.approx(1.5)


def test_what_cannot_be_known_is_not_guessed(tmp_path, zone):
    assert EnergyMeter(tmp_path / "nowhere").read_uj() is None
    counter = zone("intel-rapl:0", "package-0", 9_000, range_uj=None)
    meter = EnergyMeter(tmp_path)
    before = meter.read_uj()
    counter.write_text("500")
    assert meter.since_mj(before) is None
    assert meter.since_mj(None) is None
    counter.unlink()
    assert meter.since_mj(before) is None
    zone("intel-rapl:1", "package-1", 100)  # one of two packages is no package energy
    assert EnergyMeter(tmp_path).read_uj() is None


def test_memory_is_the_peak_above_what_was_there(tmp_path):
    status = tmp_path / "status"
    status.write_text("VmPeak:\t9999 kB\nVmHWM:\t500 kB\nVmRSS:\t100 kB\n")
    (tmp_path / "clear_refs").touch()
    meter = MemoryMeter(tmp_path)
    assert (tmp_path / "clear_refs").read_text() == "5"
    status.write_text("VmHWM:\t350 kB\nVmRSS:\t120 kB\n")
    assert meter.peak_bytes() == 250 * 1024
    status.write_text("VmRSS:\t120 kB\n")
    assert meter.peak_bytes() is None


def test_memory_is_absent_where_the_peak_cannot_be_reset(tmp_path):
    (tmp_path / "status").write_text("VmHWM:\t500 kB\nVmRSS:\t100 kB\n")
    (tmp_path / "clear_refs").mkdir()  # no file to write to, even for root
    assert MemoryMeter(tmp_path).peak_bytes() is None


def test_memory_that_was_given_back_still_counts_and_an_earlier_peak_does_not():
    for size in (2**26, 2**25):
        meter = MemoryMeter()
        if meter.peak_bytes() is None:
            pytest.skip("this kernel does not let a process reset its peak")
        block = ctypes.create_string_buffer(size)
        ctypes.memset(block, 1, size)
        del block
        assert size * 0.95 < meter.peak_bytes() < size * 1.2


@pytest.mark.real
def test_a_network_on_this_machine_takes_the_memory_of_its_weights(zoo):
    models = [zoo.conv("warm"), big(zoo, "a", 2**20), big(zoo, "b", 2**22), zoo.conv("small")]
    with LocalDevice().open() as session:
        found = {one.key: one.memory_bytes for one in session.load(models)}
    if None in found.values():
        pytest.skip("this kernel does not let a process reset its peak")
    assert 4 * 2**20 < found["a"] < 4 * 2**22 < found["b"] < 4 * 2**24
    assert found["small"] < 2**20


@pytest.mark.real
def test_memory_of_a_network_that_is_quantised_beside_it_is_not_known(zoo):
    with LocalDevice(precision="int8-dynamic").open() as session:
        assert session.load([big(zoo, "a", 2**14)])[0].memory_bytes is None


@pytest.mark.real
def test_energy_is_that_of_one_inference(zoo, faulty):
    with LocalDevice(faulty).open() as session:
        session.load([zoo.conv("a", graph="metered")])
        (round_,) = session.run_pass(["a"], burst_ms=2.0).rounds
    runs = 1 + round_.block * len(round_.wall_ms)  # one is discarded, but draws energy
    assert round_.state["energy_mj"] == pytest.approx(1000.0 / runs)
