"""Inverted residuals in stages: the space of FBNet, ProxylessNAS, Once-for-All and FBNetV2.

A network is a stem, stages of layers, and a head. What may be chosen differs by family:

=============  ======================================================================================
``fbnet``      per layer one of 8 blocks or a skip; the ids and counts of the public latency table
``proxyless``  per layer one of 6 blocks; past a stage's first layer also a skip
``ofa``        per stage the depth, per layer kernel and expansion; ids of the public latency table
``ofa_mbv3``   the same choices, in the networks of the published supernet, whose weights ``import`` reads
``fbnetv2``    per layer kernel, squeeze and activation, or a skip; and the expansion
=============  ======================================================================================

All of them may leave the resolution of the input open (``resolution_options`` sizes from 4/7 to full), and all but
``fbnet``, whose grouped convolutions cannot be masked, the width of stages (``width_options`` likewise). Widths and the
expansions of ``ofa`` and ``fbnetv2`` are masks on one widest layer, so that a supernet does not grow with their number.
A resolution is a grid of the image, and the whole network runs on it; in ``ofa`` and ``ofa_mbv3`` the image is brought
to that size before: what is exported takes it so.

Images of up to 64 pixels are not halved by the stem and the second stage. Not as published, but in ``ofa_mbv3``:
smaller kernels of ``ofa`` are the middle of the largest, squeeze layers have no bias, and channels are even. One width
holds for all layers of a stage, so that residuals join equal masks.

References:
    Wu et al., *FBNet*, arXiv:1812.03443, in the CIFAR-100 form of Li et al., *HW-NAS-Bench*, arXiv:2103.10584; Cai et
    al., *ProxylessNAS*, arXiv:1812.00332; Cai et al., *Once-for-All*, arXiv:1908.09791; Wan et al., *FBNetV2*,
    arXiv:2004.05565.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from msgspec import Meta

from ...arguments import Classes, Few, Size
from ...errors import UnknownNameError, UsageError
from ..architecture import Architecture, Site
from ..blocks import conv_bn, inverted_residual
from ..families import FAMILIES, Family, Stage
from ..graph import INPUT, Block, Graph, GraphBuilder
from ..layers import (
    Conv,
    GlobalPool,
    HardSwish,
    Identity,
    Linear,
    Operation,
    Relu,
    Resize,
    Subsample,
    Width,
    expanded,
    same_width,
    scaled,
)
from ..notation import Notation, Part, literal, mistake
from ..space import SearchSpace

LEAST = 4 / 7  # the smallest width or resolution, as a share of the largest: 16 of 28 channels, 128 of 224 pixels
SMALL_IMAGE = 64
RESOLUTION = "resolution"
OFA = ("ofa", "ofa_mbv3")
BLOCKS: dict[str, dict[str, str]] = {  # families whose papers list blocks, and how these are called there
    "fbnet": {},
    "proxyless": {f"k{k}_e{e}": f"{k}x{k}_MBConv{e}" for k in (3, 5, 7) for e in (3, 6)} | {"skip": "Zero"},
}


@dataclass(frozen=True)
class MbConv(SearchSpace):
    """One family, in full or smaller.

    Args:
        family: which, see above.
        size: height and width of the images.
        classes: classes of the classifier.
        channels: channels of the images.
        width: factor on all channels.
        stages: how many of the family's stages are built.
        layers: layers that a stage has at most.
        width_options: sizes that each stage's channels are chosen from, but in ``fbnet``; 1 for no choice.
        resolution_options: sizes of the image to choose from; 1 for no choice.
    """

    family: str = "fbnet"
    size: Size = 32
    classes: Classes = 100
    channels: Size = 3
    width: Annotated[float, Meta(gt=0, le=4)] = 1.0
    stages: Few = 7
    layers: Few = 4
    width_options: Few = 1
    resolution_options: Few = 1

    name: ClassVar[str] = "mbconv"
    small: ClassVar[tuple[str, ...]] = (
        "family=fbnetv2,size=8,width=0.25,stages=2,layers=2,width_options=2",
        "family=fbnet,size=8,classes=5,width=0.25,stages=3,layers=2",
        "family=proxyless,size=8,classes=5,width=0.25,stages=3,layers=2,resolution_options=3",
        "family=ofa,size=8,classes=5,width=0.25,stages=2,layers=3,resolution_options=2",
        "family=ofa_mbv3,size=8,classes=5,width=0.5,stages=2,layers=3",
        "family=fbnetv2,size=8,classes=5,width=0.5,stages=2,layers=2,width_options=2,resolution_options=2",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in FAMILIES:
            raise UnknownNameError("family of mbconv", self.family, FAMILIES)
        object.__setattr__(self, "width", float(self.width))
        if self.width_options > 1 and _grouped(self._family):
            able = ", ".join(name for name, family in FAMILIES.items() if not _grouped(family))
            raise UsageError(
                f"width_options={self.width_options} in {self.family}, whose grouped convolutions cannot be masked; "
                f"leave width_options out, or give a family of {able}"
            )
        least = min(self._family.depths, default=1)
        if self.layers < least:
            raise UsageError(f"layers={self.layers}; allowed in {self.family}: from {least}")
        for option, sizes in (
            ("width_options", min(map(len, map(set, self._widths)))),
            ("resolution_options", len({*self.sizes})),
        ):
            if sizes < getattr(self, option):
                raise UsageError(f"{option}={getattr(self, option)}; only {sizes} sizes differ, ask for fewer")

    @property
    def _family(self) -> Family:
        return FAMILIES[self.family]

    @property
    def _stages(self) -> tuple[Stage, ...]:
        return self._family.stages[: self.stages]

    @property
    def depths(self) -> tuple[int, ...]:
        """Return the depths that a stage may have; none where that is no choice."""
        return tuple(depth for depth in self._family.depths if depth <= self.layers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the resolutions to choose from, in pixels."""
        return _spread(self.size, self.resolution_options)

    @property
    def _widths(self) -> list[tuple[int, ...]]:
        return [_spread(self._channels(stage.width), self.width_options) for stage in self._stages]

    @property
    def sites(self) -> tuple[Site, ...]:
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        """Return resolution, then by stage its width and depth, then by layer operation and expansion."""
        found: list[Site] = []
        if self.resolution_options > 1:
            found.append(Site(RESOLUTION, _shares(self.resolution_options)))
        for s, stage in enumerate(self._stages):
            if self.width_options > 1:
                found.append(Site(f"s{s}/width", _shares(self.width_options)))
            if len(self.depths) > 1:
                found.append(Site(f"s{s}/depth", tuple(map(str, self.depths))))
            for layer in range(min(stage.layers, self.layers)):
                options = self._options(s, layer)
                when = tuple((f"s{s}/depth", i) for i, depth in enumerate(self.depths) if depth > layer)
                when = () if len(when) in (len(self.depths), 0) else when
                site = Site(f"s{s}l{layer}/op", options, when)
                found.append(site)
                if self._family.expansions:
                    live = tuple((site.name, i) for i, option in enumerate(options) if option != "skip")
                    when = when if len(live) == len(options) else live
                    names = tuple(f"e{factor:g}" for factor in self._family.expansions)
                    found.append(Site(f"s{s}l{layer}/expand", names, when))
        return tuple(found)

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        if self.resolution_options == 1:
            return builder.graph(self._network(builder, INPUT))
        options = {
            name: self._at(size) for name, size in zip(_shares(self.resolution_options), self.sizes, strict=True)
        }
        return builder.graph(builder.choice("net", RESOLUTION, options, INPUT, shared=True))

    @cached_property
    def columns(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return columns and values of the public tables of ``fbnet`` and ``ofa``.

        These are ``b0..b21``, and ``ks0..ks19``, ``e0..e19``, ``d0..d4``, ``r`` (at
        ``size=224,resolution_options=25``), with kernels, expansions, depths and pixels as they are.
        """
        if self.family not in ("fbnet", *OFA) or self.width_options > 1:
            return super().columns
        first = [sum(stage.layers for stage in self._stages[:s]) for s in range(len(self._stages))]
        found: dict[str, tuple[str, tuple[int, ...]]] = {RESOLUTION: ("r", self.sizes)}
        for s, stage in enumerate(self._stages):
            found[f"s{s}/depth"] = (f"d{s}", self.depths)
            for layer, i in enumerate(range(first[s], first[s] + stage.layers)):
                found[f"s{s}l{layer}/op"] = (
                    (f"b{i}", tuple(range(9))) if self.family == "fbnet" else (f"ks{i}", (3, 5, 7))
                )
                found[f"s{s}l{layer}/expand"] = (f"e{i}", (3, 4, 6))
        return {site.name: found[site.name] for site in self.sites}

    def unread(self, column: str) -> str | None:
        """Return the arguments of a space that chooses a published column: resolution, further stages and layers."""
        if column in {name for name, _ in self.columns.values()}:
            return None
        if self.family in OFA and column == "r":
            return "size=224,resolution_options=25"
        if re.fullmatch({**dict.fromkeys(OFA, r"(ks|e|d)\d+"), "fbnet": r"b\d+"}.get(self.family, "$"), column):
            return f"stages={len(self._family.stages)},layers=4"
        return "" if column == "wid" else super().unread(column)

    @property
    def notations(self) -> tuple[Notation, ...]:
        """Return besides those of every space OFA's dictionary, and lists of blocks where nothing else is chosen."""
        first, *others = super().notations
        if self.family in OFA and self.width_options == 1:
            return (first, Notation("dictionary of Once-for-All", r"\s*\{", self._read_dict, self._write_dict), *others)
        if self.family in BLOCKS and all(site.name.endswith("/op") for site in self.sites):
            return (first, Notation("list of blocks", r"\s*\[", self._read_blocks, self._write_blocks), *others)
        return (first, *others)

    @property
    def _layers(self) -> list[tuple[int, int]]:
        """Return stage and number of every layer that the published tables count."""
        return [(s, layer) for s, stage in enumerate(self._stages) for layer in range(stage.layers)]

    def _write_dict(self, architecture: Architecture) -> str:
        taken = {site.name: choice for site, choice in zip(self.sites, architecture.choices, strict=True)}
        row = {name: values[max(0, taken[site])] for site, (name, values) in self.columns.items()}
        layers = range(len(self._layers))
        depths = [row.get(f"d{s}", self.depths[0]) for s in range(len(self._stages))]
        lists = {key: [row.get(f"{key}{i}", least) for i in layers] for key, least in (("ks", 3), ("e", 3))}
        return str(lists | {"d": depths, "r": [row.get("r", self.size)]})

    def _read_dict(self, text: str) -> Architecture:
        """Read kernels, expansions, depths and resolution, as Once-for-All's supernet takes and prints them."""
        fields = literal(text).fields(("ks", "e", "d"), ("r", "wid"))
        if "wid" in fields and fields["wid"].value not in (None, self.width):
            raise fields["wid"].wrong(f"{self.name} has one width, width={self.width:g}; expected None or that")
        allowed = dict(self.columns.values())
        depths = fields["d"].items(len(self._stages), "depths")
        row: dict[str, int] = {}
        for s, part in enumerate(depths):
            row[f"d{s}"] = _one_of(part, allowed.get(f"d{s}", self.depths))
        for key in ("ks", "e"):
            parts = fields[key].items(len(self._layers), "layers")
            for i, (part, (s, layer)) in enumerate(zip(parts, self._layers, strict=True)):
                lives = layer < row[f"d{s}"]
                row[f"{key}{i}"] = _one_of(part, allowed[f"{key}{i}"]) if lives else -1
        if "r" in fields:
            part = fields["r"]
            part = part.items(1, "resolutions")[0] if isinstance(part.value, list) else part
            if "r" not in allowed and part.value != self.size:
                raise part.wrong(
                    f"{self.name} is built at {self.size} pixels here; take a space with size={part.value}"
                )
            row["r"] = _one_of(part, self.sizes)
        elif "r" in allowed:
            raise mistake(text, 0, f"'r' is missing, and the resolution is a choice of {self.spec}")
        return self.from_row(row)

    def _write_blocks(self, architecture: Architecture) -> str:
        names = BLOCKS[self.family]
        taken = zip(self.sites, architecture.choices, strict=True)
        return str([names.get(site.options[choice], site.options[choice]) for site, choice in taken])

    def _read_blocks(self, text: str) -> Architecture:
        """Read the block of every layer by its published name, its name here, or its number."""
        here = {published: name for name, published in BLOCKS[self.family].items()} | {"Identity": "skip"}
        choices: list[int] = []
        for site, part in zip(self.sites, literal(text).items(len(self.sites), "blocks"), strict=True):
            name = here.get(part.value, part.value) if isinstance(part.value, str) else part.value
            if name in site.options:
                choices.append(site.options.index(name))
            elif isinstance(name, int) and 0 <= name < len(site.options):
                choices.append(int(name))
            else:
                names = ", ".join(BLOCKS[self.family].get(option, option) for option in site.options)
                raise part.wrong(f"no block of layer {site.name}; allowed: {names}, or 0..{len(site.options) - 1}")
        return self.architecture(choices)

    def _at(self, size: int) -> Block:
        entry = Resize(size) if self.family in OFA else Subsample(size)
        return lambda builder, x: self._network(builder, builder.add("grid", entry, x))

    def _network(self, builder: GraphBuilder, x: str) -> str:
        """Append the whole network; its input may have been subsampled."""
        family, small = self._family, self.size <= SMALL_IMAGE
        activation: Operation = HardSwish() if family.swish else Relu()
        stem = Conv(self._channels(family.stem), 3, 1 if small else 2)
        x = builder.block("stem", "conv_3x3", conv_bn(stem, activation), x)
        if family.first:
            x = builder.block("first", "k3_e1", inverted_residual(self._channels(family.first), None, 3), x)
        halvings = 0
        for s, stage in enumerate(self._stages):
            halvings += stage.stride - 1
            x = self._stage(builder, s, 1 if small and halvings == 1 else stage.stride, x)
        last, *mixing = family.head
        x = builder.block("head", "conv_1x1", conv_bn(Conv(self._channels(last)), activation), x)
        return builder.block("classifier", "classifier", self._classifier(mixing, activation), x)

    def _stage(self, builder: GraphBuilder, s: int, stride: int, x: str) -> str:
        stage = self._stages[s]
        out = Width.of(f"s{s}/width", self._widths[s]) if self.width_options > 1 else self._channels(stage.width)
        ends: dict[str, tuple[str, int]] = {}
        for layer in range(min(stage.layers, self.layers)):
            options = {
                name: self._block(name, s, layer, builder.shape(x)[0], out, stride if layer == 0 else 1)
                for name in self._options(s, layer)
            }
            x = builder.choice(f"s{s}l{layer}", f"s{s}l{layer}/op", options, x)
            if layer + 1 in self.depths:
                ends[x] = (f"s{s}/depth", self.depths.index(layer + 1))
        return builder.mix(f"s{s}", ends) if len(ends) > 1 else x

    def _block(self, name: str, s: int, layer: int, channels: int, out: int, stride: int) -> Block:
        if name == "skip":
            if stride == 1 and same_width(channels, out):
                return lambda builder, x: builder.add("identity", Identity(), x)
            return conv_bn(Conv(out, stride=stride), Relu())
        kernel, *parts = name.split("_")
        marks = {part[0] if part[1:].isdecimal() else part: part[1:] for part in parts}
        if "e" in marks:
            hidden = scaled(channels, int(marks["e"]))
        else:
            hidden = expanded(channels, f"s{s}l{layer}/expand", self._family.expansions)
        return inverted_residual(
            out,
            hidden,
            int(kernel[1:]),
            stride,
            groups=int(marks.get("g", 1)),
            activation=HardSwish() if "hs" in marks else Relu(),
            squeeze="se" in marks,
            published=self._family.published,
        )

    def _options(self, s: int, layer: int) -> tuple[str, ...]:
        skip = self._family.skip == "all" or (self._family.skip == "equal" and layer > 0)
        operations = tuple(name + self._stages[s].suffix for name in self._family.operations)
        return (*operations, "skip") if skip else operations

    def _classifier(self, mixing: list[int], activation: Operation) -> Block:
        def build(builder: GraphBuilder, x: str) -> str:
            x = builder.add("pool", GlobalPool(keep_map=bool(mixing)), x)
            for i, out in enumerate(mixing):
                x = builder.add(f"mix{i}", Conv(self._channels(out)), x)
                x = builder.add(f"act{i}", activation, x)
            x = builder.add("flat", GlobalPool(), x) if mixing else x
            return builder.add("linear", Linear(self.classes), x)

        return build

    def _channels(self, published: int) -> int:
        return self._family.channels(published, self.width)


def _one_of(part: Part, values: tuple[int, ...]) -> int:
    if part.value not in values or isinstance(part.value, bool):
        raise part.wrong(f"allowed: {', '.join(map(str, values))}")
    return int(part.value)


def _spread(largest: int, number: int) -> tuple[int, ...]:
    """Return sizes evenly from 4/7 of the largest to the largest."""
    return tuple(round(largest * share) for share in _share(number))


def _share(number: int) -> list[float]:
    return [LEAST + (1 - LEAST) * i / (number - 1) for i in range(number)] if number > 1 else [1.0]


def _shares(number: int) -> tuple[str, ...]:
    return tuple(f"x{share:.3g}" for share in _share(number))


def _grouped(family: Family) -> bool:
    """Return whether a family has grouped convolutions, which no mask narrows."""
    return any("_g" in operation for operation in family.operations)


SPACE = MbConv
