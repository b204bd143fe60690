"""How a foreign network is opened from the outside: in a limited process, whose reply is checked field by field."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from msgspec import Meta, ValidationError
from msgspec import json as msgjson

from ...errors import InputRefusedError, UsageError
from ...graphs.network import NetworkFacts, Tensor
from ...graphs.shapes import Shapes
from .process import environment
from .replies import Reply

TIMEOUT_S = 180.0
_Count = Annotated[int, Meta(ge=0, le=2**62)]
_Text = Annotated[str, Meta(max_length=4096)]


class Opened(Reply):
    """A network that can be timed.

    Attributes:
        path: its file; external weights lie beside it.
        digest: SHA-256 of that file.
        facts: see `NetworkFacts`.
    """

    path: Path
    digest: str
    facts: NetworkFacts


class _TensorReply(Reply):
    name: _Text
    dtype: _Text
    shape: Annotated[list[_Count | None], Meta(max_length=64)]

    def value(self) -> Tensor:
        return Tensor(self.name, self.dtype, tuple(self.shape))


class _FactsReply(Reply):
    key: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    inputs: Annotated[list[_TensorReply], Meta(max_length=4096)]
    outputs: Annotated[list[_TensorReply], Meta(max_length=4096)]
    operators: dict[_Text, _Count]
    control_flow: list[_Text]
    parameters: _Count
    opset: _Count

    def value(self) -> NetworkFacts:
        return NetworkFacts(
            self.key, tuple(t.value() for t in self.inputs), tuple(t.value() for t in self.outputs),
            self.operators, tuple(self.control_flow), self.parameters, self.opset,
        )  # fmt: skip


class _OpenedReply(Reply):
    path: str = ""
    digest: str = ""
    facts: _FactsReply | None = None
    usage: str = ""
    refused: str = ""


def opened(source: Path, shapes: Shapes, folder: Path, *, light: bool = False) -> Opened:
    """Open a network in a limited process.

    Args:
        source: an ONNX file, external weights beside it.
        shapes: Shapes of the inputs that are open.
        folder: empty; where a network is written whose shapes had to be fixed.
        light: write it without weights of its own: enough to see its kernels.

    Raises:
        UsageError: a shape that does not fit an input.
        InputRefusedError: the file is refused, with the reason.
    """
    command = [sys.executable, "-P", "-m", f"{__package__}.opener", str(os.getpid())]
    source = source.resolve()
    sizes = {name: list(shape) for name, shape in shapes.items()}
    request = {"source": str(source), "shapes": sizes, "folder": str(folder), "light": light}
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=TIMEOUT_S, check=False,
            cwd=folder, env=environment(folder, 1), start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise InputRefusedError(f"{source.name}: reading it took more than {TIMEOUT_S:.0f} s") from error
    try:
        reply = msgjson.decode(done.stdout, type=_OpenedReply)
    except ValidationError as error:
        raise InputRefusedError(f"{source.name}: what was read of it is no answer ({error})") from error
    except Exception as error:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        why = "".join(filter(str.isprintable, last[0]))[:300] if last else f"exit status {done.returncode}"
        raise InputRefusedError(f"{source.name}: reading it ended the process that read it ({why})") from error
    if reply.usage:
        raise UsageError(reply.usage)
    if reply.refused or reply.facts is None:
        raise InputRefusedError(reply.refused or f"{source.name}: nothing was read of it")
    if Path(reply.path) not in (source, folder / "network.onnx"):
        raise InputRefusedError(f"{source.name}: its reader names another file, {reply.path}")
    return Opened(path=Path(reply.path), digest=reply.digest, facts=reply.facts.value())
