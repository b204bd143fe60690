"""One small network, trained briefly: what tests of trainers and of their starts share."""

import numpy as np
import torch

from tempograd import registry
from tempograd.search.evaluator import train
from tempograd.search.trainer import Trainer
from tempograd.search.training import Training

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
NETWORK = SPACE.architecture((3, 1, 1, 1, 1, 3))
SHORT = Training(epochs=2, batch=32)


def run(task, training, folder=None, **kwargs):
    return train(NETWORK, SPACE, task, training, seed=0, folder=folder, **kwargs)


def trainer(task, training, network=None, **kwargs):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = network or SPACE.to_torch(NETWORK)
    return Trainer(network, task, training, seed=0, compute="cpu", name="it", **kwargs)


def same(one, other):
    return all(np.array_equal(value, other[name]) for name, value in one.items())


def weights(made):
    return {name: value.detach().numpy().copy() for name, value in made.kept.state_dict().items()}
