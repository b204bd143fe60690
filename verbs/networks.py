"""Networks as a user gives them: files, bytes, ONNX models, torch modules, results' folders; opened to be timed."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any

from ..arguments import path as path_of
from ..data.store import Store
from ..devices.device import Place
from ..devices.worker.opening import opened
from ..errors import InputRefusedError, MismatchError, TempogradError, UsageError
from ..graphs.network import MODELS, Tensor
from ..graphs.shapes import Shapes, check_held, variants
from ..profiler.networks import Network
from ..registry import split_spec
from ..scratch import Scratch
from .outcome import device_of

Shape = Mapping[str, Sequence[int | Sequence[int]] | int] | Sequence[int | Sequence[int]] | Sequence[str] | str | None
"""Shapes of inputs: ``{"x": (1, 3, 224, 224)}``, for an only input ``(1, 3, 224, 224)``, or texts as of ``--shape``.

A size may be several, ``((1, 8), 3, 224, 224)``: then there are as many networks.
"""


@dataclass(frozen=True)
class Refused:
    """A network that could not be opened, and why."""

    name: str
    source: str
    error: TempogradError

    @property
    def named(self) -> TempogradError:
        """Return the error, with the file as it was given, or the network's name, where it does not say it."""
        told, given = str(self.error), self.source or self.name
        return self.error if Path(given).name in told else type(self.error)(f"{given}: {told}")


