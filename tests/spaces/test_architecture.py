"""An architecture's key is unique within its space, and it is a value."""

from tempograd import registry
from tempograd.spaces.architecture import Architecture


def test_the_key_tells_choices_and_those_that_decide_nothing():
    assert Architecture("s", (0, 13, -1, 2)).key == "0.13.x.2"


def test_keys_are_unique_within_a_space_and_read_again():
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8")
    every = list(space.enumerate())
    keys = {architecture.key for architecture in every}
    assert len(keys) == len(every) == 15625
    assert all(space.from_key(architecture.key) == architecture for architecture in every[::997])


def test_equal_choices_of_one_space_are_equal_and_of_two_spaces_are_not():
    assert Architecture("a", (1, 2)) == Architecture("a", (1, 2)) != Architecture("b", (1, 2))
    assert len({Architecture("a", (1,)), Architecture("a", (1,)), Architecture("a", (2,))}) == 2
