"""What a network makes of the part ``test``, for people to look at: what each kind of output shows in a report.

Everything is JSON-ready and small. Pixels are bytes, compressed and written in base64, beside their shape.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from math import log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

PICTURES = 4  # images that are shown
SIDE = 96  # pixels: larger ones are shown smaller
MOST_CLASSES = 100  # of a confusion matrix
PASSAGE, WRITTEN = 300, 300  # tokens that are shown, and that are drawn


def confusion(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], names: Sequence[str], classes: int
) -> dict[str, Any]:
    """Return how often each class was taken for each: ``counts[truth][given]``; nothing of more than 100 classes.

    Args:
        network: gives logits ``(b, classes)``, or more of them, which are left out.
        batches: images ``(b, C, H, W)`` on the network's device, and labels ``(b,)`` on the CPU.
        names: Names of the classes; empty if they have none.
        classes: how many there are.
    """
    if classes > MOST_CLASSES:
        return {}
    counts = torch.zeros(classes * classes, dtype=torch.int64)
    for images, labels in batches:
        given = network(images)[:, :classes].argmax(dim=1).cpu()
        counts += torch.bincount(labels * classes + given, minlength=classes * classes)
    told = list(names) or [str(label) for label in range(classes)]
    return {"kind": "classes", "names": told, "counts": counts.view(classes, classes).tolist()}


def places(
    images: Tensor, truth: Tensor, given: Tensor, *, kind: str, names: Sequence[str], ignored: int | None = None
) -> dict[str, Any]:
    """Return a few images with what is true of each place, and what a network gave.

    Args:
        images: ``(n, C, H, W)`` on the scale 0..1.
        truth: ``(n, h, w)`` what is so: classes, or heights on the scale 0..1.
        given: ``(n, h, w)`` what the network gave.
        kind: ``map`` or ``heatmaps``.
        names: Names of classes or points.
        ignored: the class of places that do not count.
    """
    heights = kind == "heatmaps"
    shown = [_small(images, "area"), *(_small(each[:, None].float(), "nearest") for each in (truth, given))]
    levels = [255.0, *([255.0, 255.0] if heights else [1.0, 1.0])]
    arrays = [(each * level).round().clamp(0, 255).to(torch.uint8) for each, level in zip(shown, levels, strict=True)]
    told = {"images": packed(arrays[0].permute(0, 2, 3, 1).numpy())}
    told |= {"truth": packed(arrays[1][:, 0].numpy()), "given": packed(arrays[2][:, 0].numpy())}
    return {"kind": kind, "names": list(names), **told} | ({} if ignored is None else {"ignored": ignored})


def passage(
    network: nn.Module, inputs: Tensor, targets: Tensor, tokens: Sequence[str], joint: str, compute: str
) -> dict[str, Any]:
    """Return a passage with how surprising each token was in bits, and what the network writes after it.

    Args:
        network: ``(b, length)`` tokens to ``(b, count, length)`` logits of what comes next.
        inputs: ``(n, length)``, windows one after the other.
        targets: ``(n, length)``, what follows each of their tokens.
        tokens: their texts.
        joint: what stands between two tokens.
        compute: torch device.
    """
    bits = F.cross_entropy(network(inputs.to(compute)).cpu().double(), targets, reduction="none") / log(2)
    shown = targets.reshape(-1)[:PASSAGE]
    window, generator = inputs[-1:].to(compute), torch.Generator().manual_seed(0)
    drawn: list[int] = []
    for _ in range(WRITTEN):
        share = network(window)[0, :, -1].float().softmax(dim=0).cpu()
        drawn.append(int(torch.multinomial(share, 1, generator=generator)))
        window = torch.cat([window[:, 1:], torch.tensor([[drawn[-1]]], device=window.device)], dim=1)
    return {
        "kind": "sequence", "tokens": [f"{tokens[i]}{joint}" for i in shown.tolist()],
        "bits": [round(bit, 3) for bit in bits.reshape(-1)[:PASSAGE].tolist()],
        "written": joint.join(tokens[i] for i in drawn),
    }  # fmt: skip


def packed(array: NDArray[np.uint8]) -> dict[str, Any]:
    """Return an array of bytes as a document holds it."""
    return {
        "shape": list(array.shape),
        "data": b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode(),
    }


def _small(images: Tensor, mode: str) -> Tensor:
    side = max(images.shape[-2:])
    return images if side <= SIDE else F.interpolate(images, scale_factor=SIDE / side, mode=mode)
