"""Teachers: trained networks whose logits others learn from, in torch or from an ONNX file.

Reference:
    Hinton et al., *Distilling the knowledge in a neural network*, arXiv:1503.02531.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputRefusedError, UsageError
from ..spaces.digest import of_tensors
from ..spaces.saved import WEIGHTS, load_network

NETWORK = "network.onnx"


class Teacher:
    """Logits of a trained network, ``(b, C, H, W) -> (b, classes)``, without gradient.

    Args:
        ask: gives them.
        digest: tells one teacher from another.
    """

    def __init__(self, ask: Callable[[Tensor], Tensor], digest: str) -> None:
        self._ask, self.digest = ask, digest

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits ``(b, count, ...)`` of images ``(b, C, H, W)``, on their device."""
        with torch.no_grad():
            return self._ask(images)

    def check(self, images: Tensor, outputs: Sequence[int]) -> None:
        """Ask once, before any training.

        Args:
            images: some.
            outputs: shape of what the network that learns gives for one of them.

        Raises:
            UsageError: it takes other images, or gives something else.
        """
        try:
            told = tuple(self(images).shape)
        except Exception as error:  # whatever a module or an engine makes of images that it does not take
            raise UsageError(
                f"the teacher cannot be asked about images of {tuple(images.shape[1:])}: {error}; its inputs must be "
                "those of the network that learns"
            ) from error
        if told[1:] != tuple(outputs):
            raise UsageError(
                f"the teacher gives {told[1:]} for an image, the network that learns {tuple(outputs)}; allowed: a "
                "teacher of the same classes"
            )


def of_module(module: nn.Module, compute: str = "cpu") -> Teacher:
    """Return a torch module as a teacher; it is put into eval mode, and on the device that computes."""
    module.eval().to(compute)

    def ask(images: Tensor) -> Tensor:
        return module(images.to(compute)).to(images.device)

    return Teacher(ask, of_tensors(module.state_dict().items()))


def load_teacher(path: Path, compute: str = "cpu") -> Teacher:
    """Return the teacher of a result folder, of its ``weights.safetensors``, or of an ONNX file.

    Raises:
        InputRefusedError: there is none; the message says what is allowed.
    """
    if path.name == WEIGHTS or path.is_dir():
        return of_module(load_network(path if path.is_dir() else path.parent), compute)
    if path.suffix.lower() == ".onnx":
        return _of_onnx(path)
    raise InputRefusedError(
        f"{path} is no teacher; allowed: a result folder, its {WEIGHTS} or {NETWORK}, or any other ONNX file"
    )


def _of_onnx(path: Path) -> Teacher:
    """Return an ONNX file, run by ONNX Runtime on as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    try:
        content = path.read_bytes()
        session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, one for each reason
        raise InputRefusedError(f"cannot read the teacher {path}: {error}") from error
    taken, given = session.get_inputs(), session.get_outputs()
    if len(taken) != 1 or taken[0].type != "tensor(float)":
        told = ", ".join(f"{each.name} {each.type}" for each in taken)
        raise InputRefusedError(f"the teacher {path} takes {told}; allowed: one input of images in float32")
    name, output, fixed = taken[0].name, given[0].name, taken[0].shape[0]

    def ask(images: Tensor) -> Tensor:
        array = images.detach().cpu().contiguous().numpy()
        size = fixed if isinstance(fixed, int) else len(array)
        rows: list[Any] = []
        for start in range(0, len(array), size):
            part = array[start : start + size]
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
            rows.append(session.run([output], {name: padded})[0][: len(part)])
        return torch.from_numpy(np.concatenate(rows)).to(images.device)

    return Teacher(ask, sha256(content).hexdigest()[:16])
