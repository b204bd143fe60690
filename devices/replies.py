"""What a measuring process may answer, field by field: it runs foreign networks, so it is not trusted."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .measurement import Cause, Failure, Round
from .timing import MIN_SAMPLES
from .wire import from_text


class Reply(BaseModel):
    """Whatever a worker says: unknown fields and numbers that are none are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Ms = Annotated[float, Field(gt=0)]
Sentinel = Annotated[list[Ms], Field(min_length=1, max_length=16)]
Samples = Annotated[list[Ms], Field(min_length=MIN_SAMPLES)]
Text = Annotated[str, Field(max_length=4096)]


class FailureReply(Reply):
    """Why a network cannot be timed."""

    cause: Cause
    phase: Literal["load", "warm_up", "run"]
    detail: Text

    def value(self) -> Failure:
        """Return it without control characters."""
        return Failure(self.cause, self.phase, detail="".join(filter(str.isprintable, self.detail)))


class LoadReply(Reply):
    """What loading and warming up a network told."""

    load_ms: Annotated[float, Field(ge=0)] = 0.0
    build_ms: Annotated[float, Field(ge=0)] = 0.0
    first_run_ms: Annotated[float, Field(ge=0)] = 0.0
    warm_up_runs: Annotated[int, Field(ge=0)] = 0
    warm_up_capped: bool = False
    typical_ms: Annotated[float, Field(ge=0)] = 0.0
    providers: dict[str, int] = Field(default_factory=dict)
    kernels: dict[str, int] = Field(default_factory=dict)
    peak_memory_bytes: Annotated[int, Field(ge=0)] = 0
    memory_bytes: Annotated[int, Field(ge=0)] | None = None
    failure: FailureReply | None = None

    @model_validator(mode="after")
    def _timed_or_failed(self) -> LoadReply:
        if self.failure is None and not (self.typical_ms > 0 and self.warm_up_runs > 0):
            raise ValueError("neither times nor a failure")
        return self


class OutputReply(Reply):
    """What a network computes."""

    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=8)]
    data: str

    def value(self) -> NDArray[np.float32]:
        """Return the array."""
        return from_text(self.shape, self.data)


class RoundReply(Reply):
    """One round of one network."""

    network: int
    started_s: Ms
    sentinel_before_ms: Sentinel
    sentinel_after_ms: Sentinel
    wall_ms: Samples
    cpu_ms: Samples
    gpu_ms: list[Ms]
    involuntary_switches: Annotated[int, Field(ge=0)]
    run_queue_wait_ms: Annotated[float, Field(ge=0)]
    events: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)]
    block: Annotated[int, Field(ge=1)]
    other_sentinels_ms: Annotated[dict[Annotated[str, Field(max_length=64)], Ms], Field(max_length=16)]
    state: Annotated[dict[Annotated[str, Field(max_length=64)], float], Field(max_length=16)]

    @model_validator(mode="after")
    def _paired(self) -> RoundReply:
        if len(self.wall_ms) != len(self.cpu_ms) or len(self.gpu_ms) not in (0, len(self.wall_ms)):
            raise ValueError("as many CPU times, and GPU times, as wall times are needed")
        return self

    def value(self, key: str) -> Round:
        """Return the round of this network."""
        return Round(
            key=key,
            started_s=self.started_s,
            sentinel_before_ms=tuple(self.sentinel_before_ms),
            sentinel_after_ms=tuple(self.sentinel_after_ms),
            wall_ms=tuple(self.wall_ms),
            cpu_ms=tuple(self.cpu_ms),
            gpu_ms=tuple(self.gpu_ms),
            involuntary_switches=self.involuntary_switches,
            run_queue_wait_ms=self.run_queue_wait_ms,
            events=tuple(self.events),
            block=self.block,
            other_sentinels_ms=self.other_sentinels_ms,
            state=self.state,
        )


class PassReply(Reply):
    """The rounds of a pass, or the failure that ended it."""

    rounds: list[RoundReply] = Field(default_factory=list)
    failure: FailureReply | None = None
    network: int | None = None


def first_fault(error: ValidationError) -> str:
    """Return the first thing that is wrong, as one line."""
    detail = error.errors()[0]
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
