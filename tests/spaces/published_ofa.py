"""The package ``ofa`` of PyPI, where it is installed or in the folder that ``TEMPOGRAD_OFA_PACKAGE`` names.

It imports torchvision for its data, which is not needed to build a network: an empty one stands in for it.
"""

import importlib
import os
import random
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

import pytest
import torch


class _Nothing(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _Stand(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in ("torchvision", "horovod") else None

    def create_module(self, spec):
        return _Nothing(spec.name)

    def exec_module(self, module):
        pass


def networks():
    """Return the package's module of networks, or skip with the reason."""
    folder, stand = os.environ.get("TEMPOGRAD_OFA_PACKAGE"), _Stand()
    before = set(sys.modules)
    own = {n: sys.modules.pop(n) for n in before if n.partition(".")[0] == "ofa"}  # a checkout may have this name
    sys.path[:0] = [folder] if folder else []
    sys.meta_path.insert(0, stand)
    try:
        return importlib.import_module("ofa.imagenet_classification.elastic_nn.networks")
    except ImportError as error:
        return pytest.skip(f"no package ofa ({error}): pip install --target FOLDER --no-deps ofa, and name FOLDER in "
                           "TEMPOGRAD_OFA_PACKAGE")  # fmt: skip
    finally:
        sys.meta_path.remove(stand)
        sys.path[:1] = sys.path[1:1] if folder else sys.path[:1]
        sys.modules.update(own)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("torchvision", "horovod"):
                del sys.modules[name]


def largest(width, classes=1000, seed=0):
    """Return the package's largest network with random weights and statistics, kernel matrices too, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = networks().OFAMobileNetV3(
            n_classes=classes, dropout_rate=0, width_mult=width, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6],
            depth_list=[2, 3, 4],
        )  # fmt: skip
        with torch.no_grad():
            for name, value in net.state_dict().items():
                if name.endswith("running_var"):
                    value.uniform_(0.5, 1.5)
                elif name.endswith(("running_mean", "bias")):
                    value.normal_(0, 0.1)
                elif "_matrix" in name:
                    value.add_(0.05 * torch.randn_like(value))
                elif value.ndim == 1 and name.endswith("weight"):
                    value.uniform_(0.7, 1.3)
    return net.eval()


def settings(rng: random.Random):
    """Return random kernels, expansions and depths."""
    ks, e = [rng.choice([3, 5, 7]) for _ in range(20)], [rng.choice([3, 4, 6]) for _ in range(20)]
    return ks, e, [rng.choice([2, 3, 4]) for _ in range(5)]
