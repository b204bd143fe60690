"""An Optuna study, not tempograd's, whose second objective is the latency as measured: three lines of ours.

Run it: ``pip install optuna; python examples/optuna_study.py``. A trial whose latency cannot be believed is pruned, so
that noise is never taken for speed. The first objective here is a stand-in; yours is an accuracy.
"""

from __future__ import annotations

import sys

import optuna
import torch
from torch import nn

import tempograd as tg  # 1


def network(width: int, depth: int) -> nn.Module:
    """Return somebody's own network: so many convolutions of so many channels."""
    layers: list[nn.Module] = []
    for n in range(depth):
        layers += [nn.Conv2d(3 if n == 0 else width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def objective(trial: optuna.Trial, device: str) -> tuple[float, float]:
    """Return (what stands in for an accuracy, latency in ms)."""
    model = network(trial.suggest_int("width", 8, 64, step=8), trial.suggest_int("depth", 1, 6))
    found = tg.measure(model, shape=(1, 3, 32, 32), device=device, plan="quick")  # 2
    if not found.reliable:  # 3
        raise optuna.TrialPruned(f"{found.latency_ms:.3g} ms is {found.verdict}")
    trial.set_user_attr("interval_ms", (found.low_ms, found.high_ms))
    parameters = sum(values.numel() for values in model.parameters())
    return float(torch.log10(torch.tensor(float(parameters)))), found.latency_ms


def study(device: str = "local", trials: int = 20) -> optuna.Study:
    """Run the study and return it; its ``best_trials`` are the front."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.NSGAIISampler(seed=0))
    found.optimize(lambda trial: objective(trial, device), n_trials=trials)
    return found


if __name__ == "__main__":
    for best in sorted(study(*sys.argv[1:2]).best_trials, key=lambda trial: trial.values[1]):
        low, high = best.user_attrs["interval_ms"]
        print(f"{best.params}: {best.values[1]:.3g} ms [{low:.3g}, {high:.3g}]")
