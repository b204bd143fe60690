"""Checks on a foreign ONNX file, made in the worker before an engine sees it.

Resource exhaustion is ours to bound: the ONNX project declares it out of scope, and loading does not run its checker.
The caller must be a limited process: parsing is a risk in itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path, PurePosixPath

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from ...errors import InputRefusedError


@dataclass(frozen=True)
class Limits:
    """How large a foreign network may be; sizes in bytes."""

    file_bytes: int = 256 * 2**20
    nodes: int = 20_000
    depth: int = 8
    functions: int = 256
    name_bytes: int = 1024
    metadata_bytes: int = 64 * 1024
    rank: int = 8
    tensor_bytes: int = 2 * 2**30
    generated_bytes: int = 2**30


DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})

_PACKED_BITS: dict[int, int] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}


def read(path: Path, digest: str, limits: Limits | None = None) -> bytes:
    """Return the bytes of a model file.

    Args:
        path: the file; its last component may not be a link.
        digest: the SHA-256 that the bytes must have, hexadecimal.
        limits: defaults to `Limits()`.

    Raises:
        InputRefusedError: no regular file, too large, or of another digest.
    """
    limit = (limits or Limits()).file_bytes
    try:
        # not blocking: opening a FIFO would wait for its writer for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputRefusedError(f"cannot open {path.name}: {error.strerror}; links are not followed") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputRefusedError(f"{path.name} is not a regular file")
        if status.st_size > limit:
            raise InputRefusedError(f"{path.name} has {status.st_size} bytes; the limit is {limit}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise InputRefusedError(f"{path.name} grew beyond {limit} bytes while it was read")
    found = sha256(content).hexdigest()
    if found != digest.lower():
        raise InputRefusedError(f"{path.name} has SHA-256 {found[:12]}..., not {digest[:12]}... as announced")
    return content


def check(
    content: bytes, folder: Path, batch: int | None, limits: Limits | None = None, *, sizes_fixed: bool = True
) -> list[str]:
    """Refuse a network that is malformed, too large, of no fixed shape, or that reaches outside ``folder``.

    Args:
        content: serialised ONNX.
        folder: the model's directory, in which external weights must lie.
        batch: what the first dimension of the first input must be; None for a network that has a batch of its own.
        limits: defaults to `Limits()`.
        sizes_fixed: refuse sizes of inputs that are open.

    Returns:
        The files with external weights, relative to ``folder``.

    Raises:
        InputRefusedError: with the reason.
    """
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError, or RecursionError: both mean the same to the caller
        raise InputRefusedError(f"not an ONNX model: {error}") from error
    return check_model(model, folder, batch, limits, sizes_fixed=sizes_fixed)


def check_model(
    model: ModelProto, folder: Path, batch: int | None, limits: Limits | None = None, *, sizes_fixed: bool = True
) -> list[str]:
    """Refuse a network that was parsed already, as `check` does."""
    limits = limits or Limits()
    if not model.graph.node:
        raise InputRefusedError("not an ONNX model: its graph has no nodes")
    _check_domains(model)
    metadata = sum(len(entry.key) + len(entry.value) for entry in model.metadata_props) + len(model.doc_string)
    _at_most("metadata bytes", metadata, limits.metadata_bytes)
    _at_most("functions", len(model.functions), limits.functions)
    walk = _Walk(folder, limits)
    walk.model(model)
    if sizes_fixed:
        _check_inputs(model, batch)
    return sorted(walk.locations)


class _Walk:
    """One walk over everything nested in a model, counting what is bounded over the whole."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._nodes = 0
        self._generated = 0
        self.locations: set[str] = set()

    def model(self, model: ModelProto) -> None:
        self._graph(model.graph, 1)
        for function in model.functions:
            self._name(function.name)
            self._all_nodes(function.node, 1, {})

    def _graph(self, graph: GraphProto, depth: int) -> None:
        _at_most("nested subgraphs", depth, self._limits.depth)
        for tensor in graph.initializer:
            self._tensor(tensor)
        for sparse in graph.sparse_initializer:
            self._tensor(sparse.values)
            self._tensor(sparse.indices)
        for value in (*graph.input, *graph.output):
            self._name(value.name)
        shapes = {tensor.name: tensor for tensor in graph.initializer}
        self._all_nodes(graph.node, depth, shapes)

    def _all_nodes(self, nodes: Iterable[NodeProto], depth: int, constants: dict[str, TensorProto]) -> None:
        for node in nodes:
            self._nodes += 1
            _at_most("nodes", self._nodes, self._limits.nodes)
            self._node(node, depth, constants)

    def _node(self, node: NodeProto, depth: int, constants: dict[str, TensorProto]) -> None:
        for name in (node.name, node.op_type, *node.input, *node.output):
            self._name(name)
        if node.op_type == "ConstantOfShape" and node.input and node.input[0] in constants:
            self._generates(node, constants[node.input[0]])
        for attribute in node.attribute:
            self._name(attribute.name)
            for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
                self._tensor(tensor)
            for sparse in (
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ):
                self._tensor(sparse.values)
                self._tensor(sparse.indices)
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                self._graph(graph, depth + 1)

    def _generates(self, node: NodeProto, shape: TensorProto) -> None:
        sizes = list(shape.int64_data) or _int64s(shape.raw_data)
        width = 4
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.HasField("t"):
                width = _bits(attribute.t) / 8
        self._generated += int(prod(max(size, 0) for size in sizes) * width)
        _at_most("bytes of generated weights", self._generated, self._limits.generated_bytes)

    def _tensor(self, tensor: TensorProto) -> None:
        self._name(tensor.name)
        _at_most(f"dimensions of {tensor.name!r}", len(tensor.dims), self._limits.rank)
        if any(size < 0 for size in tensor.dims):
            raise InputRefusedError(f"tensor {tensor.name!r} has a negative dimension: {list(tensor.dims)}")
        if tensor.data_type == TensorProto.STRING:
            return
        declared = -(-prod(tensor.dims) * _bits(tensor) // 8)  # python's integers do not overflow
        _at_most(f"bytes of tensor {tensor.name!r}", declared, self._limits.tensor_bytes)
        if tensor.data_location == TensorProto.EXTERNAL:
            self._external(tensor, declared)
        elif tensor.HasField("raw_data") and len(tensor.raw_data) != declared:
            raise InputRefusedError(f"tensor {tensor.name!r} declares {declared} bytes, holds {len(tensor.raw_data)}")

    def _external(self, tensor: TensorProto, declared: int) -> None:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        unknown = set(entries) - {"location", "offset", "length", "checksum"}
        if unknown or len(entries) != len(tensor.external_data):
            raise InputRefusedError(f"tensor {tensor.name!r}: unknown or doubled external fields {sorted(unknown)}")
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(declared)))
        except ValueError as error:
            told = {key: entries[key] for key in ("offset", "length") if key in entries}
            raise InputRefusedError(
                f"tensor {tensor.name!r}: external data at {told}; allowed: whole numbers"
            ) from error
        size = _external_size(self._folder, entries.get("location", ""))
        self.locations.add(entries["location"])
        if offset < 0 or length != declared or offset + length > size:
            raise InputRefusedError(
                f"tensor {tensor.name!r} needs {declared} bytes; its external data are bytes {offset} to "
                f"{offset + length} of a file of {size}"
            )

    def _name(self, name: str) -> None:
        _at_most("bytes of a name", len(name), self._limits.name_bytes)


