"""Kernels' times learnt, on formulas: what a network is told to take, how far to trust it, and what is named."""

import json
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from tempograd.errors import InputRefusedError
from tempograd.graphs.kernels import Array, Kernel
from tempograd.predictor.kernels import Bag, KernelPredictor, Sample, fit, telling

DISPATCH = 0.001


def kernel(op, family, channels, size, window=1):
    """A kernel that reads and writes maps, `channels` of `size` squared."""
    shape = (1, channels, size, size)
    inputs = (Array("float32", shape), Array("float32", (channels, channels, window, window)))
    macs = channels * channels * window**2 * size**2 if family == "convolution" else 0
    told = {"kernel_shape": [window, window]} if window > 1 else {}
    return Kernel(
        f"{op}{channels}_{size}_{window}", op, family, inputs, (Array("float32", shape),), told,
        macs=macs, read_bytes=4 * channels * size**2, written_bytes=4 * channels * size**2,
    )  # fmt: skip


def truth(one, gmacs=20.0, gbps=8.0, erf=6.0):
    slower = erf if one.op == "Erf" else 1.0
    return max(one.macs / gmacs, (one.read_bytes + one.written_bytes) / gbps) / 1e6 * slower + DISPATCH


def network(name, ops, channels, sizes, off=1.0):
    """Layers of alternating operators, and its time: the sum of theirs, times what nobody sees in a kernel."""
    kernels = tuple(kernel(op, family, channels, size, window) for size in sizes for op, family, window in ops)
    return Bag(name, kernels, off * sum(map(truth, kernels)))


CONV = [("Conv", "convolution", 3), ("Relu", "elementwise", 1)]
WIDE = [("Conv", "convolution", 5), ("Relu", "elementwise", 1), ("Relu", "elementwise", 1)]
ERF = [("Conv", "convolution", 3), ("Erf", "elementwise", 1), ("Erf", "elementwise", 1)]
SPECS = [(kind, ops, c) for kind, ops in (("conv", CONV), ("wide", WIDE), ("erf", ERF)) for c in (8, 16, 24, 32, 48)]


def bags(off=lambda kind: 1.0):
    return [network(f"{kind}{c}", ops, c, (8, 16, 32), off(kind)) for kind, ops, c in SPECS]


def samples(found, **rates):
    return {k.signature: Sample(k, truth(k, **rates)) for bag in found for k in bag.kernels}


def learnt(found, **more):
    return fit(samples(found), found, fingerprint_id="here", dispatch_ms=DISPATCH, **more)


def test_families_are_left_out_whole_and_the_worst_of_each_counts():
    off = {"conv": 1.0, "wide": 1.02, "erf": 1.3}
    found = learnt(bags(off.get))
    assert found.judged_by == "families"
    assert len(found.spread) == 3
    assert found.coverage == pytest.approx(3 / 4)
    assert found.spread[-1] > log(1.2), "nothing of the others tells what the third kind takes"
    alike = [bag for bag in bags() if bag.name.startswith("conv")]
    assert learnt(alike).judged_by == "networks", "one family cannot be left out of itself"
    assert len(learnt(alike).spread) == 5


def test_kernels_that_were_not_timed_are_predicted_in_whole_networks():
    every = bags()
    some = dict(sorted(samples(every).items())[::2])  # signatures are in no order
    found = fit(some, every, fingerprint_id="here", dispatch_ms=DISPATCH)
    assert found.spread
    told = [found.predict(bag.kernels)[0] / bag.ms for bag in every]
    assert np.abs(np.log(told)).mean() < 0.1


