"""DropBlock on the skips of a supernet: a skip trains as fast as nothing else, and would win for that alone.

References:
    Ghiasi et al., *DropBlock*, arXiv:1810.12890; Tan et al., *MSG-DAS*, arXiv:2107.04324 (on the skips only).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

BLOCK = 3  # pixels a side


def drop_block(x: Tensor, rate: float, generator: torch.Generator, block: int = BLOCK) -> Tensor:
    """Return ``(b, C, H, W)`` with square blocks of zeros, scaled so that the mean stays; about ``rate`` is dropped."""
    height, width = x.shape[2:]
    side = min(block, height, width)
    valid = (height - side + 1) * (width - side + 1)
    gamma = rate / side**2 * height * width / valid
    corners = torch.rand(*x.shape[:2], height - side + 1, width - side + 1, generator=generator) < gamma
    padded = F.pad(corners.float(), (side - 1,) * 4)
    kept = 1 - F.max_pool2d(padded, side, stride=1)
    return x * (kept * (kept.numel() / kept.sum().clamp_min(1))).to(x)
