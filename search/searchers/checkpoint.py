"""One file that holds a search between two epochs: tensors in safetensors, the rest as JSON in its metadata.

Going on from it gives bit for bit what an undisturbed run gives: weights, statistics, both optimisers, the law, the
multiplier and the random generator are all in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import InputRefusedError, MismatchError
from ..trace import Trace

if TYPE_CHECKING:
    from .gradient import Alternation

_SCHEMA = 2


def save_state(run: Alternation, path: Path) -> None:
    """Write the state of a search; whoever reads meanwhile sees the old file or the new one, whole."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {"generator": run.generator.get_state()}
    tensors |= {f"supernet/{name}": value for name, value in run.supernet.state_dict().items()}
    tensors |= {f"law/{name}": value for name, value in run.law.state_dict().items()}
    tensors |= {f"warm_up/{name}": value for name, value in run.warm_up.state_dict().items()}
    for name, optimizer in _optimizers(run).items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": value for key, value in slots.items() if value is not None}
    state = {
        "schema": _SCHEMA,
        "identity": _identity(run),
        "trace": run.trace.rows(),
        "passes": run.passes,
        "form": {name: getattr(run.term.form, name) for name in run.term.form.learns},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    copies = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    save_file(copies, partial, metadata={"state": json.dumps(state)})
    partial.replace(path)


def load_state(run: Alternation, path: Path) -> None:
    """Set the state of a search from a checkpoint.

    Raises:
        InputRefusedError: the file is not a checkpoint.
        MismatchError: it is one of another search.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputRefusedError(f"{path} is not a checkpoint ({error}); delete it to start anew") from error
    if state.get("schema") != _SCHEMA or state.get("identity") != _identity(run):
        raise MismatchError(f"{path} is the checkpoint of another search; delete it or name another file")
    run.supernet.load_state_dict(_under(tensors, "supernet"))
    run.law.load_state_dict(_under(tensors, "law"))
    run.warm_up.load_state_dict(_under(tensors, "warm_up"))
    for name, optimizer in _optimizers(run).items():
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, name).items():
            index, _, slot = key.partition("/")
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    run.generator.set_state(tensors["generator"])
    run.trace = Trace.from_rows(state["trace"])
    run.passes = int(state["passes"])
    for name in run.term.form.learns:
        setattr(run.term.form, name, float(state["form"][name]))


def _identity(run: Alternation) -> dict[str, Any]:
    """Return what two searches must share for one to go on from the other's checkpoint, as JSON gives it back."""
    form = run.term.form
    identity = {
        "space": run.space.spec,
        "task": [run.task.name, len(run.task.weights), len(run.task.law), list(run.task.weights.images.shape[1:])],
        "schedule": asdict(run.schedule),
        "laws": [type(law).__name__ for law in (run.law, run.warm_up)],
        "form": [type(form).__name__, {k: v for k, v in vars(form).items() if k not in form.learns}],
        "cost": run.term.model.identity(),
        "regularisers": [[type(r).__name__, _plain(r)] for r in run.objective.regularisers],
        "distillation": run.objective.distillation and asdict(run.objective.distillation),
        "seed": run.generator.initial_seed(),
        "supernet": {key: list(value.shape) for key, value in run.supernet.state_dict().items()},
    }
    return json.loads(json.dumps(identity))


def _plain(value: object) -> dict[str, float]:
    return {k: v for k, v in vars(value).items() if isinstance(v, float | int)}


def _optimizers(run: Alternation) -> dict[str, torch.optim.Optimizer]:
    found = {"weights_optimizer": run.weights_optimizer, "law_optimizer": run.law_optimizer}
    return {name: optimizer for name, optimizer in found.items() if optimizer is not None}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in tensors.items() if key.startswith(f"{prefix}/")}