def test_a_residual_is_taken_where_it_helps_networks_left_out():
    """What a node costs in a whole network and not alone: nothing else explains by how much sums are off."""

    def more(bag):
        return replace(bag, ms=bag.ms * exp(1.5 * len(bag.kernels) * DISPATCH / bag.ms))

    def error(found):
        return np.mean([abs(log(found.predict(bag.kernels)[0] / bag.ms)) for bag in given])

    kinds = ("conv", CONV), ("wide", WIDE), ("both", [WIDE[0], *CONV])
    known = [network(f"{kind}{c}", ops, c, (8, 16, 32)) for kind, ops in kinds for c in (8, 16, 24, 32, 48)]
    given = [more(bag) for bag in known]
    found = learnt(given)
    assert found.residual
    assert error(found) < 0.6 * error(replace(found, residual=[]))
    assert not learnt(known).residual


@pytest.mark.parametrize(("op", "channels"), [("Tanh", 16), ("Relu", 4096)])
def test_an_operator_or_a_size_that_was_never_timed_is_named(op, channels):
    found = learnt(bags())
    ms, how = found.kernel_ms(kernel(op, "elementwise", channels, 16))
    assert how == "out_of_support"
    assert ms >= DISPATCH / 2
    assert found.kernel_ms(kernel("Relu", "elementwise", 40, 16))[1] == "predicted"
    assert found.kernel_ms(kernel("Relu", "elementwise", 16, 16)) == (
        pytest.approx(truth(kernel("Relu", "elementwise", 16, 16))), "measured",
    )  # fmt: skip


def test_operators_of_a_family_have_offsets_of_their_own():
    found = learnt(bags())
    relu, erf = (found.kernel_ms(kernel(op, "elementwise", 28, 24))[0] for op in ("Relu", "Erf"))
    assert erf > 2 * relu


