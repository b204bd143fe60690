"""What an agent answers: the result of a job, a refusal of one, and the environment that results name."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, replace

from ... import __version__
from ...devices.device import Device
from ...measurement.calibration import Calibration
from ...measurement.measurement import Measurement
from ...measurement.rounds import Failure
from ..messages import Environment, Job, Result
from ..queue import Lease


def result(
    lease: Lease, *, agent: str, environment_sha256: str, measurement: Measurement, calibration: Calibration | None
) -> Result:
    """Return the result of one attempt at a job.

    Args:
        lease: the attempt.
        agent: Id of the agent.
        environment_sha256: Name of its environment.
        measurement: what came of it.
        calibration: the one in force, if there is any.
    """
    job = lease.job
    in_force = measurement.environment.get("isolation") or {}
    return Result(
        job_id=job.job_id,
        issue=job.issue,
        delivery=lease.delivery,
        attempt=lease.attempt,
        campaign=job.campaign,
        agent=agent,
        device_class=job.device_class,
        model_sha256=job.model.sha256,
        environment_sha256=environment_sha256,
        isolation=tuple(sorted(name for name, on in in_force.items() if on and not str(on).startswith("not"))),
        started_unix_ms=int(time.time() * 1e3),
        measurement=_as_read(measurement),
        calibration=asdict(calibration) if calibration else {},
    )


def refusal(job: Job, detail: str) -> Measurement:
    """Return the measurement of a job that an agent does not try, and why."""
    return job.failed(Failure("refused", "load", detail=detail))


def environment(agent: str, device: Device) -> Environment:
    """Return what an agent says of its device, in full."""
    facts = {"tempograd": __version__, "python": platform.python_version(), "system": platform.platform()}
    fingerprint = json.loads(device.fingerprint.to_json())
    return Environment(agent, fingerprint, json.loads(json.dumps(facts | {"conditions": device.environment()})))


def _as_read(measurement: Measurement) -> Measurement:
    """Return a measurement whose environment is as it comes back from JSON: the same bytes, however often written."""
    return replace(measurement, environment=json.loads(json.dumps(measurement.environment)))
