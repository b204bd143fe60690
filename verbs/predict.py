"""``predict``: latency of architectures, and what else was learnt, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputRefusedError, InvalidArchitectureError
from ..predictor.interval import COVERAGE
from ..predictor.saved import SavedPredictor, load
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .outcome import UNRELIABLE, Outcome, plain, space_of, stored_space, table


def predict(predictor: Path, architectures: Sequence[str], *, space: str | SearchSpace | None = None) -> Outcome:
    """Predict the latency of architectures, given in any notation of the space, and every other head's quantity.

    ``@FILE`` stands for the lines of a file, one architecture each; what follows ``#`` is a comment. A predictor of a
    space of the user's own needs that space again, as ``FILE.py:NAME``: opening a file runs no code.

    Raises:
        MismatchError: the predictor is of another space than the one given.
        InputRefusedError: such a file cannot be read, or holds no architecture.
        InvalidArchitectureError: an architecture is none of the space.
    """
    kept = load(predictor)
    if space is not None:
        kept.check_binding(space=space_of(space).spec)
    chosen = stored_space(kept.binding.space)
    parsed = [architecture for text in architectures for architecture in architectures_of(chosen, text)]
    names = [chosen.format(a) for a in parsed]
    told = {quantity: _told(head, chosen, parsed) for quantity, head in kept.heads.items()}
    main, *others = told
    rows = [
        {"architecture": name, **told[main][i], "heads": {quantity: told[quantity][i] for quantity in others}}
        for i, name in enumerate(names)
    ]
    document = {
        "space": chosen.spec, "device": kept.binding.fingerprint_id, "coverage": COVERAGE, "quantities": list(told),
        "predictions": plain(rows),
    }  # fmt: skip
    texts = [
        table(
            (quantity.removesuffix(f"_{head.binding.unit}"), f"{COVERAGE:.0%} interval", "verdict", "architecture"),
            [_cells(told[quantity][i], quantity, head.binding.unit, name) for i, name in enumerate(names)],
        )
        for quantity, head in kept.heads.items()
    ]
    unsure = any(row["verdict"] != "predicted" for found in told.values() for row in found)
    return Outcome(document, "\n\n".join(texts), UNRELIABLE if unsure else 0)


def architectures_of(space: SearchSpace, text: str) -> list[Architecture]:
    """Return the architecture that a text names, or those of a file."""
    if not text.startswith("@"):
        return [space.parse(text.strip())]
    path = Path(text[1:])
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputRefusedError(f"cannot read {path}: {error}. It must hold one architecture a line") from error
    found: list[Architecture] = []
    for number, line in enumerate(lines, 1):
        try:
            found += [space.parse(line)] if line else []
        except InvalidArchitectureError as error:
            raise InvalidArchitectureError(f"{path}, line {number}: {error}") from error
    if not found:
        raise InputRefusedError(f"{path} holds no architecture; write one a line")
    return found


def _told(head: SavedPredictor, space: SearchSpace, architectures: Sequence[Architecture]) -> list[dict[str, Any]]:
    """Return what a head says of each architecture."""
    unit = head.binding.unit
    X = space.encode(architectures, head.binding.encoding)
    value, low, high = head.predict(X, return_interval=True, coverage=COVERAGE)
    outside = head.out_of_support(X)
    return [
        {
            head.binding.quantity: float(value[i]), f"low_{unit}": float(low[i]), f"high_{unit}": float(high[i]),
            "verdict": "out_of_support" if outside[i] else "predicted",
        }
        for i in range(len(architectures))
    ]  # fmt: skip


def _cells(row: dict[str, Any], quantity: str, unit: str, name: str) -> tuple[str, str, str, str]:
    interval = f"{row[f'low_{unit}']:.4g} .. {row[f'high_{unit}']:.4g}"
    return f"{row[quantity]:.4g} {unit}", interval, row["verdict"], name
