"""A device's limits as measured, and the one that holds a kernel back."""

import numpy as np
import onnx
import onnxruntime
import pytest

from tempograd import registry
from tempograd.errors import DeviceError
from tempograd.graphs.kernels import Kernel
from tempograd.profiler.roofline import Rates, _probes, measure_rates

RATES = Rates(gmacs=100.0, gbps=10.0, dispatch_us=10.0)


@pytest.mark.parametrize(
    ("macs", "read", "written", "bound"),
    [
        (200_000_000, 1000, 1000, ("arithmetic", 2.0)),
        (0, 15_000_000, 5_000_000, ("bandwidth", 2.0)),
        (1000, 100, 100, ("dispatch", 0.01)),
    ],
)
def test_the_largest_limit_holds_a_kernel_back(macs, read, written, bound):
    kernel = Kernel("k", "Conv", "convolution", (), (), macs=macs, read_bytes=read, written_bytes=written)
    name, ms = RATES.bound(kernel)
    assert (name, ms) == (bound[0], pytest.approx(bound[1]))
    assert set(RATES.limits_ms(kernel)) == {"arithmetic", "bandwidth", "dispatch"}


def test_what_a_cache_holds_is_moved_at_the_rate_of_caches():
    small, large = (
        Kernel("k", "Concat", "layout", (), (), read_bytes=n, written_bytes=n) for n in (1_000_000, 10_000_000)
    )
    rates = Rates(gmacs=100.0, gbps=10.0, dispatch_us=10.0, cached_gbps=40.0)
    assert rates.bound(small) == ("bandwidth", pytest.approx(0.05))
    assert rates.bound(large) == ("bandwidth", pytest.approx(2.0))
    assert RATES.bound(small) == ("bandwidth", pytest.approx(0.2)), "nobody knows a cache's rate"


def test_the_networks_that_tell_are_valid_and_no_runtime_shortens_the_chain():
    for name, model in _probes().items():
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        feed = {one.name: np.ones(one.shape, np.float32) for one in session.get_inputs()}
        assert np.isfinite(session.run(None, feed)[0]).all()
        assert name != "chain" or len(model.graph.node) == 64


def test_on_a_device_whose_truth_is_known_the_rates_are_the_truth():
    rates = measure_rates(registry.create("device", "simulated:slow=1.0,noise=0.001,gflops=50,overhead_us=20"))
    assert rates.dispatch_us == pytest.approx(20, rel=0.3)
    assert rates.gmacs > 0
    assert rates.gbps > 0
    assert rates.cached_gbps > 0


def test_a_device_that_measures_nothing_is_named():
    with pytest.raises(DeviceError, match=r"the device's limits cannot be measured: .* gave no latency"):
        measure_rates(registry.create("device", "simulated:crash=1.0,slow=1.0"))
