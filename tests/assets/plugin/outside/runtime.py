"""ONNX's own reference evaluator, numpy throughout: slow, and right by definition."""

from collections import Counter
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tempograd.devices.runtime.packages import Package
from tempograd.devices.runtime.program import (
    PreparedProgram,
    at_least_one_thread,
    inputs_of,
    line,
    one_of,
    only_shape,
    whole,
)
from tempograd.devices.runtime.runtime import Needs
from tempograd.errors import InputRefusedError

PACKAGE = Package("ONNX", ("onnx",), "pip install onnx")


class ReferenceRuntime:
    """The evaluator with its options fixed.

    Args:
        threads: 1 is all that it uses.
        precision: ``fp32``.
    """

    package = PACKAGE
    ways = ("",)
    needs = Needs()

    def __init__(self, *, threads: int = 1, precision: str = "fp32") -> None:
        at_least_one_thread(threads)
        one_of("precision", precision, ("fp32",))
        self.options = {"threads": threads, "precision": precision, "provider": "numpy"}

    def versions(self) -> dict[str, str]:
        return {"onnx": PACKAGE.version(), "numpy": version("numpy")}

    def start(self) -> str:
        import_module("onnx.reference")
        return "CPU"

    def load(self, model: bytes, folder: Path) -> PreparedProgram:
        network = whole(model, folder)
        inputs = inputs_of(network)
        names = [value.name for value in network.graph.output]
        outputs: dict[str, Any] = {}
        try:
            evaluator = import_module("onnx.reference").ReferenceEvaluator(network)
            outputs.update(zip(names, evaluator.run(None, inputs[0]), strict=True))
        except Exception as error:  # it raises whatever an operator raises
            raise InputRefusedError(f"the reference evaluator refuses this network: {line(error)}") from error

        def run(values: dict[str, Any]) -> None:
            outputs.update(zip(names, evaluator.run(None, values), strict=True))

        (first, *_) = inputs[0]
        kernels = Counter(node.op_type for node in network.graph.node)
        return PreparedProgram(
            [lambda values=values: run(values) for values in inputs],
            lambda: outputs,
            lambda values: evaluator.run(None, {first: values})[0],
            input_shape=only_shape(inputs[0]),
            providers={"numpy": len(network.graph.node)},
            kernels=dict(kernels),
        )
