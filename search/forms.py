"""How a cost enters the loss, one class a form.

=====================  ================================================  ==============================================
``Linear``             ``CE + lam C/C_ref``                              LA-DARTS
``Ratio``              ``CE + lam (C/T - 1)``                            ProxylessNAS
``AbsRatio``           ``CE + lam |C/T - 1|``                            TF-NAS
``HingeRatio``         ``CE + lam max(0, C/T - 1)``                      TF-NAS as run in HardCoRe-NAS
``LogTarget``          ``CE + lam log(C)/log(T)``                        DenseNAS
``MulLog``             ``CE a (log C/log C_ref)^b``                      ProxylessNAS; FBNet
``LearnedMultiplier``  ``CE + lam (C/T - 1)``, lam by damped ascent      LightNAS
``Score``              ``quality - c (log10 C - 6)``                     AutoShrink, GRAM
``Pareto``             the common descent direction of both gradients    EG-DAS
``Hard``               no penalty: only steps that keep ``C <= T``       HardCoRe-NAS
``Reject``             no penalty: a network with C > T is never scored  OFA, ScaleNAS
=====================  ================================================  ==============================================

The forms with a logarithm need costs above 1: they count in microseconds, or whatever ``unit_ms`` says.

References:
    arXiv: 2001.06392 (LA-DARTS), 1812.00332 (ProxylessNAS), 2008.05314 (TF-NAS), 2102.11646 (HardCoRe-NAS), 1906.09607
    (DenseNAS), 1812.03443 (FBNet), 2208.14446 (LightNAS), 1911.09251 (AutoShrink), 1908.09791 (OFA), 2007.03964
    (Stooke et al., *Responsive safety in reinforcement learning by PID Lagrangian methods*: damping); Desideri,
    *Multiple-gradient descent algorithm*, 2012 (the direction of least norm).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import isfinite, log, log10
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import UsageError

MICROSECOND = 1e-3  # in ms: then every latency worth a search is above 1, and its logarithm above 0


class Form(ABC):
    """How a cost enters the loss.

    Attributes:
        lam: the cost's weight now.
        learns: which of its numbers move in a search, ``lam`` among them; none where the weight is fixed.
        moves: what moves the law.
    """

    lam: float
    learns: ClassVar[tuple[str, ...]] = ()
    moves: ClassVar[Literal["adam", "frank_wolfe"]] = "adam"

    @abstractmethod
    def combine(self, loss: Tensor, cost_ms: Tensor) -> Tensor:
        """Return what is minimised, from the task's loss and the law's cost: scalars."""

    def gradients(self, loss: Tensor, cost_ms: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the direction against which the parameters are moved; zeros for what nothing depends on."""
        return torch.autograd.grad(self.combine(loss, cost_ms), parameters, materialize_grads=True)

    @property
    def budget_ms(self) -> float | None:
        """Return what no network may cost, where the form says so."""
        return None

    @property
    def aim_ms(self) -> float | None:
        """Return the target, where the form has one, whether as a budget or as what a penalty is about."""
        return getattr(self, "target_ms", None)

    def allows(self, cost_ms: float) -> bool:
        """Return whether a network of this cost may be scored at all."""
        return self.budget_ms is None or cost_ms <= self.budget_ms

    def update(self, derived_ms: float) -> None:  # noqa: B027  (most forms have nothing to learn)
        """Learn from the cost of the architecture that would be derived now; called after every law step."""


class Additive(Form):
    """A penalty that does not depend on the task's loss."""

    def combine(self, loss: Tensor, cost_ms: Tensor) -> Tensor:
        return loss + self.penalty(cost_ms)

    @abstractmethod
    def penalty(self, cost_ms: Tensor) -> Tensor:
        """Return what is added to the task's loss."""


class Linear(Additive):
    """``lam * C / C_ref``: a fixed weight without a unit.

    Args:
        lam: the weight.
        reference_ms: latency of a reference network.
    """

    def __init__(self, lam: float, reference_ms: float) -> None:
        self.lam, self.reference_ms = from_zero("lam", lam), positive("reference_ms", reference_ms)

    def penalty(self, cost_ms: Tensor) -> Tensor:
        return self.lam * cost_ms / self.reference_ms


