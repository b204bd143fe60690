"""The five readings of every space agree; a new file in ``spaces/zoo`` is tested here without an edit."""

import pytest

from tempograd import registry
from tempograd.testing.spaces import SpaceContract


@pytest.mark.slow
class TestSpaces(SpaceContract):
    names = registry.names("space")
