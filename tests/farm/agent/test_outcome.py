import json

import pytest

from tempograd import registry
from tempograd.farm.agent import outcome
from tempograd.farm.messages import Result
from tempograd.farm.queue import Lease
from tempograd.farm.wire import decode, encode

from ..conftest import _job as job
from ..conftest import _result as result


@pytest.fixture
def lease():
    return Lease(job("a"), 2, "f" * 16, 0.0, "")


def test_a_result_answers_its_lease_and_names_the_limits_in_force(lease):
    measurement = result(lease).measurement
    measurement.environment["isolation"] = {"rlimits": True, "cgroup": "not here", "namespace": False, "group": "own"}
    measurement.environment["cores"] = (1, 2)
    said = outcome.result(lease, agent="a1", environment_sha256="e" * 64, measurement=measurement, calibration=None)
    assert said.misfit(lease.job) is None
    assert (said.delivery, said.attempt, said.calibration) == (2, "f" * 16, {})
    assert said.isolation == ("group", "rlimits")
    assert decode(encode(said), Result) == said  # tuples in its environment are lists already


def test_a_refusal_is_a_measurement_of_the_job(lease):
    refused = outcome.refusal(lease.job, "too large")
    said = outcome.result(lease, agent="a1", environment_sha256="e" * 64, measurement=refused, calibration=None)
    assert said.misfit(lease.job) is None
    assert (refused.verdict, refused.failure.cause, refused.failure.detail) == ("failed", "refused", "too large")


def test_an_environment_holds_the_fingerprint():
    device = registry.create("device", "simulated")
    said = outcome.environment("a1", device)
    assert said.fingerprint == json.loads(device.fingerprint.to_json())
    assert said.facts["conditions"]["simulated"]
