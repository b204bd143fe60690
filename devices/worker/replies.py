"""What a measuring process may answer, field by field: it runs foreign networks, so it is not trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct, ValidationError, convert, field
from numpy.typing import NDArray

from ...measurement.rounds import Cause, Failure, Round
from ..device import Loaded, PassResult
from .timing import MIN_SAMPLES
from .wire import from_text


class Reply(Struct, forbid_unknown_fields=True):
    """What the measuring process sent, field by field; what does not fit is no message."""


_HUGE = 1e300  # no number of ours comes near it; NaN and infinities do not pass
_COUNT = 2**62

Ms = Annotated[float, Meta(gt=0, lt=_HUGE)]
_MsOrZero = Annotated[float, Meta(ge=0, lt=_HUGE)]
_Count = Annotated[int, Meta(ge=0, le=_COUNT)]
_Sentinel = Annotated[list[Ms], Meta(min_length=1, max_length=16)]
_Samples = Annotated[list[Ms], Meta(min_length=MIN_SAMPLES)]
_Text = Annotated[str, Meta(max_length=4096)]
_Name = Annotated[str, Meta(max_length=64)]


class FailureReply(Reply):
    """Why a network cannot be timed."""

    cause: Cause
    phase: Literal["load", "warm_up", "run"]
    detail: _Text

    def value(self) -> Failure:
        """Return it without control characters."""
        return Failure(self.cause, self.phase, detail="".join(filter(str.isprintable, self.detail)))


class LoadReply(Reply):
    """What loading and warming up a network told."""

    load_ms: _MsOrZero = 0.0
    build_ms: _MsOrZero = 0.0
    first_run_ms: _MsOrZero = 0.0
    warm_up_runs: _Count = 0
    warm_up_capped: bool = False
    typical_ms: _MsOrZero = 0.0
    providers: dict[str, int] = field(default_factory=dict[str, int])
    kernels: dict[str, int] = field(default_factory=dict[str, int])
    peak_memory_bytes: _Count = 0
    memory_bytes: _Count | None = None
    failure: FailureReply | None = None

    def __post_init__(self) -> None:
        if self.failure is None and not (self.typical_ms > 0 and self.warm_up_runs > 0):
            raise ValueError("neither times nor a failure")

    def value(self, key: str) -> Loaded:
        """Return what this network told."""
        names = set(self.__struct_fields__) - {"failure", "typical_ms"}
        return Loaded(key, **{name: getattr(self, name) for name in names})


class OutputReply(Reply):
    """What a network computes."""

    shape: Annotated[list[_Count], Meta(max_length=8)]
    data: str

    def value(self) -> NDArray[np.float32]:
        """Return the array, of the shape that the reply states."""
        return from_text(self.shape, self.data)


class RoundReply(Reply):
    """One round of one network."""

    network: int
    started_s: Ms
    sentinel_before_ms: _Sentinel
    sentinel_after_ms: _Sentinel
    wall_ms: _Samples
    cpu_ms: _Samples
    gpu_ms: list[Ms]
    involuntary_switches: _Count
    run_queue_wait_ms: _MsOrZero
    events: Annotated[list[_Name], Meta(max_length=16)]
    block: Annotated[int, Meta(ge=1, le=_COUNT)]
    other_sentinels_ms: Annotated[dict[_Name, Ms], Meta(max_length=16)]
    state: Annotated[dict[_Name, Annotated[float, Meta(gt=-_HUGE, lt=_HUGE)]], Meta(max_length=16)]

    def __post_init__(self) -> None:
        if len(self.wall_ms) != len(self.cpu_ms) or len(self.gpu_ms) not in (0, len(self.wall_ms)):
            raise ValueError("as many CPU times, and GPU times, as wall times are needed")

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
    """The rounds of a pass, still to be read one by one, or the failure that ended it."""

    rounds: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failure: FailureReply | None = None
    network: int | None = None

    def result(self, keys: Sequence[str]) -> PassResult:
        """Return the rounds of these networks; a row that is no measurement is the failure of its network."""
        rounds: list[Round] = []
        for row, key in zip(self.rounds, keys, strict=True):
            try:
                rounds.append(convert(row, RoundReply).value(key))
            except ValidationError as error:  # a time that is zero, negative or not finite
                return PassResult((), {key: Failure("invalid_output", "run", detail=f"row refused: {error}")})
        return PassResult(tuple(rounds))