class Ratio(Additive):
    """``lam * (C/T - 1)``.

    Args:
        lam: the weight.
        target_ms: T.
    """

    def __init__(self, lam: float, target_ms: float) -> None:
        self.lam, self.target_ms = from_zero("lam", lam), positive("target_ms", target_ms)

    def penalty(self, cost_ms: Tensor) -> Tensor:
        return self.lam * self.deviation(cost_ms / self.target_ms - 1)

    def deviation(self, excess: Tensor) -> Tensor:
        """Return what of the relative excess is penalised."""
        return excess


class AbsRatio(Ratio):
    """``lam * |C/T - 1|``: pulls to the target from both sides."""

    def deviation(self, excess: Tensor) -> Tensor:
        return excess.abs()


class HingeRatio(Ratio):
    """``lam * max(0, C/T - 1)``: nothing below the target."""

    def deviation(self, excess: Tensor) -> Tensor:
        return excess.relu()


class LogTarget(Additive):
    """``lam * log(C) / log(T)``.

    Args:
        lam: the weight.
        target_ms: T.
        unit_ms: what the logarithms count in.
    """

    def __init__(self, lam: float, target_ms: float, unit_ms: float = MICROSECOND) -> None:
        self.lam, self.target_ms, self.unit_ms = from_zero("lam", lam), target_ms, positive("unit_ms", unit_ms)
        self._log_target = log(above_unit("target_ms", target_ms, unit_ms))

    def penalty(self, cost_ms: Tensor) -> Tensor:
        return self.lam * _log(cost_ms, self.unit_ms) / self._log_target


class MulLog(Form):
    """``CE * a * (log C / log C_ref)^b``; FBNet has ``log C_ref = 1``, which only changes a.

    Args:
        lam: b, the exponent.
        reference_ms: C_ref.
        scale: a.
        unit_ms: what the logarithms count in.
    """

    def __init__(self, lam: float, reference_ms: float, scale: float = 1.0, unit_ms: float = MICROSECOND) -> None:
        self.lam, self.reference_ms = from_zero("lam", lam), reference_ms
        self.scale, self.unit_ms = positive("scale", scale), positive("unit_ms", unit_ms)
        self._log_reference = log(above_unit("reference_ms", reference_ms, unit_ms))

    def combine(self, loss: Tensor, cost_ms: Tensor) -> Tensor:
        return loss * self.scale * (_log(cost_ms, self.unit_ms) / self._log_reference) ** self.lam


class LearnedMultiplier(Additive):
    """``lam * (C / T - 1)`` with ``lam`` learnt by ascent on the derived architecture's violation, damped.

    Ascent alone swings, the wider the more steps there are: a law is slow to follow, and ``lam`` goes on rising until
    it has. So the violation itself is added to what was summed up, as in a controller with a proportional term.

    Args:
        target_ms: T; must be feasible, or ``lam`` grows without end.
        eta: step of the ascent.
        damping: how many times the violation is added.
        two_sided: let ``lam`` go below 0 while the derived network is faster than T, which pushes latency up to T.
            Else T is a budget: ``lam >= 0``. LightNAS also drops ``lam`` to 0 whenever its sign disagrees with the
            violation; that is left out, since on planted problems it ended above T nine times in ten.
    """

    learns = ("lam", "summed")

    def __init__(self, target_ms: float, eta: float = 0.3, *, damping: float = 3.0, two_sided: bool = False) -> None:
        self.lam, self.target_ms, self.two_sided = 0.0, positive("target_ms", target_ms), two_sided
        self.eta, self.damping, self.summed = positive("eta", eta), from_zero("damping", damping), 0.0

    def penalty(self, cost_ms: Tensor) -> Tensor:
        return self.lam * (cost_ms / self.target_ms - 1)

    def update(self, derived_ms: float) -> None:
        violation = derived_ms / self.target_ms - 1
        self.summed = self._allowed(self.summed + self.eta * violation)
        self.lam = self._allowed(self.summed + self.damping * violation)

    def _allowed(self, lam: float) -> float:
        return lam if self.two_sided else max(0.0, lam)