def packed(one):
    """A kernel as another runtime has it: other names, channels rounded up, and a rectifier that is fused."""
    shape = tuple(-(-size // 16) * 16 if n == 1 else size for n, size in enumerate(one.inputs[0].shape))
    arrays = (Array("float32", shape), *one.inputs[1:])
    return replace(
        one, name="", op=f"nchwc.{one.op}", inputs=arrays, outputs=arrays[:1],
        attributes=one.attributes | {"activation": "Relu"},
    )  # fmt: skip


def test_another_runtime_helps_by_the_work_that_is_the_same_whatever_it_calls_it():
    """Kernels differ by more than sizes tell: by as much on both."""

    def odd(one):
        return truth(one) * (1.0 + 0.8 * (one.inputs[0].shape[1] % 5) / 4)

    every = samples(bags())
    there = {packed(one.kernel).signature: Sample(packed(one.kernel), odd(one.kernel)) for one in every.values()}
    source = fit(there, [], fingerprint_id="there", dispatch_ms=DISPATCH)
    here = {name: Sample(one.kernel, 3 * odd(one.kernel)) for name, one in every.items()}
    few = {name: here[name] for name in sorted(here)[::3]}
    ask = {"fingerprint_id": "here", "dispatch_ms": DISPATCH}
    blind = replace(source, works={"": 1.0})

    def error(source):
        found = fit(few, [], source=source, **ask)
        left = [one for name, one in here.items() if name not in few]
        return np.mean([abs(log(found.kernel_ms(one.kernel)[0] / one.ms)) for one in left])

    assert error(source) < 0.9 * error(blind)
    assert error(source) < 0.7 * error(None)


def test_another_device_helps_where_few_kernels_were_timed_and_is_left_out_where_it_does_not(tmp_path):
    every = bags()
    rates = {"gmacs": 5.0, "gbps": 1.0, "erf": 30.0}
    here = {name: Sample(one.kernel, truth(one.kernel, **rates)) for name, one in samples(every).items()}
    few = {name: here[name] for name in list(here)[::6]}
    source = learnt(every)
    ask = {"fingerprint_id": "there", "dispatch_ms": DISPATCH}
    alone, helped = fit(few, [], **ask), fit(few, [], source=source, **ask)
    assert helped.source is not None

    def error(found):
        return np.mean([abs(log(found.kernel_ms(s.kernel)[0] / s.ms)) for n, s in here.items() if n not in few])

    assert error(helped) < 0.7 * error(alone)
    helped.save(tmp_path / "kernels")
    again = KernelPredictor.load(tmp_path / "kernels")
    assert again.kernel_ms(kernel("Relu", "elementwise", 40, 16)) == helped.kernel_ms(
        kernel("Relu", "elementwise", 40, 16)
    )
    rng = np.random.default_rng(0)
    wrong = replace(source, known={name: float(np.exp(rng.normal(0, 3))) for name in source.known})
    assert fit(here, [], source=wrong, **ask).source is None


def test_the_most_telling_kernels_cover_every_family():
    every = [one.kernel for one in samples(bags()).values()]
    places = telling(every, 6, 0)
    assert len(set(places)) == 6
    assert {every[n].family for n in places} == {"convolution", "elementwise"}
    assert telling(every, 4, 0) == places[:4], "a longer choice begins with the shorter"
    assert len(telling(every, 10_000, 0)) == len(every)


def test_shares_of_watched_networks_tell_of_kernels_that_were_not_timed_alone():
    """Watching makes every kernel slower by a part, and by the same time; the whole was timed unwatched."""

    def watched(bag):
        return replace(bag, kernels=tuple(replace(one, ms=1.2 * truth(one) + 0.003) for one in bag.kernels))

    every = bags()
    some = {k.signature: Sample(k, truth(k)) for k in every[0].kernels + every[7].kernels + every[12].kernels}
    ask = {"fingerprint_id": "here", "dispatch_ms": DISPATCH}
    large = [k for bag in every for k in bag.kernels if truth(k) > 0.03 and k.signature not in some]

    def error(found):
        return np.mean([abs(log(found.kernel_ms(one)[0] / truth(one))) for one in large])

    told, blind = (fit(some, given, **ask) for given in ([watched(bag) for bag in every], every))
    assert error(told) < 0.05
    assert error(told) < 0.3 * error(blind)
    assert {told.kernel_ms(one)[1] for one in large} == {"measured"}


def test_what_bends_away_from_a_line_is_learnt_too():
    def bent(one):
        return truth(one) * exp(0.4 * np.sin(2 * log(one.inputs[0].shape[1])))

    every = [kernel("Conv", "convolution", c, size, 3) for c in range(8, 72, 2) for size in (8, 16, 32)]
    known = {one.signature: Sample(one, bent(one)) for one in every if one.inputs[0].shape[1] % 4 == 0}
    found = fit(known, [], fingerprint_id="here", dispatch_ms=DISPATCH)
    lines = {name: replace(line, seen=[], told=[]) for name, line in found.lines.items()}

    def error(found):
        return np.mean([abs(log(found.kernel_ms(one)[0] / bent(one))) for one in every if one.signature not in known])

    assert error(found) < 0.4 * error(replace(found, lines=lines))


@pytest.mark.parametrize(
    "damage",
    [
        {"scale": -1.0}, {"scale": "1"}, {"scale": None}, {"dispatch_ms": -1}, {"gmacs": 0}, {"spread": [-1]},
        {"spread": [2.0, 1.0]}, {"lines": {}}, {"known": {"a": 0.0}}, {"schema": 99}, {"residual": ["x"]},
        {"lines": {"every family": {"mean": [1], "scale": [], "weights": [], "low": [], "high": [], "rows": 1}}},
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = learnt(bags()).save(tmp_path)
    whole = KernelPredictor.load(tmp_path)
    assert whole.predict(bags()[0].kernels) == learnt(bags()).predict(bags()[0].kernels)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(InputRefusedError, match="kernels"):
        KernelPredictor.load(tmp_path)


def test_a_number_that_is_none_is_refused(tmp_path):
    path = learnt(bags()).save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scale": float("nan")}))
    with pytest.raises(InputRefusedError, match="tempograd kernels fit"):
        KernelPredictor.load(tmp_path)
