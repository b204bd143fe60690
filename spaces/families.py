"""The families of `zoo.mbconv`: what each of the published spaces consists of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .blocks import divisible


@dataclass(frozen=True)
class Stage:
    """Layers of one width; the first may halve the map. ``suffix`` is added to the operations: ``_se``, ``_hs``."""

    width: int
    layers: int = 4
    stride: int = 2
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """What one of the published spaces consists of.

    Attributes:
        stem: channels of the first convolution.
        first: channels of a fixed block after it; 0 for none.
        stages: in order.
        operations: names such as ``k5_e3_g2_se_hs``: kernel, expansion, groups, squeeze, hard swish; all but the
            kernel may be left out, the expansion where it is a choice of its own.
        expansions: to choose from, as masks.
        skip: which layers may be skipped: ``all`` (by a 1x1 convolution where shapes differ), ``equal`` shapes, none.
        depths: layers of a stage to choose from.
        head: channels of the 1x1 convolutions before and after pooling.
        swish: hard swish in stem and head.
        published: as the supernet that its authors trained: channels are multiples of 8, smaller kernels are learnt
            transforms of the largest, and squeeze layers have biases and a quarter of the channels that are chosen.
    """

    stem: int
    first: int
    stages: tuple[Stage, ...]
    operations: tuple[str, ...]
    expansions: tuple[float, ...] = ()
    skip: str = ""
    depths: tuple[int, ...] = ()
    head: tuple[int, ...] = ()
    swish: bool = False
    published: bool = False

    def channels(self, published: int, factor: float) -> int:
        """Return the channels of a width of the paper times a factor; even by default, for two groups."""
        return divisible(published * factor) if self.published else max(2, 2 * round(published * factor / 2))


FAMILIES = {
    "fbnet": Family(
        stem=16,
        first=0,
        stages=(
            Stage(16, 1, 1),
            Stage(24),
            Stage(32),
            Stage(64),
            Stage(112, 4, 1),
            Stage(184),
            Stage(352, 1, 1),
        ),
        operations=("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6"),
        skip="all",
        head=(1504,),
    ),
    "proxyless": Family(
        stem=32,
        first=16,
        stages=(Stage(24), Stage(40), Stage(80), Stage(96, 4, 1), Stage(192), Stage(320, 1, 1)),
        operations=("k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e3", "k7_e6"),
        skip="equal",
        head=(1280,),
    ),
    "ofa": Family(
        stem=16,
        first=16,
        stages=(
            Stage(24),
            Stage(40, suffix="_se"),
            Stage(80, suffix="_hs"),
            Stage(112, 4, 1, "_se_hs"),
            Stage(160, suffix="_se_hs"),
        ),
        operations=("k3", "k5", "k7"),
        expansions=(3, 4, 6),
        depths=(2, 3, 4),
        head=(960, 1280),
        swish=True,
    ),
    "fbnetv2": Family(
        stem=16,
        first=0,
        stages=(Stage(16, 1, 1), Stage(28), Stage(40), Stage(96), Stage(128, 4, 1), Stage(216)),
        operations=tuple(f"k{k}{se}{act}" for k in (3, 5) for se in ("", "_se") for act in ("", "_hs")),
        expansions=(0.75, 1.5, 2.25, 3.0, 3.75, 4.5),
        skip="equal",
        head=(1984,),
        swish=True,
    ),
}

FAMILIES["ofa_mbv3"] = replace(FAMILIES["ofa"], published=True)
