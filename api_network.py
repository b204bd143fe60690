"""Any network in Python, a file or a torch module that belongs to no space: how fast it is, and how far to believe it.

>>> import tempograd as tg
>>> from onnx.parser import parse_model
>>> text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 64] x) => (float[N, 64] y) { y = Relu(x) }'
>>> found = tg.measure(parse_model(text), shape=(8, 64), device="simulated")
>>> found.verdict, found.low_ms < found.latency_ms < found.high_ms
('ok', True)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers import Shown
from .arguments import path, public, several, text
from .errors import InputRefusedError, UsageError
from .verbs.outcome import silent

if TYPE_CHECKING:
    from .devices.device import Place
    from .verbs.networks import Shape

Progress = Callable[[str, int, int], None]


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


@dataclass(frozen=True, repr=False)
class Measured(Shown):
    """How fast one network is on one device.

    Attributes:
        document: as ``measure --json`` prints it.
        text: the same for people.
    """

    document: Mapping[str, Any]
    text: str

    @property
    def latency_ms(self) -> float:
        """Return one inference's time in ms, the middle one of three processes or more; NaN if none could tell."""
        return _number(self._network["latency_ms"])

    @property
    def low_ms(self) -> float:
        """Return the lower end of the 95 % interval."""
        return _number(self._network.get("low_ms", nan) or 0.0)

    @property
    def high_ms(self) -> float:
        """Return the upper end of the 95 % interval; infinite where nothing bounds it."""
        value = self._network.get("high_ms", nan)
        return inf if value is None else float(value)

    @property
    def verdict(self) -> str:
        """Return ``ok``, ``noisy`` or ``hot``."""
        return str(self._network["verdict"])

    @property
    def reliable(self) -> bool:
        """Return whether the interval is as narrow as the plan asks for."""
        return self.verdict == "ok"

    @property
    def key(self) -> str:
        """Return the network's identity, the same for other weights."""
        return str(self._network["key"])

    @property
    def _network(self) -> Mapping[str, Any]:
        return self.document["networks"][0]

    def listed(self) -> list[dict[str, Any]]:
        names = ("name", "latency_ms", "low_ms", "high_ms", "verdict", "processes")
        return [{name: self._network.get(name) for name in names}]


@public()
def measure(
    model: Any,
    *,
    shape: Shape = None,
    device: str | Place = "local",
    precision: str | None = None,
    store: Path | str | None = None,
    plan: str = "standard",
    seed: int = 0,
    again: bool = False,
    progress: Progress | None = None,
) -> Measured:
    """Measure any network on a device: its latency with interval and verdict, from three processes or more.

    Args:
        model: path of an ONNX file or of a result's folder, bytes, an ONNX model, or a torch module.
        shape: sizes of open inputs and of a torch module's: ``{"x": (1, 3, 224, 224)}``, or those of the only input.
        device: the device or its spec.
        precision: Precision of the device's runtime, such as ``int8-static``.
        store: file to keep it in; what it holds of this network, device and plan is not measured again.
        plan: how long each process measures: ``quick``, ``standard`` or ``precise``.
        seed: Seed of the order of rounds.
        again: measure anew what the store has.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: an argument that is not allowed, or a shape that does not fit.
        InputRefusedError: the file or the runtime refuses the network, or it fails on the device.
        DeviceError: the device cannot be reached.

    >>> import tempograd as tg, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> tg.measure(module, shape=(1, 3, 32, 32), device="simulated").verdict
    'ok'
    """
    from .verbs.measure import measure as verb
    from .verbs.networks import shapes_of

    if len(shapes_of(shape)) > 1:
        raise UsageError("several shapes are several networks; measure each, or compare them")
    done = verb(
        [model], shape=shape, device=device, precision=precision, store=None if store is None else path("store", store),
        plan=plan, seed=seed, again=again, progress=progress or silent,
    )  # fmt: skip
    failure = done.document["networks"][0].get("failure")
    if failure:
        raise InputRefusedError(f"no latency: {failure['cause']} in {failure['phase']}: {failure['detail']}")
    return Measured(done.document, done.text)


