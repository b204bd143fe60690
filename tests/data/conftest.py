import pytest

from tempograd import registry
from tempograd.profiler.plan import QUICK

from ..measurement.conftest import SPACE, fingerprint, make, make_round  # noqa: F401


@pytest.fixture(scope="session")
def space():
    return registry.create("space", SPACE)


def keep(store, fingerprint, *measurements, seed=0):  # noqa: F811
    campaign = store.begin(SPACE, fingerprint, QUICK.record(seed), seed)
    store.append(campaign, *measurements)
    return campaign
