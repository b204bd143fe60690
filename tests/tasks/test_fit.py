"""Spaces fitted to tasks: what the user left open, the task decides; what he gave stands."""

from dataclasses import dataclass, replace

import pytest

from tempograd import registry
from tempograd.errors import UsageError
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


@pytest.mark.parametrize("name", registry.names("space"))
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
