"""The protocol of engines: what a runtime without kernels is not, and what a fallback is."""

import pytest

from tempograd import registry
from tempograd.devices.runtime.runtime import GPU_PROVIDERS, FallbackError, Needs, TellsKernels
from tempograd.errors import DeviceError


def test_only_a_runtime_with_a_profile_tells_kernels():
    class Silent:
        def load(self, model, folder):
            return None

    assert not isinstance(Silent(), TellsKernels)
    assert isinstance(registry.create("runtime", "onnxruntime", threads=1), TellsKernels)


@pytest.mark.parametrize("name", registry.names("runtime"))
def test_a_runtime_names_its_provider_and_asks_for_enough_time(name):
    runtime = registry.create("runtime", name, threads=1)
    assert runtime.options["threads"] == 1
    assert runtime.options["provider"]
    if runtime.options["provider"] in GPU_PROVIDERS:  # they reserve far more than they use
        assert not runtime.needs.memory_limited
    assert runtime.needs.start_s >= Needs().start_s
    assert runtime.needs.load_s >= Needs().load_s


def test_a_fallback_is_an_error_of_the_device():
    assert issubclass(FallbackError, DeviceError)
