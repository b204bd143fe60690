"""Reading a GPU needs one: what can be known without is tested here, the rest where there is one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tempograd.devices.runtime import nvml
from tempograd.devices.runtime.packages import UnusableError
from tempograd.errors import DeviceError


@pytest.fixture
def watch():
    found = nvml.watch()
    if found is None:
        pytest.skip(f"needs an NVIDIA GPU: {nvml.described()}")
    return found


@pytest.mark.real
def test_a_gpu_tells_its_clocks_and_reasons(watch):
    assert watch.state()["gpu_sm_mhz"] > 0
    assert set(watch.events()) <= set(nvml.REASONS.values())
    assert watch.foreign() == [] or all(isinstance(pid, int) for pid in watch.foreign())


def test_without_one_it_says_what_is_missing():
    if nvml.watch() is not None:
        pytest.skip("there is an NVIDIA GPU here")
    with pytest.raises(UnusableError, match=r"NVML tells of no GPU|nvidia-ml-py is not installed; pip install"):
        nvml.Watch()
    assert nvml.described()


@pytest.mark.real
def test_only_living_processes_of_others_are_foreign(monkeypatch):
    monkeypatch.setattr(os, "getppid", lambda: 4_000_001)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert nvml.others([os.getpid(), child.pid, 4_000_000, 1]) == [1]
        child.communicate()


def test_the_process_that_has_it_measured_may_hold_the_gpu_too(monkeypatch):
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert nvml.others([os.getpid(), 1]) == []


class Busy:
    """A GPU on which another process computes for so many looks."""

    def __init__(self, looks):
        self._looks = looks

    def foreign(self):
        self._looks -= 1
        return [4321] if self._looks >= 0 else []


def test_a_pass_waits_until_the_gpu_is_its_own():
    slept = []
    nvml.wait_until_alone(Busy(3), sleep=slept.append)
    assert len(slept) == 3
    with pytest.raises(DeviceError, match="processes 4321 have computed on the GPU for 2 s"):
        nvml.wait_until_alone(Busy(100), patience_s=2.0, sleep=slept.append)
