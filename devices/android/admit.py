"""What may travel to a phone: every network is checked first, in a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from ...measurement.rounds import Failure
from ..device import Model

_LIMIT_S = 120.0


def admit(models: Sequence[Model], batch: int) -> dict[str, list[str] | Failure]:
    """Return for each key the files with external weights that must travel too, or why it is refused.

    Args:
        models: what is to be loaded.
        batch: that their first inputs must have.
    """
    if not models:
        return {}
    request = {"batch": batch, "models": [[m.key, str(m.path.absolute()), m.digest, m.own_batch] for m in models]}
    command = [sys.executable, "-P", "-m", f"{__package__}.reader", str(os.getpid())]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_LIMIT_S, check=True
        )
        told: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        if len(models) == 1:
            return {models[0].key: Failure("crashed", "load", detail=f"reading it ended the reader: {error}"[:300])}
        return {key: found for model in models for key, found in admit([model], batch).items()}
    return {key: Failure("refused", "load", detail=v) if isinstance(v, str) else v for key, v in told.items()}