def _external_size(folder: Path, location: str) -> int:
    """Return the length of an external file, or refuse a location that could lead out of the model's directory."""
    parts = PurePosixPath(location).parts
    if not parts or PurePosixPath(location).is_absolute() or ".." in parts or "\\" in location or "\0" in location:
        raise InputRefusedError(f"external data at {location!r}; allowed: a relative path inside the model's directory")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise InputRefusedError(f"external data at {location!r} goes through a symbolic link")
    try:
        status = path.lstat()
    except OSError as error:
        raise InputRefusedError(
            f"external data at {location!r}: {error.strerror}; they must lie beside the model"
        ) from error
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise InputRefusedError(f"external data at {location!r} is no regular file, or has several hard links")
    return status.st_size


def _check_domains(model: ModelProto) -> None:
    own = {function.domain for function in model.functions}
    foreign = {entry.domain for entry in model.opset_import} - DOMAINS - own
    if foreign:
        raise InputRefusedError(
            f"operator domains {sorted(foreign)}; allowed: {', '.join(sorted(filter(None, DOMAINS)))} and functions in "
            "the file; custom operators are not loaded: export the network without them"
        )


def _check_inputs(model: ModelProto, batch: int | None) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    for index, value in enumerate(inputs):
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            told = (kind or "unknown").removesuffix("_type").replace("_", " ")
            raise InputRefusedError(
                f"input {value.name!r} is of type {told}; allowed: tensors. Export the network with those"
            )
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
        if any(size <= 0 for size in sizes):
            raise InputRefusedError(f"input {value.name!r} has no fixed shape; fix every size, the batch's too")
        if batch is not None and index == 0 and sizes and sizes[0] != batch:
            raise InputRefusedError(
                f"input {value.name!r} has batch {sizes[0]}; the device is set to batch {batch}: build it with that"
            )


def _bits(tensor: TensorProto) -> int:
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError, TypeError) as error:
        raise InputRefusedError(f"tensor {tensor.name!r} has unknown element type {tensor.data_type}") from error
    return _PACKED_BITS.get(tensor.data_type, 8 * int(dtype.itemsize))


def _int64s(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[i : i + 8], "little", signed=True) for i in range(0, len(raw), 8)]


def _at_most(what: str, value: int, limit: int) -> None:
    if value > limit:
        raise InputRefusedError(f"{value} {what}; the limit is {limit}")
