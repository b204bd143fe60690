# pyright: basic
"""What every device owes its callers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import psutil
import pytest

from ..devices.device import Device
from ..errors import DeviceError, UsageError
from ..measurement.fingerprint import Fingerprint
from ..registry import create, load
from .networks import Zoo


class DeviceContract:
    """A device gives numbers that can be trusted, and says what it is.

    Attributes:
        names: the devices' names in the registry, or specs with arguments. One that brings its own engine is skipped.
        optional: whether a device that cannot be reached is skipped too: for those that need what is not everywhere.
    """

    names: ClassVar[Sequence[str]]
    optional: ClassVar[bool] = False

    def pytest_generate_tests(self, metafunc):
        """Run every test on every device."""
        if "device" in metafunc.fixturenames:
            metafunc.parametrize("device", self.names, indirect=True)

    @pytest.fixture
    def device(self, request) -> Device:
        factory = load("device", request.param.partition(":")[0])
        if isinstance(factory, type) and not hasattr(factory, "open"):
            pytest.skip("a place that opens no measuring process here: it brings its own engine, tested with it")
        device = create("device", request.param)
        if self.optional:
            try:
                device.open().close()
            except DeviceError as error:
                pytest.skip(str(error))
        return device

    @pytest.fixture
    def zoo(self, tmp_path) -> Zoo:
        return Zoo(tmp_path)

    def test_fingerprint_is_stable_plain_and_readable(self, device):
        fingerprint = device.fingerprint
        assert Fingerprint.from_json(fingerprint.to_json()) == fingerprint
        assert len(fingerprint.id) == 12
        assert device.batch == fingerprint.options["batch"]
        assert fingerprint.options["threads"] >= 1
        assert fingerprint.runtime["name"]

    def test_environment_is_json(self, device):
        assert json.loads(json.dumps(device.environment(), allow_nan=False)) == device.environment()

    def test_the_environment_says_what_the_profiler_reads_as_it_reads_it(self, device):
        told = device.environment()
        here = set(range(psutil.cpu_count() or 1))
        for name in ("timed_cores", "idle_cores"):
            assert {core for core in told.get(name, ()) if type(core) is int} == set(told.get(name, ())) <= here
        assert isinstance(told.get("virtual_clock", False), bool)

    def test_a_batch_from_load_to_rounds(self, device, zoo):
        models = [zoo.conv("a"), zoo.conv("b", channels=16), zoo.conv("c", channels=4)]
        with device.open() as session:
            loaded = session.load(models)
            assert [one.key for one in loaded] == ["a", "b", "c"]
            for one in loaded:
                assert one.failure is None
                assert one.load_ms > 0
                assert one.first_run_ms > 0
                assert one.warm_up_runs >= 3
                assert sum(one.providers.values()) >= 1
                assert one.peak_memory_bytes > 0
            session.start_timing()
            for order in (["c", "a", "b"], ["b", "c"]):
                result = session.run_pass(order, burst_ms=2.0)
                assert not result.failures
                assert [round_.key for round_ in result.rounds] == order
                for round_ in result.rounds:
                    self.check_round(round_, burst_ms=2.0)
            starts = [round_.started_s for round_ in result.rounds]
            assert starts == sorted(starts)

    @staticmethod
    def check_round(round_, burst_ms: float) -> None:
        for times in (round_.sentinel_before_ms, round_.sentinel_after_ms, round_.wall_ms, round_.cpu_ms):
            assert isinstance(times, tuple)
            assert all(math.isfinite(time) and time > 0 for time in times)
        assert len(round_.sentinel_before_ms) == len(round_.sentinel_after_ms) == 2
        assert len(round_.wall_ms) == len(round_.cpu_ms) >= 3
        assert round_.involuntary_switches >= 0
        assert round_.run_queue_wait_ms >= 0
        assert round_.started_s > 1.6e9
        assert round_.value_ms("cpu") > 0
        assert round_.value_ms("wall") > 0

    def test_outputs_follow_the_inputs_or_the_device_says_that_it_computes_nothing(self, device, zoo):
        inputs = [np.random.default_rng(n).normal(size=(1, 3, 8, 8)).astype(np.float32) for n in (0, 1, 0)]
        with device.open() as session:
            session.load([zoo.conv("a")])
            session.hold_inputs(True)
            session.hold_inputs(False)
            found = session.outputs("a", inputs)
        if found is not None:
            assert [values.shape for values in found] == [(1, 8, 8, 8)] * 3
            assert np.array_equal(found[0], found[2])
            assert not np.array_equal(found[0], found[1])
        assert found is not None or device.environment().get("virtual_clock")

    def test_a_network_that_fails_is_reported_and_the_others_stay(self, device, zoo):
        good, bad = zoo.conv("good"), zoo.conv("bad")
        bad.path.write_bytes(bad.path.read_bytes()[:-20])
        with device.open() as session:
            loaded = {one.key: one for one in session.load([bad, good])}
            assert loaded["bad"].failure.cause == "refused"
            assert loaded["bad"].failure.phase == "load"
            assert loaded["good"].failure is None
            assert len(session.run_pass(["good"], burst_ms=1.0).rounds) == 1
            with pytest.raises(UsageError, match="bad"):
                session.run_pass(["bad"], burst_ms=1.0)

    def test_more_networks_may_be_loaded_later(self, device, zoo):
        with device.open() as session:
            session.load([zoo.conv("a")])
            session.start_timing()
            session.run_pass(["a"], burst_ms=1.0)
            session.load([zoo.conv("b")])
            assert [r.key for r in session.run_pass(["b", "a"], burst_ms=1.0).rounds] == ["b", "a"]

    @pytest.mark.parametrize("burst_ms", [0.0, -1.0, math.nan, math.inf])
    def test_a_burst_must_be_a_time(self, device, zoo, burst_ms):
        with device.open() as session:
            session.load([zoo.conv("a")])
            with pytest.raises(UsageError, match="burst_ms"):
                session.run_pass(["a"], burst_ms=burst_ms)

    def test_keys_are_unique_and_known(self, device, zoo):
        with device.open() as session:
            session.load([zoo.conv("a")])
            with pytest.raises(UsageError, match="unique"):
                session.load([zoo.conv("a")])
            with pytest.raises(UsageError, match="unknown network 'z'"):
                session.run_pass(["z"], burst_ms=1.0)

    def test_an_empty_pass_is_empty(self, device, zoo):
        with device.open() as session:
            session.load([])
            session.start_timing()
            assert session.run_pass([], burst_ms=1.0).rounds == ()

    def test_close_leaves_nothing_and_may_be_repeated(self, device, zoo):
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        session = device.open()
        session.load([zoo.conv("a")])
        session.close()
        session.close()
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
        for call in (lambda: session.load([]), session.start_timing, lambda: session.run_pass(["a"], burst_ms=1.0)):
            with pytest.raises(DeviceError, match="closed"):
                call()

    def test_two_sessions_live_side_by_side(self, device, zoo):
        with device.open() as first, device.open() as second:
            first.load([zoo.conv("a")])
            second.load([zoo.conv("a", channels=16)])
            assert first.run_pass(["a"], burst_ms=1.0).rounds[0].key == "a"
            first.close()
            assert second.run_pass(["a"], burst_ms=1.0).rounds[0].key == "a"
