"""The real bindings as far as they go without a GPU; the rest where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from tempograd.devices.runtime import cuda
from tempograd.devices.runtime.packages import UnusableError
from tempograd.errors import TempogradError


def why_not() -> str:
    try:
        return "" if cuda.name() else "it has no name"
    except UnusableError as error:
        return str(error)


@pytest.fixture
def stream():
    if why_not():
        pytest.skip(f"needs an NVIDIA GPU: {why_not()}")
    return cuda.Stream()


@pytest.mark.skipif(not why_not(), reason="there is an NVIDIA GPU here")
def test_without_a_gpu_every_way_in_says_so():
    for way in (cuda.name, cuda.Stream):
        with pytest.raises(UnusableError, match=r"no NVIDIA GPU \(cudaError|pip install 'tempograd\[gpu\]'"):
            way()


@pytest.mark.fault(8)
def test_an_error_of_the_gpu_is_none_that_a_worker_goes_on_after():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'tempograd[gpu]'")
    status = runtime.cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(cuda.GpuLostError, match="cudaErrorIllegalAddress"):
        cuda._checked((status, None))
    assert not issubclass(cuda.GpuLostError, TempogradError | MemoryError)
    assert cuda._checked((runtime.cudaError_t.cudaSuccess, 3)) == 3


@pytest.mark.real
def test_values_go_to_the_gpu_and_come_back(stream):
    values = np.arange(12, dtype=np.float16).reshape(3, 4)
    assert np.array_equal(cuda.DeviceArray.of(values).read(), values)


@pytest.mark.real
def test_events_time_what_was_launched_and_graphs_replay_it(stream):
    runtime = pytest.importorskip("cuda.bindings.runtime")
    source, target = cuda.DeviceArray.of(np.ones(2**22, np.float32)), cuda.DeviceArray((2**22,), np.float32)
    kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice

    def launch():
        runtime.cudaMemcpyAsync(target.address, source.address, 2**24, kind, stream.handle)

    launch()
    replay = stream.captured(launch)
    for run in (launch, replay):
        stream.start()
        for _ in range(10):
            run()
        ten_ms = stream.stop_ms()
        stream.start()
        run()
        assert 0 < stream.stop_ms() < ten_ms
    assert target.read().sum() == 2**22
