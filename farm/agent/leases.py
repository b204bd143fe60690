"""The leases that an agent has, from the moment that a job was taken until its result is delivered or it goes back.

A lease is in one of four places: in *reserve* (taken, not yet given to the engine) and so also in *hand*, in hand alone
(being timed), *awaiting* (its result is kept, and not delivered yet), or *left* (to be given back). A job that the
queue gives twice has several leases, and moves with all of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..messages import Job, Result
from ..queue import Lease


class Leases:
    """Who has which job now; safe to be asked by the engine's thread and the supervisor's at once."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._reserve: deque[Lease] = deque()
        self._hand: dict[str, list[Lease]] = {}  # job id -> its leases
        self._awaiting: dict[str, list[Lease]] = {}  # key of a kept result -> its job's leases
        self._left: list[tuple[Lease, float]] = []  # with the delay in ms before others get it

    # -- what there is -------------------------------------------------------------------------------------------

    @property
    def reserved(self) -> int:
        """Return how many jobs wait for the engine."""
        return len(self._reserve)

    @property
    def in_hand(self) -> int:
        """Return how many jobs were taken whose results are not kept yet."""
        return len(self._hand)

    @property
    def anything_left(self) -> bool:
        """Return whether some are to be given back."""
        return bool(self._left)

    @property
    def next_job(self) -> Job | None:
        """Return the job that has waited longest for the engine, None if none waits."""
        with self._mutex:
            return self._reserve[0].job if self._reserve else None

    def jobs_in_hand(self) -> list[Job]:
        """Return all jobs in hand."""
        with self._mutex:
            return [leases[0].job for leases in self._hand.values()]

    def held(self) -> list[Lease]:
        """Return what must be renewed: all that are in hand or awaiting."""
        with self._mutex:
            return [lease for leases in (*self._hand.values(), *self._awaiting.values()) for lease in leases]

    # -- how they move -------------------------------------------------------------------------------------------

    def take_up(self, kept: Iterable[str], leases: Iterable[Lease]) -> int:
        """Go on after a restart: results kept keep their leases, the others go back; return how many those are.

        Args:
            kept: keys of the results that are not delivered.
            leases: those that the last life noted.
        """
        attempts = {lease.attempt: lease for lease in leases if not lease.lost}
        with self._mutex:
            for key in kept:
                lease = attempts.pop(key.rpartition(":")[2], None)
                self._awaiting[key] = [] if lease is None else [lease]
            self._left = [(lease, 0.0) for lease in attempts.values()]
        return len(attempts)

    def admit(self, leases: Iterable[Lease]) -> list[Lease]:
        """Take leases in hand; return those of jobs that were not there yet, neither in hand nor as a kept result."""
        fresh: list[Lease] = []
        with self._mutex:
            kept = {key.partition(":")[0]: key for key in self._awaiting}
            for lease in leases:
                if lease.job.job_id in self._hand:  # the same job again: the same attempt
                    self._hand[lease.job.job_id].append(lease)
                elif lease.job.job_id in kept:
                    self._awaiting[kept[lease.job.job_id]].append(lease)
                else:
                    self._hand[lease.job.job_id] = [lease]
                    fresh.append(lease)
        return fresh

    def reserve(self, leases: Iterable[Lease]) -> None:
        """Let the engine have jobs in hand."""
        with self._mutex:
            self._reserve.extend(leases)

    def pop(self, like: Job, n: int) -> list[Job]:
        """Return up to ``n`` jobs out of the reserve that may be timed together with ``like``."""
        with self._mutex:
            taken = [lease for lease in self._reserve if lease.job.goes_with(like)][:n]
            for lease in taken:
                self._reserve.remove(lease)
        return [lease.job for lease in taken]

    def close(self, job: Job, result_of: Callable[[Lease], Result]) -> Result:
        """Let a job's leases await the delivery of its result; return the result, made for the newest of them."""
        with self._mutex:
            leases = self._hand.pop(job.job_id)
            result = result_of(leases[-1])
            self._awaiting[result.key] = leases
        return result

    def deliver(self, results: Iterable[Result]) -> list[Lease]:
        """Return the leases of results that are delivered now: they are to be finished."""
        with self._mutex:
            return [lease for result in results for lease in self._awaiting.pop(result.key, [])]

    def leave(self, jobs: Iterable[Job], delay_ms: float) -> None:
        """Have jobs in hand given back, and given to others after a delay."""
        with self._mutex:
            for job in jobs:
                self._left += [(lease, delay_ms) for lease in self._hand.pop(job.job_id, [])]

    def refuse(self, leases: Iterable[Lease], delay_ms: float) -> None:
        """Have leases given back that were never in hand."""
        with self._mutex:
            self._left += [(lease, delay_ms) for lease in leases]

    def empty_reserve(self, delay_ms: float) -> None:
        """Have everything in reserve given back."""
        with self._mutex:
            jobs = [lease.job for lease in self._reserve]
            self._reserve.clear()
        self.leave(jobs, delay_ms)

    def give_back(self, give: Callable[[Sequence[Lease], float], None]) -> None:
        """Give back what is left, by one call for each delay in ms; what is not given when a call fails stays left."""
        with self._mutex:
            left, self._left = self._left, []
        try:
            while left:
                delay_ms = left[0][1]
                give([lease for lease, delay in left if delay == delay_ms], delay_ms)
                left = [(lease, delay) for lease, delay in left if delay != delay_ms]
        finally:
            with self._mutex:
                self._left += left

    def renew(self, renewed: Iterable[Lease]) -> None:
        """Put leases with new deadlines in the place of those that they were."""
        fresh = {lease.attempt: lease for lease in renewed}
        with self._mutex:
            for leases in (*self._hand.values(), *self._awaiting.values()):
                leases[:] = [fresh.get(lease.attempt, lease) for lease in leases]
            self._reserve = deque(fresh.get(lease.attempt, lease) for lease in self._reserve)

    def drop_lost(self) -> list[Lease]:
        """Drop from the reserve what others may have by now, and return it; what is being timed is timed to its end."""
        with self._mutex:
            lost = [lease for lease in self._reserve if lease.lost]
            for lease in lost:
                self._reserve.remove(lease)
                self._hand.pop(lease.job.job_id, None)
        return lost