class Score(Additive):
    """``quality - c (log10 C - 6)``, to be maximised; as a loss, ``CE + c (log10 C - 6)``.

    Args:
        lam: c.
        unit: what C counts in: 1 for multiply-accumulates.
    """

    def __init__(self, lam: float, unit: float = 1.0) -> None:
        self.lam, self.unit = from_zero("lam", lam), positive("unit", unit)

    def penalty(self, cost_ms: Tensor) -> Tensor:
        return self.lam * (_log(cost_ms, self.unit) / log(10) - 6)

    def value(self, quality: float, cost: float) -> float:
        """Return the score of one network."""
        return quality - self.lam * (log10(above_unit("cost", cost, self.unit)) - 6)


class Pareto(Form):
    """The vector of least norm between both gradients, each of length 1 over its preference.

    It is an ascent direction for neither. Preferences divide: the least norm leans to the shorter vector, so that a
    longer one for the objective preferred would turn the direction away from it.

    Args:
        lam: preference of the cost over that of the task.
    """

    def __init__(self, lam: float) -> None:
        self.lam = positive("lam", lam)

    def combine(self, loss: Tensor, cost_ms: Tensor) -> Tensor:
        raise UsageError("pareto has no sum of loss and cost, only a direction; ask for its gradients")

    def gradients(self, loss: Tensor, cost_ms: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
        direction = common_descent(_slope(loss, parameters), _slope(cost_ms, parameters), preference=self.lam)
        parts = direction.split([parameter.numel() for parameter in parameters])
        return tuple(part.reshape(p.shape).to(p.dtype) for part, p in zip(parts, parameters, strict=True))


class Reject(Form):
    """No penalty: a network above the target is never scored.

    Args:
        target_ms: T.
    """

    def __init__(self, target_ms: float) -> None:
        self.lam, self.target_ms = 0.0, positive("target_ms", target_ms)

    def combine(self, loss: Tensor, cost_ms: Tensor) -> Tensor:
        return loss

    @property
    def budget_ms(self) -> float | None:
        return self.target_ms


class Hard(Reject):
    """No penalty: the law is moved by linear programmes over the distributions whose expected cost is within T."""

    moves = "frank_wolfe"


def common_descent(first: Tensor, second: Tensor, *, preference: float = 1.0) -> Tensor:
    """Return the vector of least norm on the segment between two gradients ``(n,)`` of unit length over preference.

    Args:
        first: a gradient.
        second: another.
        preference: Preference of the second over the first.
    """
    lengths = float(first.norm()), float(second.norm())
    if 0.0 in lengths:
        return first if lengths[1] == 0.0 else second
    one, two = first.double() / lengths[0], second.double() / (lengths[1] * preference)
    apart = one - two
    distance = float(apart @ apart)
    share = 0.5 if distance == 0.0 else min(1.0, max(0.0, float((two - one) @ two) / distance))
    return share * one + (1 - share) * two


def positive(name: str, value: float) -> float:
    """Return the value, or raise UsageError unless it is finite and above 0."""
    if not (isfinite(value) and value > 0):
        raise UsageError(f"{name}={value}; allowed: a number above 0")
    return value


def from_zero(name: str, value: float) -> float:
    """Return the value, or raise UsageError unless it is finite and not below 0."""
    if not (isfinite(value) and value >= 0):
        raise UsageError(f"{name}={value}; allowed: a number from 0")
    return value


def above_unit(name: str, value: float, unit: float) -> float:
    """Return the value in a unit, or raise UsageError unless it is above 1 there, so that its logarithm is positive."""
    if not (isfinite(value) and value > unit):
        raise UsageError(
            f"{name}={value} is not above the unit {unit}, so its logarithm is not positive; name a smaller"
        )
    return value / unit


def _log(cost_ms: Tensor, unit_ms: float) -> Tensor:
    above_unit("cost", float(cost_ms.detach()), unit_ms)
    return (cost_ms / unit_ms).log()


def _slope(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.reshape(-1) for gradient in found])
