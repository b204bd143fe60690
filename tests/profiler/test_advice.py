"""What to try first: what could gain most is said first, and what gains little is not said."""

import pytest

from tempograd.graphs.kernels import Array, Kernel
from tempograd.profiler.advice import advise
from tempograd.profiler.roofline import Rates

RATES = Rates(gmacs=100.0, gbps=10.0, dispatch_us=10.0)


def kernel(family, *, op="Conv", macs=0, moved=0, weights=()):
    inputs = (Array("float32", (1, 16, 8, 8)), *([Array("float32", weights)] if weights else []))
    return Kernel("k", op, family, inputs, (Array("float32", (1, 16, 8, 8)),), macs=macs, read_bytes=moved)


def told(*pairs):
    kernels, ms = zip(*pairs, strict=True)
    return advise(kernels, ms, RATES)


@pytest.mark.parametrize(
    ("one", "ms", "word"),
    [
        (kernel("layout", op="Transpose", moved=10_000_000), 1.0, "moving data about"),
        (kernel("elementwise", op="Relu"), 0.02, "too small to matter"),
        (kernel("depthwise", macs=1_000_000), 1.0, "depthwise convolutions compute little"),
        (kernel("grouped", macs=1_000_000), 1.0, "grouped convolutions have no fast code"),
        (kernel("convolution", macs=1_000_000, weights=(20, 16, 3, 3)), 1.0, "channels that 16 does not divide"),
        (kernel("convolution", macs=100_000_000, weights=(32, 16, 3, 3)), 1.2, "the time is arithmetic at 83%"),
        (kernel("elementwise", op="Relu", moved=10_000_000), 1.0, "element-wise and normalising"),
    ],
)
def test_where_the_time_goes_is_what_is_said(one, ms, word):
    assert any(word in advice.text for advice in told((one, ms)))


def test_what_promises_most_comes_first_and_little_is_not_said():
    layout, relu = kernel("layout", op="Transpose", moved=50_000_000), kernel("elementwise", op="Relu", moved=3_000_000)
    found = told((layout, 5.0), (relu, 1.0))
    assert [advice.gain_ms for advice in found] == sorted((advice.gain_ms for advice in found), reverse=True)
    assert "moving data about" in found[0].text
    assert not any("element-wise" in advice.text for advice in told((layout, 5.0), (relu, 0.1)))


def test_channels_of_an_image_are_not_odd():
    first = kernel("convolution", macs=1_000_000, weights=(32, 3, 3, 3))
    assert not any("does not divide" in advice.text for advice in told((first, 1.0)))


def test_a_network_at_its_best_gets_no_advice():
    assert told((kernel("convolution", macs=10_000_000, weights=(32, 32, 3, 3)), 1.0)) == []
