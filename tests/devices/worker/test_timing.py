"""On a clock that the tests turn, so that nothing depends on this machine."""

from __future__ import annotations

import time
from itertools import count as counter
from types import SimpleNamespace

import pytest

from tempograd.devices.worker import timing


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall_ns = self.cpu_ns = 10**9
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.wall_ns)
        monkeypatch.setattr(time, "thread_time_ns", lambda: self.cpu_ns)

    def network(self, times_ms, wait_ms: float = 0.0):
        """An inference that takes these CPU times in turn, and waits on top of each."""
        values = iter(times_ms)

        def run() -> None:
            cpu_ns = int(next(values) * 1e6)
            self.cpu_ns += cpu_ns
            self.wall_ns += cpu_ns + int(wait_ms * 1e6)

        return run


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def always(value):
    return (value for _ in counter())


def nothing() -> None:
    pass


def timed(run):
    """A program on a CPU."""
    return SimpleNamespace(run=run, gpu_time=None)


def test_warm_up_ends_when_times_settle(clock):
    warm = timing.warm_up(clock.network([9.0] + [4.0, 3.0, 2.0, 1.5, 1.2] + [1.0] * 90), nothing)
    assert warm.first_run_ms == pytest.approx(9.0)
    assert not warm.capped
    assert 11 < warm.runs < 25
    assert warm.typical_ms == pytest.approx(1.0)
    assert warm.fastest_ms == pytest.approx(1.0)


def test_warm_up_is_capped_by_runs(clock):
    warm = timing.warm_up(clock.network(1.5 - 0.02 * i for i in range(60)), nothing)
    assert warm.capped
    assert warm.runs == 1 + timing.WARM_UP_RUNS


@pytest.mark.parametrize("time_ms", [50.0, 2000.0])
def test_warm_up_of_a_large_network_is_capped_by_time_but_has_six_runs(clock, time_ms):
    warm = timing.warm_up(clock.network(always(time_ms)), nothing)
    assert warm.capped
    assert warm.runs == 1 + 6


def test_a_burst_lasts_long_enough_and_counts_its_samples(clock):
    counted = []
    network = timed(clock.network(always(1.0), wait_ms=0.25))
    burst = timing.burst(network, lambda: counted.append(1), burst_ms=10.0, block=1)
    assert burst.wall_ms == pytest.approx([1.25] * 8)
    assert burst.cpu_ms == pytest.approx([1.0] * 8)
    assert burst.gpu_ms == burst.enqueue_ms == []
    assert len(counted) == 9  # the discarded run is watched too


def test_a_burst_has_three_samples_of_a_large_network(clock):
    burst = timing.burst(timed(clock.network([5.0, 40.0, 41.0, 42.0])), nothing, burst_ms=10.0, block=1)
    assert burst.wall_ms == pytest.approx([40.0, 41.0, 42.0])  # the first run, 5 ms, is discarded


def test_short_inferences_are_timed_as_blocks(clock):
    burst = timing.burst(timed(clock.network(always(0.03))), nothing, burst_ms=2.1, block=timing.block_of(0.03))
    assert len(burst.wall_ms) == 10  # blocks of 7 x 0.03 ms
    assert burst.wall_ms == burst.cpu_ms == pytest.approx([0.03] * 10)


def test_on_a_gpu_its_own_clock_is_read_beside_the_hosts(clock):
    """An inference of 0.04 ms on the GPU, which the host launches in 0.01 ms and waits for."""

    def gpu_time(runs):
        clock.cpu_ns += int(runs * 0.01e6)
        clock.wall_ns += int(runs * 0.05e6)
        return runs * 0.04, runs * 0.01

    program = SimpleNamespace(run=lambda: gpu_time(1), gpu_time=gpu_time)
    block = timing.block_of(0.05, gpu=True)
    assert block == 20
    burst = timing.burst(program, nothing, burst_ms=5.0, block=block)
    assert burst.gpu_ms == pytest.approx([0.04] * 5)
    assert burst.enqueue_ms == burst.cpu_ms == pytest.approx([0.01] * 5)
    assert burst.wall_ms == pytest.approx([0.05] * 5)
    assert timing.sentinel_ms(program, threads=1, block=block) == pytest.approx([0.04] * 2)


def test_a_gpu_is_heated_until_its_speed_is_steady(clock):
    """Its clock sinks by 2 % in each half second, for three seconds; then, never."""

    def reading(steady_after_ms):
        def read_ms():
            clock.wall_ns += 10_000_000
            return 1.02 ** (min(clock.wall_ns / 1e6, steady_after_ms) / 500)

        return read_ms

    assert timing.heat(reading(3000))
    assert 3000 < clock.wall_ns / 1e6 < 4600
    clock.wall_ns = 0
    assert not timing.heat(reading(float("inf")))
    assert clock.wall_ns / 1e6 == pytest.approx(timing.HEAT_WINDOWS * timing.HEAT_WINDOW_MS)


def test_the_sentinel_is_read_by_the_clock_of_the_label(clock):
    for threads, expected in ((1, [1.0, 2.0]), (2, [1.5, 2.5])):
        sentinel = timed(clock.network([9.0, 1.0, 2.0], 0.5))
        assert timing.sentinel_ms(sentinel, threads=threads) == pytest.approx(expected)


@pytest.mark.fault(15)
@pytest.mark.fault(16)
def test_readings_differ_by_what_happened():
    before = timing.Reading(switches=3, wait_ns=1_000_000, throttles=7, suspended_s=100.0)
    after = timing.Reading(switches=5, wait_ns=3_500_000, throttles=7, suspended_s=100.0)
    assert after.since(before) == (2, 2.5, [])
    hot = timing.Reading(switches=5, wait_ns=3_500_000, throttles=8, suspended_s=100.5)
    assert hot.since(before)[2] == ["thermal", "suspended"]


@pytest.mark.real
def test_counters_of_this_machine_only_grow():
    counters = timing.Counters([0])
    before, after = counters.read(), counters.read()
    counters.close()
    switches, wait_ms, events = after.since(before)
    assert switches >= 0
    assert wait_ms >= 0
    assert events == []