@dataclass(frozen=True, repr=False)
class Profiled(Shown):
    """Where the time of one network goes on one device.

    Attributes:
        document: as ``profile --json`` prints it.
        text: the same for people.
    """

    document: Mapping[str, Any]
    text: str

    @property
    def latency_ms(self) -> float:
        """Return one inference's time in ms, measured while nobody watched its kernels."""
        return float(self.document["latency_ms"])

    @property
    def verdict(self) -> str:
        """Return ``ok``, ``noisy`` or ``hot``: of the latency."""
        return str(self.document["verdict"])

    @property
    def advice(self) -> list[str]:
        """Return what to try, what promises most first."""
        return [one["text"] for one in self.document["advice"]]

    @property
    def kernels(self) -> list[dict[str, Any]]:
        """Return every kernel with its ``ms``, ``share``, ``family``, ``bound``, ``macs``, shapes and origin."""
        return list(self.document["kernels"])

    def listed(self) -> list[dict[str, Any]]:
        names = ("name", "op", "family", "ms", "share", "macs", "bound", "of_best")
        return [{name: row[name] for name in names} for row in self.kernels]


@public()
def profile(
    model: Any,
    *,
    shape: Shape = None,
    device: str | Place = "local",
    precision: str | None = None,
    store: Path | str | None = None,
    plan: str = "standard",
    seed: int = 0,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> Profiled:
    """Measure a network and say which of its kernels cost the time, and what holds each of them back.

    Args:
        model: path of an ONNX file or of a result's folder, bytes, an ONNX model, or a torch module.
        shape: sizes of open inputs and of a torch module's: ``{"x": (1, 3, 224, 224)}``, or those of the only input.
        device: the device or its spec; it must tell kernels, as ``local`` with ONNX Runtime on a CPU does.
        precision: Precision of the device's runtime, such as ``int8-static``.
        store: file to keep the latency in; what it holds is not measured again.
        plan: how long each process measures: ``quick``, ``standard`` or ``precise``.
        seed: Seed of the order of rounds.
        out: an HTML page with pictures.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: an argument that is not allowed, or a device that tells no kernels.
        InputRefusedError: the network is refused, or has control flow, which nobody can see through.
        DeviceError: the device cannot be reached, or the network failed on it.

    >>> import tempograd as tg, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> found = tg.profile(module, shape=(1, 3, 32, 32), device="simulated:seed=1")
    >>> [(kernel["op"], kernel["family"]) for kernel in found.kernels]
    [('Conv', 'convolution'), ('Relu', 'elementwise')]
    """
    from .verbs.profile import profile as verb

    done = verb(
        model, shape=shape, device=device, precision=precision, store=None if store is None else path("store", store),
        plan=plan, seed=seed, out=None if out is None else path("out", out), progress=progress or silent,
    )  # fmt: skip
    return Profiled(done.document, done.text)


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """How networks compare with the first of them.

    Attributes:
        document: as ``compare --json`` prints it.
        text: the same for people.
    """

    document: Mapping[str, Any]
    text: str

    @property
    def differences(self) -> list[dict[str, Any]]:
        """Return, for each network but the first, ``change`` with ``low`` and ``high`` as shares, and ``side``.

        ``side`` is ``faster``, ``slower`` or ``none``, where no difference is shown.
        """
        return [row["difference"] for row in self.document["networks"][1:]]

    @property
    def passed(self) -> bool:
        """Return whether the gate passed; True where there was no baseline."""
        gate = self.document["gate"]
        return gate is None or gate["verdict"] == "pass"

    def listed(self) -> list[dict[str, Any]]:
        names = ("name", "latency_ms", "verdict")
        return [
            {name: row[name] for name in names} | {"against the first": (row["difference"] or {"text": ""})["text"]}
            for row in self.document["networks"]
        ]


@public()
def compare(
    *models: Any,
    shape: Shape = None,
    device: str | Place | Sequence[str | Place] = "local",
    precision: str | Sequence[str] | None = None,
    baseline: Any = None,
    tolerance: float = 0.05,
    budget_s: float = 60.0,
    store: Path | str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare networks with the first, timed in turn in the same processes, until the answer is known.

    Args:
        models: each a path of an ONNX file or of a result's folder, bytes, an ONNX model, or a torch module.
        shape: sizes of open inputs and of torch modules': ``{"x": (1, 3, 224, 224)}``, or those of the only input.
        device: the device or its spec; of several, each network is timed on each.
        precision: Precision of the device's runtime, such as ``int8-static``; of several, each network in each.
        baseline: a network that the last one must not be slower than, or a store in which one of its name is.
        tolerance: by how much it may be slower, as a share.
        budget_s: seconds after which it ends without an answer; four processes are always run.
        store: file to keep it in.
        seed: Seed of every order.
        out: an HTML page, with the kernels of each where the device tells them.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: fewer than two to compare, or an argument that is not allowed.
        InputRefusedError: a network is refused.
        DeviceError: a device cannot be reached.

    >>> import tempograd as tg, torch
    >>> narrow, wide = (torch.nn.Conv2d(64, width, 3) for width in (64, 128))
    >>> found = tg.compare(narrow, wide, shape=(1, 64, 32, 32), device="simulated:seed=1")
    >>> found.differences[0]["side"]
    'slower'
    """
    from .verbs.compare import compare as verb

    done = verb(
        models, shape=shape, devices=several("device", device, lambda _, one: one),
        precisions=several("precision", precision or (), text), baseline=baseline, tolerance=tolerance,
        budget_s=budget_s, store=None if store is None else path("store", store), seed=seed,
        out=None if out is None else path("out", out), progress=progress or silent,
    )  # fmt: skip
    return Comparison(done.document, done.text)


@dataclass(frozen=True, repr=False)
class Picked(Shown):
    """The pretrained network that was picked.

    Attributes:
        document: as ``pick --json`` prints it.
        text: the same for people.
    """

    document: Mapping[str, Any]
    text: str

    @property
    def name(self) -> str | None:
        """Return the network's name; None where none of those measured is within the target."""
        return self.document["found"] and str(self.document["found"]["name"])

    @property
    def verdict(self) -> str:
        """Return ``pass``, ``fail``, ``unreliable``, or ``predicted`` where nothing was measured."""
        return str(self.document["verdict"])

    def listed(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.document["measured"]]


@public("verbs.pick:pick")
def pick(
    table: Path | str,
    *,
    accuracy: str,
    latency: str,
    target_ms: float,
    models: Path | str | None = None,
    device: str | Place = "local",
    progress: Progress | None = None,
    **options: Any,
) -> Picked:
    r"""Pick the most accurate pretrained network of a table within a latency target: predicted, then measured.

    Args:
        table: one row a network, Parquet or CSV.
        accuracy: its column of accuracies.
        latency: its column of latencies of some device, to learn from; it may have gaps.
        target_ms: latency that the network must not exceed.
        models: folder with ``NAME.onnx``, which are measured; without it the answer is only predicted.
        device: the device or its spec.
        progress: called with what is done, how much of it, and of how much.
        options: more of what ``tempograd.verbs.pick.pick`` takes: ``lookup``, ``most``, ``store`` and so on.

    Raises:
        UsageError: an argument that is not allowed, too few latencies, or no such column.
        InputRefusedError: the table cannot be read.

    >>> import tempograd as tg
    >>> from pathlib import Path
    >>> rows = [f"net{i},{i + 1},{60 + i},{2.5 * (i + 1)}" for i in range(30)]
    >>> _ = Path("nets.csv").write_text("\n".join(["model,gmacs,top1,i7_ms", *rows]))
    >>> picked = tg.pick("nets.csv", accuracy="top1", latency="i7_ms", target_ms=25.0)
    >>> picked.verdict, picked.name in {row.partition(",")[0] for row in rows}
    ('predicted', True)
    """
    from .verbs.pick import pick as verb

    done = verb(
        path("table", table), accuracy=accuracy, latency=latency, target_ms=target_ms, device=device,
        models=None if models is None else path("models", models), progress=progress or silent, **options,
    )  # fmt: skip
    return Picked(done.document, done.text)
