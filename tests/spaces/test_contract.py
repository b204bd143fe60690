"""The five readings of every space agree; a new file in ``spaces/zoo`` is tested here without an edit."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import tempograd
from tempograd import registry
from tempograd.spaces.own import given
from tempograd.testing.spaces import SpaceContract

TUTORIAL = Path(tempograd.__file__).parent / "docs" / "tutorials" / "new-space.md"


def chain():
    """The space of the tutorial as it is printed: its images have one channel, and it begins without BatchNorm."""
    text = re.search(r"<!-- file: tempograd_chain.py -->\n```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)[1]
    with TemporaryDirectory() as folder:
        file = Path(folder, "tempograd_chain.py")
        file.write_text(text)
        return given(f"{file}:Chain:blocks=3")


@pytest.mark.slow
class TestSpaces(SpaceContract):
    names = registry.names("space")


@pytest.mark.slow
class TestOneChannel(SpaceContract):
    """A map of one channel is laid out in both orders at once, so that a skip's and a convolution's maps differ."""

    own = (chain,)
