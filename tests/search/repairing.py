"""A device that disagrees with the predictor, and a repair on it."""

import numpy as np
import pytest

from tempograd import registry
from tempograd.measurement.label import Reference
from tempograd.measurement.measurement import Measurement
from tempograd.measurement.rounds import Round
from tempograd.search.repair import Repair

NB201 = registry.create("space", "nasbench201:cells=1,width=4,size=8")


DARTS = registry.create("space", "darts:layers=2,width=4,size=8")


SPACES = pytest.mark.parametrize("space", [NB201, DARTS], ids=lambda space: space.name)


class FakeDevice:
    """Latency is a sum over choices; every measurement is noted."""

    def __init__(self, space, *, seed=0, noise=0.0, floor=1.0):
        self.space, self.floor, self.noise = space, floor, noise
        self.values = np.random.default_rng(seed).random((len(space.sites), max(space.widths)))
        self.rng = np.random.default_rng(seed + 1)
        self.measured, self.calls = [], 0

    def truth_ms(self, architecture):
        return self.floor + float(self.values[np.arange(len(self.values)), architecture.choices].sum())

    def measure(self, architectures):
        self.calls += 1
        self.measured += architectures
        return [self.one(a, self.truth_ms(a)) for a in architectures]

    def one(self, architecture, truth_ms):
        walls = truth_ms * (1 + self.noise * self.rng.standard_normal(12))
        rounds = tuple(Round(architecture.key, i, (1.0,), (1.0,), (w, w), (w, w)) for i, w in enumerate(walls))
        reference = Reference(1.0, 1.1)
        return Measurement(architecture.key, self.space.spec, "fake", {"target": 0.05}, "", "wall", rounds, reference)

    def predict(self, architectures):
        return np.array([self.truth_ms(a) for a in architectures])


def repair(device, target_ms, predict=None, measure=None, **kwargs):
    scores = np.log(np.random.default_rng(7).dirichlet(np.ones(device.values.shape[1]), len(device.values)))
    return Repair(device.space, predict or device.predict, measure or device.measure, scores, target_ms, **kwargs)


def dear(device):
    sample = [a for a in device.space.sample(300, np.random.default_rng(0)) if device.space.is_connected(a)]
    return max(sample, key=device.truth_ms)
