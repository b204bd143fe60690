"""What every device owes its callers; run over each one that can be opened here."""

import pytest

from tempograd.registry import create, names
from tempograd.testing.devices import DeviceContract

pytestmark = pytest.mark.real


class TestDevices(DeviceContract):
    """Of the phones only the one that is made up: a real one is nobody's to test with."""

    names = tuple(name for name in names("device") if name not in ("android", "local", "simulated"))
    optional = True


@pytest.mark.slow
class TestAlwaysHere(DeviceContract):
    """These two are never skipped."""

    names = ("local", "simulated:seed=3,noise=0.02")


@pytest.mark.slow
class TestPhone(DeviceContract):
    names = ("android",)

    @pytest.fixture
    def device(self, hung):
        return create("device", hung.spec)
