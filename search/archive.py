"""The Pareto archive: of all networks asked about, those that no other beats in merit and latency at once.

Unlike a population it forgets nothing that is on the front, so its hypervolume never falls.

References:
    Zitzler and Thiele, *Multiobjective evolutionary algorithms: a comparative case study and the strength Pareto
    approach*, IEEE TEVC 1999 (hypervolume).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..metric import ACCURACY, Metric
from .front import front
from .trace import Query


@dataclass(frozen=True)
class Archive:
    """Networks of which none is beaten by another, by rising predicted latency and merit.

    Args:
        members: the networks.
        metric: that says what is better.
    """

    members: tuple[Query, ...]
    metric: Metric = ACCURACY

    @classmethod
    def of(cls, queries: Iterable[Query], metric: Metric = ACCURACY) -> Archive:
        """Return the archive of what was asked."""
        asked = list(queries)
        places = front([metric.merit(query.score) for query in asked], [query.predicted_ms for query in asked])
        return cls(tuple(asked[i] for i in places), metric)

    @property
    def best_first(self) -> tuple[Query, ...]:
        """Return the members by falling merit, and so by falling latency."""
        return self.members[::-1]

    def hypervolume(self, worst: float, most_ms: float) -> float:
        """Return the area of merit and ms that members beat, as far as a reference point: a score and a latency.

        A member that is worse than the reference in either adds nothing.

        Raises:
            UsageError: pymoo is not installed, which measures it.
        """
        try:
            from pymoo.indicators.hv import HV
        except ImportError as error:
            raise UsageError("hypervolumes are measured by pymoo: pip install 'tempograd[evolution]'") from error
        costs = [[-self.metric.merit(query.score), query.predicted_ms] for query in self.members]
        area = HV(ref_point=np.array([-self.metric.merit(worst), most_ms]))(np.array(costs).reshape(-1, 2))
        return float(area or 0.0)
