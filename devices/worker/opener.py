"""Opens a foreign network of no fixed shape in a limited process: ``python -m tempograd.devices.worker.opener``.

It checks the file, fixes the shapes of its inputs, says what the network is, and writes what can be timed if that is
not the file itself. Parsing is a risk in itself, so the caller never does.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from onnx import ModelProto

from ...errors import InputRefusedError, TempogradError, UsageError
from ...graphs.light import lighten
from ...graphs.network import facts_of
from ...graphs.shapes import Shapes, check_operators, fixed
from . import foreign, isolation

MEMORY_BYTES = 8 * 2**30
FILE_BYTES = 4 * 2**30
CPU_SECONDS = 120


def open_network(source: Path, shapes: Shapes, folder: Path, *, light: bool = False) -> dict[str, Any]:
    """Check a file and return its facts and the path and digest of what is to be timed.

    ``light`` is for networks whose kernels alone are asked for: what is written has no weights of its own
    (`graphs.light`).

    Raises:
        TempogradError: it is refused, or the shapes do not fit it.
    """
    content = _bytes_of(source)
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError, or RecursionError
        raise InputRefusedError(f"{source.name} is no ONNX model: {error}") from error
    locations = foreign.check_model(model, source.parent, None, sizes_fixed=False)
    check_operators(model)
    changed, different = fixed(model, shapes)
    facts = facts_of(changed).to_dict()
    path = source
    if light:
        lighten(changed, folder, locations)
        locations = sorted(_external(changed) & set(locations))
    if different or light:
        path = folder / "network.onnx"
        content = changed.SerializeToString()
        path.write_bytes(content)
        for location in locations:
            target = folder / location
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.parent / location, target)
    return {"path": str(path), "digest": sha256(content).hexdigest(), "facts": facts}


def _external(model: ModelProto) -> set[str]:
    """Return the files that hold a model's weights."""
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return {entry.value for entry in entries if entry.key == "location"}


def _bytes_of(path: Path) -> bytes:
    limit = foreign.Limits().file_bytes
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputRefusedError(
            f"cannot open {path}: {error.strerror}; give an ONNX file, or a folder that holds network.onnx"
            + ("; torch modules are measured in Python: tempograd.measure(module)" if ".py" in path.name else "")
        ) from error
    if not path.is_file():
        raise InputRefusedError(f"{path.name} is not a regular file; name an ONNX file")
    if size > limit:
        raise InputRefusedError(
            f"{path.name} has {size} bytes; the limit is {limit}: keep its weights as external data beside it"
        )
    return path.read_bytes()


def main() -> None:
    """Answer one request from standard input."""
    isolation.confine(int(sys.argv[1]), MEMORY_BYTES, FILE_BYTES)
    isolation.allow_cpu(1, CPU_SECONDS)
    replies = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    shapes = {name: tuple(sizes) for name, sizes in request["shapes"].items()}
    try:
        reply = open_network(Path(request["source"]), shapes, Path(request["folder"]), light=request["light"])
    except TempogradError as error:
        reply = {"usage" if isinstance(error, UsageError) else "refused": " ".join(str(error).split())[:1000]}
    except MemoryError:
        reply = {"refused": f"it needs more than {MEMORY_BYTES >> 30} GiB to be opened"}
    with os.fdopen(replies, "w") as out:
        json.dump(reply, out)


if __name__ == "__main__":
    main()
