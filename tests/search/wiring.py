"""Runs a recipe by its name on a small space and notes what its supernet ran: which gates, on which images, when."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch

from tempograd import registry
from tempograd.search.method import Problem
from tempograd.search.price import Price
from tempograd.search.searchers.alternation import Alternation
from tempograd.search.training import Training
from tempograd.spaces.network import Network
from tempograd.tasks.images import Classification, Images
from tempograd.testing.methods import priced
from tempograd.testing.small import small_specs

CELL = "nasbench201:cells=1,width=4,size=8,channels=1"
DARTS = "darts:layers=2,width=4,size=8,channels=1"
ROUTED = "routed:blocks=4/6-8,reach=2,layers=1,head=16,size=8,classes=10,channels=1"
LAYERS = "mbconv:family=proxyless,size=8,classes=10,channels=1,width=0.25,stages=2,layers=2"
MASKED = "mbconv:family=fbnetv2,size=8,classes=10,channels=1,width=0.25,stages=2,layers=2,width_options=2"
STAGE = small_specs("staged")[1].replace("classes=5", "classes=10,channels=1")
BLOCKS = "chained:blocks=2,n=1,stages=2,copies=2,width=4,size=8,channels=1"
HOMES = {
    "la_darts": CELL, "toponas": CELL, "msgdas": CELL, "densenas": ROUTED, "fbnetv2": MASKED, "proxylessnas": LAYERS,
    "lightnas": ROUTED, "hardcorenas": LAYERS, "hdas": STAGE, "egdas": BLOCKS,
}  # fmt: skip


@cache
def space_of(spec):
    return registry.create("space", spec)


@dataclass
class Pass:
    """One pass of the supernet.

    Attributes:
        step: the kind of step that it belongs to, ``law`` or ``weights``.
        image: mean of its images: 0 where they are of the part ``weights``, about 1 of ``law``.
        learns: whether it has a way back.
        drops: share of a skip's map that is dropped.
    """

    step: str
    image: float
    gates: dict[str, torch.Tensor]
    learns: bool
    drops: float
    beside: bool = False  # whether options run although they are off

    @property
    def one_path(self):
        return all(sorted(gate.tolist()) == [0.0] * (len(gate) - 1) + [1.0] for gate in self.gates.values())

    def on(self, site):
        return {option for option, gate in enumerate(self.gates[site].tolist()) if gate}


@dataclass
class Recorded:
    """What a recipe did: every pass, every law step's end, and the search itself."""

    passes: list[Pass] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)  # of law steps, what `after` made of the run
    starts: list[int] = field(default_factory=list)  # of law and weight steps, places in passes
    run: Any = None
    found: Any = None

    def of(self, step):
        return [each for each in self.passes if each.step == step]

    def steps(self, step):
        """Return the passes of every step of one kind."""
        ends = [*self.starts[1:], len(self.passes)]
        every = [self.passes[start:end] for start, end in zip(self.starts, ends, strict=True)]
        return [passes for passes in every if passes and passes[0].step == step]


class Planted(torch.nn.Module):
    """A supernet whose cross-entropy is ``20 - quality``, quality a sum over the choices that decide something."""

    def __init__(self, space, quality):
        super().__init__()
        self.space, self.quality = space, torch.as_tensor(quality, dtype=torch.float32)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, gates, *, beside=None):
        value = self.space.relax(gates, "raw") @ self.quality
        return torch.stack([value - 20 + 0 * self.weight, torch.zeros(())]).expand(len(x), 2)


class Sealed(Images):
    """The part ``test``, which no search may read."""

    def take(self, index):
        raise AssertionError("a search read the test part")

    def batches(self, *args, **kwargs):
        return self.take(None)

    ordered = batches


def parts(steps=4, batch=4):
    """A task whose parts tell themselves apart by their images; that of ``test`` cannot be read."""

    def part(value, kind=Images):
        images = torch.full((steps * batch, 1, 8, 8), value, dtype=torch.uint8)
        return kind(images, torch.zeros(len(images), dtype=torch.long), torch.zeros(1), torch.ones(1))

    return Classification("parts", part(0), part(255), part(128, Sealed), classes=10)


def linear(space, latency, bias=1.0):
    """A predictor ``(b, d) -> (b,)`` ms that adds up."""
    module = torch.nn.Sequential(torch.nn.Linear(len(latency), 1), torch.nn.Flatten(0))
    with torch.no_grad():
        module[0].weight.copy_(torch.as_tensor(latency, dtype=torch.float32)[None])
        module[0].bias.fill_(bias)
    return module


def record(patch, method, spec, *, supernet=None, task=None, cost=None, after=None, before=None, steps=4, **mode):
    """Run a recipe and return what it did.

    Args:
        patch: pytest's monkeypatch.
        method, spec: of the recipe and the space.
        supernet: in place of the space's own.
        task: in place of `parts`.
        cost: in place of a table of multiply-accumulates and parameters.
        after: of the `Alternation` after every law step; kept in ``ends``.
        before: of the `Alternation` before the first epoch.
        steps: an epoch.
        mode: ``lam`` or ``target_ms``.
    """
    noted, space, step = Recorded(), space_of(spec), [""]
    made, original = supernet or space.supernet(), Alternation.__init__

    def watch(module, args, kwargs):
        skip = getattr(module, "on_skip", None)
        gates = {name: gate.detach().clone() for name, gate in args[1].items()}
        drops = 0.0 if skip is None else skip.keywords["rate"]
        noted.passes.append(
            Pass(step[0], float(args[0].mean()), gates, torch.is_grad_enabled(), drops, bool(kwargs.get("beside")))
        )

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        noted.run = self
        if before is not None:
            before(self)

    def kind(name, does):
        def stepped(self, *args, **kwargs):
            step[0] = name
            noted.starts.append(len(noted.passes))
            result = does(self, *args, **kwargs)
            if name == "law" and after is not None:
                noted.ends.append(after(self))
            return result

        return stepped

    made.register_forward_pre_hook(watch, with_kwargs=True)
    patch.setattr(type(space), "supernet", lambda self: made)
    patch.setattr(Alternation, "__init__", init)
    patch.setattr(Alternation, "step_law", kind("law", Alternation.step_law))
    patch.setattr(Alternation, "step_weights", kind("weights", Alternation.step_weights))
    price = Price(cost or priced(space, factor=1.0), space)
    reference_ms = float(
        np.median(price.predict(space.sample(min(100, int(10**space.size_log10)), np.random.default_rng(0))))
    )
    problem = Problem(
        space, space, price, task or parts(steps), lam=mode.get("lam"), target_ms=mode.get("target_ms"),
        reference_ms=reference_ms, training=Training(epochs=1),
    )  # fmt: skip
    noted.found = registry.create("method", method).find(problem)
    patch.undo()
    assert supernet is not None or isinstance(made, Network)
    return noted
