import pytest

from tempograd.testing.models import Table, make_table

from .keeping import folder, ridge  # noqa: F401


@pytest.fixture(scope="session")
def additive() -> Table:
    return make_table(500, seed=1, parallel=False)


@pytest.fixture(scope="session")
def parallel() -> Table:
    return make_table(800, seed=2, parallel=True, noise=0.005)
