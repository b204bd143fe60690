"""Spaces fitted to tasks: what the user left open, the task decides; what he gave stands."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.spaces.architecture import Site
from tempograd.spaces.common.convolution import Upsample
from tempograd.spaces.graph import INPUT, GraphBuilder
from tempograd.spaces.kind import Kind
from tempograd.spaces.layers import Conv, GlobalPool, Linear
from tempograd.spaces.space import SearchSpace
from tempograd.spaces.tracing.marks import Choice
from tempograd.spaces.tracing.tracer import space_from
from tempograd.tasks.fit import check_fit, fit_space
from tempograd.tasks.images import Classification
from tempograd.tasks.load import load_task
from tempograd.tasks.task import Output


@pytest.fixture(scope="module")
def digits():
    return load_task("digits,limit=100")


@dataclass(frozen=True)
class Maps(Classification):
    @property
    def output(self):
        return Output("map", 3)


@pytest.mark.parametrize(
    "name", [name for name in registry.names("space") if "classes" in registry.load("space", name).outputs]
)
def test_every_space_takes_classes_channels_and_size_from_the_task(digits, name):
    space = fit_space(name, digits)
    assert space.graph.shape == (10,)
    assert space.graph.input_shape == (1, 16, 16)
    assert digits.fitted(space).inputs[0].shape == (1, 16, 16)


def test_what_the_user_gave_stands(digits):
    space = fit_space("nasbench201:cells=1,classes=12,channels=3", digits)
    assert space.spec == "nasbench201:cells=1,width=16,classes=12,size=16,channels=3"
    with pytest.raises(UsageError, match=r"10 classes.*set classes=10"):
        fit_space("nasbench201:classes=9", digits)


def test_a_size_that_a_space_does_not_take_becomes_the_next_that_it_does(digits):
    odd = replace(digits, **{part: getattr(digits, part).fitted(1, (30, 30)) for part in ("weights", "law", "test")})
    assert fit_space("darts:layers=3,width=4", odd).graph.input_shape == (1, 32, 32)
    assert fit_space("nasbench201:cells=1", odd).graph.input_shape == (1, 30, 30)


def test_a_space_that_cannot_give_what_is_asked_for_is_refused_with_both(digits):
    values = {name: getattr(digits, name) for name in ("name", "weights", "law", "test", "classes")}
    with pytest.raises(UsageError, match="asks for map, nasbench201 gives classes"):
        fit_space("nasbench201", Maps(**values))
    with pytest.raises(UsageError, match="asks for map, nasbench201 gives classes"):
        Maps(**values).fitted(registry.create("space", "nasbench201"))


def test_what_was_measured_for_fewer_classes_or_another_size_is_refused_with_what_to_measure(digits):
    spec = "nasbench201:cells=1,width=4"
    few = registry.create("space", f"{spec},classes=5")
    with pytest.raises(
        UsageError, match=r"5 classes.*collect --space nasbench201:cells=1,width=4,classes=10,size=16,ch"
    ):
        check_fit(few, spec, digits)
    with pytest.raises(UsageError, match="set classes=10"):  # the user's own word
        check_fit(few, f"{spec},classes=5", digits)
    check_fit(registry.create("space", spec), spec, digits)  # images in memory are resized
    sized = replace(digits, decoded=8)
    with pytest.raises(UsageError, match=r"images of 32 pixels.*has 16"):
        check_fit(registry.create("space", spec), spec, sized)
    check_fit(registry.create("space", spec), None, sized)


@dataclass(frozen=True)
class Dense(SearchSpace):
    """A convolution of one of two kernels and whatever head the task asks for."""

    output: Kind = "classes"
    classes: int = 2
    side: int = 4
    size: int = 8
    channels: int = 1

    name: ClassVar[str] = "two_kernels"
    outputs: ClassVar[tuple[Kind, ...]] = ("classes", "map", "heatmaps")

    @property
    def gives(self):
        return (self.output,)

    @property
    def sites(self):
        return (Site("kernel", ("k1", "k3")),)

    def build(self):
        builder = GraphBuilder((self.channels, self.size, self.size))
        kernels = {f"k{k}": lambda b, x, k=k: b.add("conv", Conv(4, k), x) for k in (1, 3)}
        x = builder.choice("convolve", "kernel", kernels, INPUT)
        if self.output == "classes":
            return builder.graph(builder.add("linear", Linear(self.classes), builder.add("pool", GlobalPool(), x)))
        return builder.graph(
            builder.add("resize", Upsample((self.side,) * 2), builder.add("to", Conv(self.classes), x))
        )


@pytest.fixture
def two_kernels(monkeypatch):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Dense if name == "two_kernels" else load(kind, name))
    monkeypatch.setattr(registry, "names", lambda kind, names=registry.names: [*names(kind), "two_kernels"])
    return "two_kernels"


@pytest.mark.parametrize(
    ("task", "shape", "given"),
    [
        ("digits,limit=100", (10,), ""),
        ("shapes_segmentation,images=20", (4, 32, 32), ""),
        ("shapes_segmentation,images=20", (7, 16, 16), "side=16,classes=7"),
        ("figures_keypoints,images=20", (5, 16, 16), ""),
    ],
)
def test_a_space_of_several_outputs_gets_the_one_asked_for_and_its_sizes(two_kernels, task, shape, given):
    space = fit_space(f"{two_kernels}:{given}".rstrip(":"), load_task(task))
    assert space.graph.shape == shape
    assert load_task(task).fitted(space).output.kind in space.gives


def test_an_output_that_was_given_and_does_not_fit_is_refused_with_the_argument_to_set(two_kernels):
    figures = load_task("figures_keypoints,images=20")
    with pytest.raises(UsageError, match=r"asks for heatmaps, two_kernels:.* gives map; set output=heatmaps"):
        fit_space(f"{two_kernels}:output=map", figures)
    with pytest.raises(UsageError, match=r"heatmaps of 16x16, .* gives 4x4; set side=16"):
        fit_space(f"{two_kernels}:side=4", figures)
    with pytest.raises(
        UsageError, match=r"asks for heatmaps, darts gives classes; spaces that give heatmaps: .*kernels"
    ):
        fit_space("darts", figures)


def test_what_was_measured_with_another_head_is_refused_with_what_to_measure(two_kernels):
    figures = load_task("figures_keypoints,images=20")
    with pytest.raises(
        UsageError, match=r"output=classes, and figures_keypoints.* heatmaps: .*output=heatmaps,classes"
    ):
        check_fit(Dense(), two_kernels, figures)
    small = Dense("heatmaps", 5, 8, 32, 1)
    with pytest.raises(UsageError, match=r"heatmaps of 8x8, and figures_keypoints.* has 16x16"):
        check_fit(small, two_kernels, figures)
    check_fit(replace(small, side=16), two_kernels, figures)


@pytest.mark.parametrize(("sides", "gives"), [((), ("classes",)), ((6,), ("sequence",)), ((6, 6), ("map", "heatmaps"))])
def test_a_module_of_the_users_gives_what_its_output_may_be(sides, gives):
    kind = {0: nn.Linear, 1: nn.Conv1d, 2: nn.Conv2d}[len(sides)]
    kernel = (1,) if sides else ()
    either = Choice({"a": kind(3, 4, *kernel), "b": nn.Sequential(kind(3, 4, *kernel), nn.ReLU())})
    space = space_from(nn.Sequential(either, kind(4, 5, *kernel)), torch.zeros(1, 3, *sides))
    assert space.gives == gives