def shapes_of(shape: Shape) -> list[dict[str, tuple[int, ...]]]:
    """Return shapes by input, every combination where a size is several; the only input, unnamed, has the name "".

    Raises:
        UsageError: it is none.
    """
    if shape is None:
        return [{}]
    if not isinstance(shape, Mapping | Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - users' own
        raise UsageError(
            f"argument shape={shape!r}; allowed: sizes such as (1, 3, 224, 224), or by input {{'x': (1, 3, 224, 224)}}"
        )
    if not len(shape):
        return [{}]
    if isinstance(shape, str):
        return variants([shape])
    if isinstance(shape, Mapping):
        return variants([f"{name}={_sizes(sizes)}" for name, sizes in shape.items()])
    if any(isinstance(one, str) for one in shape):
        return variants([str(one) for one in shape])
    return variants([_sizes(shape)])


def _sizes(sizes: Any) -> str:
    """Return ``1,8x3`` for ``((1, 8), 3)``."""
    each = sizes if isinstance(sizes, Sequence) else [sizes]
    return "x".join(",".join(map(str, one)) if isinstance(one, Sequence) else str(one) for one in each)


def file_of(source: str) -> str:
    """Return a file as a command names it, also where its name begins like an option."""
    return quote(f"./{source}" if source.startswith("-") else source)


def asked(device: str | Place, shape: Shape) -> str:
    """Return the options of a next command that name the device and the shapes that were asked for."""
    words = "" if device == "local" or not isinstance(device, str) else f" --device {quote(device)}"
    several = [shape] if isinstance(shape, str) else shape
    told = several if isinstance(several, Sequence) and all(isinstance(one, str) for one in several) else ()
    return words + "".join(f" --shape {quote(str(one))}" for one in told)


def placed(device: str | Place, precision: str | None) -> Place:
    """Return the device, with a precision of its runtime where one is given apart.

    Raises:
        UsageError: the precision is given twice, or the device is no spec.
    """
    if precision is None:
        return device_of(device)
    if not isinstance(device, str):
        raise UsageError(f"precision={precision} beside a device that is made already; make the device with it")
    if "precision" in split_spec(device, "kind")[1]:
        raise UsageError(f"--precision {precision} and --device {device} both name a precision; give it once")
    return device_of(f"{device}{',' if ':' in device else ':'}precision={precision}")


@contextmanager
def opened_networks(
    models: Sequence[Any], shape: Shape = None, *, light: bool = False
) -> Generator[list[Network | Refused]]:
    """Open networks, each in a limited process of its own; what had to be written lies in a folder until the end.

    One that is refused, or that the shapes do not fit, is a `Refused` among the others.

    Args:
        models: paths of ONNX files or of folders with a ``network.onnx``, bytes, ONNX models, or torch modules.
        shape: Shape of the inputs that are open, and of a torch module's. Where a size has several values, there is a
            network for each of them, with the value in its name.
        light: without weights of their own: enough to see their kernels.

    Raises:
        UsageError: a value that is no network, or a text that is no shape.
    """
    every = shapes_of(shape)
    with Scratch() as scratch:
        found: list[Network | Refused] = []
        for number, model in enumerate(models):
            for shapes in every:
                folder = Path(scratch, str(len(found)))
                folder.mkdir()
                one = _open(model, number, shapes, folder, light)
                found.append(replace(one, name=f"{one.name} {_label(shapes, every)}".rstrip()))
        yield found


@contextmanager
def accepted_networks(models: Sequence[Any], shape: Shape = None, *, light: bool = False) -> Generator[list[Network]]:
    """Open networks as `opened_networks` does, all of which are needed: a store is opened within, so that none is left.

    Raises:
        UsageError: a value that is no network, or a shape that does not fit.
        InputRefusedError: the first that is refused, with its name.
    """
    with opened_networks(models, shape, light=light) as found:
        for one in found:
            if isinstance(one, Refused):
                raise one.named
        yield [one for one in found if isinstance(one, Network)]


def _label(shapes: Shapes, every: Sequence[Shapes]) -> str:
    """Return what sets these shapes apart from the others, as ``--shape`` takes it."""
    apart = [name for name in shapes if len({one[name] for one in every}) > 1]
    return " ".join(f"{name}={'x'.join(map(str, shapes[name]))}".removeprefix("=") for name in apart)


@contextmanager
def one_network(model: Any, shape: Shape = None, *, light: bool = False) -> Generator[Network]:
    """Open one network of one shape, as `accepted_networks` does.

    Raises:
        UsageError: several shapes; or as for `accepted_networks`.
        InputRefusedError: it is refused.
    """
    if len(shapes_of(shape)) > 1:
        raise UsageError("several shapes are several networks, and this takes one; measure and compare take them all")
    with accepted_networks([model], shape, light=light) as (network,):
        yield network


def _open(model: Any, number: int, shapes: Shapes, folder: Path, light: bool) -> Network | Refused:
    source, name = _file(model, number, shapes, folder)
    told = str(model) if isinstance(model, str | Path) else ""
    exported = not isinstance(model, str | Path | bytes) and hasattr(model, "parameters")
    ready = folder / "opened"
    ready.mkdir()
    try:
        one = opened(source, {} if exported else shapes, ready, light=light)
    except (InputRefusedError, UsageError) as error:  # the latter: shapes that do not fit this one
        return Refused(name, told, error)
    facts = one.facts
    return Network(facts.key, name, one.path, one.digest, told and str(source), facts.to_dict())


def _file(model: Any, number: int, shapes: Shapes, folder: Path) -> tuple[Path, str]:
    """Return the file of a network and its name, written where it is none yet."""
    if isinstance(model, str | Path):
        path = path_of("model", model)
        name = path.stem
        if path.is_dir():
            path, name = path / "network.onnx", path.resolve().name
            if not path.is_file():
                raise UsageError(f"{model} is a folder without a network.onnx; name an ONNX file or a result's folder")
        return path, name
    name = f"model{number + 1}"
    path = folder / "given.onnx"
    if isinstance(model, bytes):
        path.write_bytes(model)
    elif hasattr(model, "SerializeToString"):
        path.write_bytes(model.SerializeToString())
    elif hasattr(model, "parameters") and hasattr(model, "forward"):
        name = type(model).__name__
        _export(model, shapes, path)
    else:
        raise UsageError(
            f"{type(model).__name__} is no network; allowed: the path of an ONNX file, its bytes, an ONNX model, or a "
            "torch module with shape="
        )
    return path, name


def _export(module: Any, shapes: Shapes, path: Path) -> None:
    """Write a torch module as ONNX, in evaluation mode, for float inputs of these shapes in their order.

    Raises:
        UsageError: no shape is given, or one that no memory holds.
        InputRefusedError: torch cannot export it.
    """
    import warnings

    import torch

    if not shapes:
        raise UsageError("a torch module needs shape=, such as shape=(1, 3, 224, 224)")
    names = [name or f"input{n}" for n, name in enumerate(shapes)]
    check_held(Tensor(name, "float32", shape) for name, shape in zip(names, shapes.values(), strict=True))
    inputs = tuple(torch.zeros(shape) for shape in shapes.values())
    training = module.training
    module.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            more: dict[str, Any] = {"dynamo": False}
            if find_spec("onnxscript") is not None:
                more = {"dynamo": True, "verbose": False}
            torch.onnx.export(module, inputs, str(path), input_names=names, **more)
    except Exception as error:  # torch's exporters share no base but Exception
        why = re.sub(r"\s+", " ", str(error))[:300]
        raise InputRefusedError(f"torch cannot export {type(module).__name__}: {why}; give its ONNX file") from error
    finally:
        module.train(training)


@contextmanager
def kept_in(store: Path | None) -> Generator[Store]:
    """Open a store to write, or one that is gone afterwards."""
    if store is not None:
        with Store(store, write=True) as there:
            yield there
        return
    with Scratch() as folder, Store(Path(folder, "run.db"), write=True) as passing:
        yield passing


def named_rows(store: Store, fingerprint_id: str) -> dict[str, str]:
    """Return name -> key of the networks without a space that were measured on a device, the newest of each name.

    Raises:
        MismatchError: the store holds such networks, but none of this device.
    """
    held = {id_ for space, id_ in store.sets() if space == MODELS}
    if held and fingerprint_id not in held:
        raise MismatchError(f"{store.path} holds networks of device {', '.join(sorted(held))}, not {fingerprint_id}")
    return {row.name: row.key for row in store.models()}
