"""Places and devices are told apart by what they can do, and values that cross the protocol stay as they were."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tempograd import registry
from tempograd.devices.device import Device, Loaded, Model, PassResult, Place, TellsKernels


class Elsewhere:
    """A place that has networks timed, and opens no process."""

    fingerprint, batch = None, 1

    def environment(self):
        return {}


def test_a_place_that_opens_no_process_is_no_device():
    assert isinstance(Elsewhere(), Place)
    assert not isinstance(Elsewhere(), Device)


@pytest.mark.parametrize("name", ["local", "simulated"])
def test_what_opens_processes_is_both(name):
    device = registry.create("device", name)
    assert isinstance(device, Place)
    assert isinstance(device, Device)


def test_kernels_are_told_by_devices_that_profile():
    assert isinstance(registry.create("device", "local"), TellsKernels)
    assert not isinstance(Elsewhere(), TellsKernels)


def test_what_crosses_is_frozen_and_shares_nothing():
    one, other = Loaded("a"), Loaded("b")
    one.providers["cpu"] = 1
    assert other.providers == {}
    assert PassResult(()).failures == {}
    with pytest.raises(FrozenInstanceError):
        Model("a", Path("a.onnx"), "").key = "b"
