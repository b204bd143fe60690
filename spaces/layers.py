"""The layers that a network is made of: what each adds to a shape, its weights and its multiply-accumulates.

Shapes leave the batch out: ``(C, H, W)`` for images, ``(F,)`` for vectors. Where channels are chosen, ``C`` is a
:class:`Width`: the widest of its sizes, which says what the others are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import ClassVar

Shape = tuple[int, ...]


class Width(int):
    """Channels that are chosen, an ``int`` of their largest size: a layer of that size serves them all by masks.

    Attributes:
        sizes: channels by the options taken at ``sites``, ``{(0,): 8, (1,): 16}``.
        sites: where they are chosen.

    References:
        Wan et al., *FBNetV2*, arXiv:2004.05565.
    """

    sites: tuple[str, ...]
    sizes: Mapping[tuple[int, ...], int]

    def __new__(cls, sites: tuple[str, ...], sizes: Mapping[tuple[int, ...], int]) -> Width:
        self = super().__new__(cls, max(sizes.values()))
        self.sites, self.sizes = sites, sizes
        return self

    def __getnewargs__(self) -> tuple[tuple[str, ...], Mapping[tuple[int, ...], int]]:  # type: ignore[override]
        return self.sites, self.sizes

    @classmethod
    def of(cls, site: str, sizes: tuple[int, ...]) -> Width:
        """Return the width chosen at one site."""
        return cls((site,), {(i,): size for i, size in enumerate(sizes)})


def scaled(channels: int, factor: float) -> int:
    """Return channels times a factor, at least 1, chosen where they are chosen."""
    if isinstance(channels, Width):
        return Width(channels.sites, {o: max(1, round(size * factor)) for o, size in channels.sizes.items()})
    return max(1, round(channels * factor))


def expanded(channels: int, site: str, factors: tuple[float, ...]) -> Width:
    """Return channels times a factor that is chosen at a further site: the inside of an inverted residual."""
    before = channels.sizes if isinstance(channels, Width) else {(): channels}
    options = product(before.items(), enumerate(factors))
    return Width((*sites_of(channels), site), {(*o, i): max(1, round(size * f)) for (o, size), (i, f) in options})


def same_width(a: int, b: int) -> bool:
    """Return whether two channel counts are equal whatever is chosen."""
    return a == b and sites_of(a) == sites_of(b)


def sites_of(channels: int) -> tuple[str, ...]:
    """Return where a channel count is chosen, nowhere if it is a plain number."""
    return channels.sites if isinstance(channels, Width) else ()


def chosen(channels: int, taken: Mapping[str, int]) -> int:
    """Return the channel count under the options taken."""
    return channels.sizes[tuple(taken[s] for s in channels.sites)] if isinstance(channels, Width) else channels


@dataclass(frozen=True)
class Operation:
    """One layer. Subclasses state what they add to a network.

    Class attributes:
        keeps_zeros: whether zeros in give zeros out.
        follows: whether channels that a Width chooses may pass through it.
    """

    keeps_zeros: ClassVar[bool] = False
    follows: ClassVar[bool] = False

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Return the output shape; by default that of the first input."""
        return inputs[0]

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        """Return the shapes of the weights, running statistics included."""
        return {}

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        """Return the multiply-accumulates for one input; layers without weights count 0."""
        return 0

    def resolved(self, taken: Mapping[str, int]) -> Operation:
        """Return the layer of the network in which these options are taken."""
        return self


