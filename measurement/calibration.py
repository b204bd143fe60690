"""What a device's sentinel explains of its networks, from a dozen of them timed a dozen rounds each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .label import BETA_SPREAD, MIN_COMMON_SHARE, above, levels_ms
from .rounds import Round

HOUR_S = 3600.0
CALIBRATION_NETWORKS = 12
CALIBRATION_ROUNDS = 12


@dataclass(frozen=True)
class Calibration:
    """What a device's sentinel explains, from a dozen networks timed a dozen rounds each.

    Attributes:
        id: names it in every measurement that it was used for.
        at_s: when, by the device's clock of rounds.
        common_share: R2 of ln(network) on ln(the sentinel's level) within networks.
        beta: elasticity of a network's time on the sentinel's level: the slope that was seen, shrunk to 1 as far as it
            is not known.
        beta_spread: its standard deviation from network to network.
        noise: standard deviation of ln(before / after) of the sentinel, by its median.
        round_sd: Standard deviation of ln of a round's value within a network, as it came.
        residual_sd: ``round_sd`` after the sentinel's drift is divided out.
        networks: how many networks it rests on.
        rounds: how many rounds it rests on.
        other_shares: kind -> common share of the other sentinels, in the rounds in which they were read.
    """

    id: str
    at_s: float
    common_share: float
    beta: float
    noise: float
    round_sd: float
    residual_sd: float
    networks: int
    rounds: int
    other_shares: dict[str, float] = field(default_factory=dict[str, float])
    beta_spread: float = BETA_SPREAD

    def attainable(self, rounds: int, coverage: float = 0.95) -> float:
        """Return the half width of the interval (a share of the latency) to expect of this many rounds."""
        sd = min(self.round_sd, self.residual_sd) if self.common_share >= MIN_COMMON_SHARE else self.round_sd
        return NormalDist().inv_cdf((1 + coverage) / 2) * float(np.sqrt(np.pi / 2 / rounds)) * sd


def calibrate(rounds: Mapping[str, Sequence[Round]], clock: str, id: str = "") -> Calibration:  # noqa: A002
    """Learn how a device's networks follow its sentinel.

    Args:
        rounds: network -> its rounds; networks with fewer than three are left out.
        clock: ``cpu``, ``wall`` or ``gpu``, see `Round.value_ms`.
        id: Id of the calibration.

    Returns:
        The calibration; without usable rounds one whose common share is 0, so that nothing is corrected by it.
    """
    brackets = [_bracket(r) for series in rounds.values() for r in series]
    noise = 1.4826 * float(np.median(np.abs(brackets))) if brackets else 0.0
    valid = {k: [r for r in series if r.invalid(clock, noise) is None] for k, series in rounds.items()}
    used = {k: series for k, series in valid.items() if len(series) >= 3}
    at_s = max((r.started_s for series in rounds.values() for r in series), default=0.0)
    if not used:
        return Calibration(id, at_s, 0.0, 1.0, noise, 0.0, 0.0, 0, 0)
    readings = sorted((r.started_s, r.sentinel_ms) for series in rounds.values() for r in series)
    by_network = [_followed(readings, series, clock) for series in used.values()]
    s, v = (np.concatenate(parts) for parts in zip(*by_network, strict=True))
    free = max(len(s) - len(used), 1)  # degrees of freedom: one level a network is taken out
    ss, sv, vv = float(s @ s), float(s @ v), float(v @ v)
    slope = sv / ss if ss > 0 else 1.0
    share = _common_share(s, v)
    kinds = sorted({kind for series in used.values() for r in series for kind in r.other_sentinels_ms})
    others = {kind: _other_share(kind, used.values(), clock) for kind in kinds}
    residual = max(vv - slope * sv, 0.0) / max(free - 1, 1)
    weight = BETA_SPREAD**2 / (BETA_SPREAD**2 + residual / ss) if ss > 0 else 0.0
    beta = 1 + weight * (slope - 1)
    after = float(np.sqrt(np.sum((v - beta * s) ** 2) / free))
    spread = max(BETA_SPREAD, _elasticity_spread(by_network))
    round_sd = float(np.sqrt(vv / free))
    return Calibration(id, at_s, share, beta, noise, round_sd, after, len(used), len(s), others, spread)


def _followed(
    readings: Sequence[tuple[float, float]], series: Sequence[Round], clock: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ln of the sentinel's level and of a network's times, both centred, without readings that are like none."""
    around = zip(series, levels_ms(readings, series), strict=True)
    told = [(ms, r.value_ms(clock)) for r, ms in around if not above(r, ms)]
    s, v = np.log(told).reshape(-1, 2).T
    return s - s.mean(), v - v.mean()


def _elasticity_spread(by_network: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    """Return how far elasticities differ from network to network, beyond what their errors explain, at most by 1.

    The estimate of moments of DerSimonian and Laird, *Meta-analysis in clinical trials*, 1986; 0 for a single network.
    """
    told = [(float(s @ s), float(s @ v), float(v @ v), len(s)) for s, v in by_network if float(s @ s) > 0]
    free = sum(n - 2 for *_, n in told)
    if len(told) < 2 or free < 1:
        return 0.0
    weight = np.array([ss for ss, *_ in told])
    slope = np.array([sv / ss for ss, sv, *_ in told])
    error = sum(max(vv - sv * sv / ss, 0.0) for ss, sv, vv, _ in told) / free
    q = float(weight @ (slope - weight @ slope / weight.sum()) ** 2)
    return min(
        1.0, float(np.sqrt(max(0.0, q - (len(told) - 1) * error) / (weight.sum() - weight @ weight / weight.sum())))
    )


def _common_share(s: NDArray[np.float64], v: NDArray[np.float64]) -> float:
    """Return R2 of ``v`` on ``s``, both centred; 0 if they move against each other."""
    ss, sv, vv = float(s @ s), float(s @ v), float(v @ v)
    return min(sv * sv / (ss * vv), 1.0) if ss > 0 and vv > 0 and sv > 0 else 0.0


def _other_share(kind: str, series: Iterable[Sequence[Round]], clock: str) -> float:
    read = [[r for r in rounds if kind in r.other_sentinels_ms] for rounds in series]
    read = [rounds for rounds in read if len(rounds) >= 2]
    if not read:
        return 0.0
    s = _centred([[r.other_sentinels_ms[kind] for r in rounds] for rounds in read])
    return _common_share(s, _centred([[r.value_ms(clock) for r in rounds] for rounds in read]))


def _bracket(round_: Round) -> float:
    return float(np.log(min(round_.sentinel_before_ms) / min(round_.sentinel_after_ms)))


def _centred(series: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    logs = [np.log(values) for values in series]
    return np.concatenate([values - values.mean() for values in logs])


def is_stale(calibration: Calibration | None, now_s: float) -> bool:
    """Return whether a calibration is missing, older than an hour, or of another clock."""
    return calibration is None or abs(now_s - calibration.at_s) > HOUR_S
