from __future__ import annotations

import numpy as np
import pytest

from tempograd.devices import host
from tempograd.devices.device import Model
from tempograd.devices.places.local import LocalDevice
from tempograd.errors import DeviceError, InputRefusedError, UnknownNameError, UsageError
from tempograd.registry import create


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"threads": 1_000}, "physical cores"),
        ({"cores": "9999"}, "may use"),
        ({"cores": "0", "threads": 2}, "as many cores as threads"),
        ({"cores": "first"}, "2-3"),
        ({"batch": 0}, "batch=0"),
        ({"memory_gib": 0}, "memory_gib=0"),
        ({"sentinel": "conv"}, "allowed: mixed, convolution"),
        ({"precision": "fp64"}, "fp32"),
    ],
)
def test_wrong_options_are_named(options, match):
    with pytest.raises(UsageError, match=match):
        LocalDevice(**options)


def test_an_unknown_runtime_is_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'onnxruntime'"):
        LocalDevice("onnxruntim")


@pytest.mark.fault(19)
def test_the_fingerprint_tells_options_apart():
    plain = create("device", "local").fingerprint
    assert plain == create("device", "local").fingerprint
    for spec in (
        "local:precision=int8-static",
        "local:batch=4",
        "local:optimisation=basic",
        "local:sentinel=depthwise",
    ):
        other = create("device", spec).fingerprint
        assert other.id != plain.id
        assert len(plain.difference(other).keys() - {"options.sentinel_digest"}) == 1
    assert create("device", "local:memory_gib=3").fingerprint == plain
    assert plain.hardware["cpu"]
    assert plain.runtime["onnxruntime"]


@pytest.mark.real
@pytest.mark.skipif(
    sum(bool({*group} & {*host.allowed_cores()}) for group in host.core_groups()) < 2,
    reason="needs two physical cores that this process may use",
)
def test_two_threads_are_timed_on_two_cores(zoo):
    device = LocalDevice(threads=2)
    assert len(device.timed_cores) == 2
    with device.open() as session:
        session.load([zoo.conv("a", channels=64)])
        session.start_timing()
        assert len(session.run_pass(["a"], burst_ms=2.0).rounds) == 1


SPACES = ("nasbench201:cells=1,width=4,size=8", "darts:layers=3,width=4,size=8")
WAYS = [("fp32", level) for level in ("none", "basic", "extended", "all")] + [
    ("int8-static", "extended"),
    ("int8-static", "all"),
    ("int8-dynamic", "none"),
    ("int8-dynamic", "all"),
]


@pytest.mark.real
@pytest.mark.parametrize(("precision", "optimisation"), WAYS)
def test_every_precision_and_level_is_timed_in_both_spaces(tmp_path, precision, optimisation):
    device = LocalDevice(precision=precision, optimisation=optimisation, batch=2)
    models = []
    for spec in SPACES:
        space = create("space", spec)
        (chosen,) = space.sample(1, np.random.default_rng(0))
        models.append(Model(spec, *space.write_onnx(chosen, tmp_path, batch=2)))
    with device.open() as session:
        loaded = session.load(models)
        assert [one.failure for one in loaded] == [None, None]
        for one in loaded:
            integer = sum(n for kind, n in one.kernels.items() if kind.startswith("QLinear") or "Integer" in kind)
            assert (integer > 0) == (precision != "fp32")
        session.start_timing()
        assert len(session.run_pass(SPACES, burst_ms=1.0).rounds) == 2


def test_every_precision_and_level_has_a_fingerprint_of_its_own():
    found = {LocalDevice(precision=p, optimisation=o).fingerprint.id for p, o in WAYS}
    assert len(found) == len(WAYS)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.fault(2)
def test_a_network_that_ends_the_process_that_watches_it_is_refused_and_the_next_is_watched_in_another(zoo, faulty):
    device = LocalDevice(faulty)
    models = [zoo.conv("a"), zoo.conv("b", graph="abort_profile"), zoo.conv("c")]
    first, second, third = device.profiles(models)
    assert first.kernels
    assert third.kernels
    assert isinstance(second, InputRefusedError)
    with pytest.raises(DeviceError, match="ended the process that watched it: Aborted"):
        device.profile(models[1], seconds=0.0)