@dataclass(frozen=True)
class Conv(Operation):
    """Square convolution without bias."""

    out: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    keeps_zeros: ClassVar[bool] = True

    @property
    def padding(self) -> int:
        """Return the padding that keeps the size at stride 1."""
        return self.dilation * (self.kernel - 1) // 2

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        _, height, width = inputs[0]
        return (self.out, *(-(-side // self.stride) for side in (height, width)))

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": (self.out, inputs[0][0] // self.groups, self.kernel, self.kernel)}

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.weights(inputs)["weight"]) * prod(self.shape(inputs)[1:])

    def resolved(self, taken: Mapping[str, int]) -> Operation:
        if not isinstance(self.out, Width):
            return self
        return replace(self, out=chosen(self.out, taken), groups=chosen(self.groups, taken))


@dataclass(frozen=True)
class TransformedConv(Conv):
    """A depthwise convolution of which an elastic supernet makes smaller kernels by learnt matrices of the largest.

    Five by five is the middle of seven by seven, as a vector times a matrix 25 x 25; three by three that of five by
    five times one of 9 x 9. In a built network it is a plain convolution.

    References:
        Cai et al., *Once-for-All*, arXiv:1908.09791, section 3.2 (elastic kernel size).
    """

    def resolved(self, taken: Mapping[str, int]) -> Operation:
        out, groups = chosen(self.out, taken), chosen(self.groups, taken)
        return Conv(out, self.kernel, self.stride, self.dilation, groups)


@dataclass(frozen=True)
class BatchNorm(Operation):
    """Batch normalisation over channels.

    Attributes:
        residual: ends a branch that its input is added to; its scale starts at 0, so that learning begins with the
            inputs alone.

    References:
        Goyal et al., arXiv:1706.02677, section 5.1; for supernets Yu et al., *BigNAS*, arXiv:2003.11142.
    """

    residual: bool = False

    follows: ClassVar[bool] = True

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        channels = inputs[0][:1]
        return {"weight": channels, "bias": channels, "running_mean": channels, "running_var": channels}


@dataclass(frozen=True)
class Relu(Operation):
    """Rectifier."""

    keeps_zeros: ClassVar[bool] = True
    follows: ClassVar[bool] = True


@dataclass(frozen=True)
class HardSwish(Operation):
    """``x * relu6(x + 3) / 6``."""

    keeps_zeros: ClassVar[bool] = True
    follows: ClassVar[bool] = True


@dataclass(frozen=True)
class HardSigmoid(Operation):
    """``relu6(x + 3) / 6``."""

    follows: ClassVar[bool] = True


@dataclass(frozen=True)
class Scale(Operation):
    """A map ``(C, H, W)`` times a factor for each of its channels ``(C, 1, 1)``."""

    keeps_zeros: ClassVar[bool] = True
    follows: ClassVar[bool] = True


@dataclass(frozen=True)
class Shuffle(Operation):
    """Deals the channels of ``groups`` groups out in turn, so that the next grouped convolution mixes them."""

    groups: int

    keeps_zeros: ClassVar[bool] = True


@dataclass(frozen=True)
class Mask(Operation):
    """Zeros all channels of a :class:`Width` but the chosen ones; in the built network, which has no more, nothing.

    Attributes:
        width: the channels.
        axis: where they lie.
    """

    width: Width
    axis: int = 0

    def resolved(self, taken: Mapping[str, int]) -> Operation:
        return Identity()


@dataclass(frozen=True)
class Subsample(Operation):
    """Takes ``size`` rows and columns of a map, evenly spread: row ``floor((i + 1/2) H / size)``."""

    size: int

    keeps_zeros: ClassVar[bool] = True

    def rows(self, height: int) -> list[int]:
        """Return which rows of ``height`` are taken."""
        return [int((i + 0.5) * height / self.size) for i in range(self.size)]

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (inputs[0][0], self.size, self.size)


@dataclass(frozen=True)
class Resize(Operation):
    """Brings an image to ``size`` rows and columns, bilinearly, before the network: what is exported takes it so."""

    size: int

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (inputs[0][0], self.size, self.size)


@dataclass(frozen=True)
class Identity(Operation):
    """Passes its input."""

    follows: ClassVar[bool] = True


@dataclass(frozen=True)
class Zero(Operation):
    """Zeros in the shape of the (strided) input: the operation ``none``."""

    stride: int = 1

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = inputs[0]
        return (channels, -(-height // self.stride), -(-width // self.stride))


@dataclass(frozen=True)
class Pool(Operation):
    """Pooling, ``max`` or ``avg``; padded cells are not counted in an average."""

    kind: str
    kernel: int
    stride: int = 1
    padding: int = 0

    keeps_zeros: ClassVar[bool] = True
    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, *sides = inputs[0]
        return (channels, *((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in sides))


@dataclass(frozen=True)
class Crop(Operation):
    """Drops the first row and column: the shifted grid of a factorised reduction."""

    keeps_zeros: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = inputs[0]
        return (channels, height - 1, width - 1)


@dataclass(frozen=True)
class Add(Operation):
    """Sum of inputs of one shape."""

    keeps_zeros: ClassVar[bool] = True
    follows: ClassVar[bool] = True


@dataclass(frozen=True)
class Mean(Add):
    """Mean of inputs of one shape."""


@dataclass(frozen=True)
class Concat(Operation):
    """Concatenation along channels."""

    keeps_zeros: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (sum(shape[0] for shape in inputs), *inputs[0][1:])


@dataclass(frozen=True)
class GlobalPool(Operation):
    """Mean over the map: ``(C, H, W)`` to ``(C,)``, or to ``(C, 1, 1)`` if it is to stay a map."""

    keep_map: bool = False

    follows: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:1], 1, 1) if self.keep_map else inputs[0][:1]


@dataclass(frozen=True)
class Linear(Operation):
    """Fully connected layer with bias."""

    out: int

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (self.out,)

    def weights(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {"weight": (self.out, inputs[0][0]), "bias": (self.out,)}

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return self.out * inputs[0][0]
