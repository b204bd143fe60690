"""The DARTS cell space, as LA-DARTS searches it: a normal and a reduction cell, 14 edges each, 8 operations.

A cell sees the outputs of the two cells before it; each of its 4 nodes keeps exactly two in-edges; its output is the
concatenation of the nodes. With ``in_edges=any`` a node keeps any number of edges, none too, and the output is the last
node: so a node may have no readers, and the number of edges is chosen. Pooling is followed by BatchNorm, in the
supernet and in the built network alike, so that both compute the same.

References:
    Liu et al., *DARTS*, arXiv:1806.09055; Xu et al., *Latency-Aware Differentiable NAS*, arXiv:2001.06392; Liu et al.,
    *H-DAS*, arXiv:2101.04028 (cells of each stage); Huang et al., *TopoNAS*, arXiv:2011.09300 (any number of edges;
    that the output is the last node is ours).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ...arguments import LATER, Classes, Few, Size
from ...errors import UsageError
from ..architecture import Architecture, KeepInputs, Site
from ..blocks import relu_conv_bn
from ..encoding import RAW, Encoding, cell_encodings
from ..graph import INPUT, Block, Graph, GraphBuilder
from ..layers import Add, BatchNorm, Concat, Conv, Crop, GlobalPool, Identity, Linear, Pool, Relu, Zero
from ..level import Level
from ..notation import Notation, literal, mistake, spans
from ..space import SearchSpace

OPTIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NODES = 4
KINDS = {1: ("normal", "reduce"), 3: ("normal0", "reduce0", "normal1", "reduce1", "normal2")}  # cells, by `stages`
EDGES = tuple((source, 2 + node) for node in range(NODES) for source in range(2 + node))
STEM_MULTIPLIER = 3
_SITES = {stages: tuple(Site(f"{kind}/e{i}", OPTIONS) for kind in kinds for i in range(len(EDGES)))
          for stages, kinds in KINDS.items()}  # fmt: skip
_NODES = {
    stages: tuple(
        tuple(f"{kind}/e{i}" for i, (_, target) in enumerate(EDGES) if target == 2 + node)
        for kind in kinds
        for node in range(NODES)
    )
    for stages, kinds in KINDS.items()
}
_RULES = {stages: tuple(map(KeepInputs, nodes)) for stages, nodes in _NODES.items()}
_LAYERS_OF_STAGES = 5  # fewest cells of which each stage, and each reduction between two, has one


@dataclass(frozen=True)
class Darts(SearchSpace):
    """The pair of cells, stacked.

    Args:
        layers: cells; those at a third and at two thirds reduce.
        width: channels of the first cells, doubled at each reduction.
        classes: classes of the classifier.
        size: height and width of the input; a multiple of 4, with the ImageNet stem of 32.
        channels: channels of the input.
        stem: ``cifar``, one convolution at full size, or ``imagenet``, as published for 224 pixels: three convolutions
            halve the map before the first cell. The published networks there are
            ``darts:layers=14,width=48,classes=1000,size=224,stem=imagenet``.
        stages: 1: one normal and one reduction cell for the whole network; 3: each of its three stages has a normal
            cell of its own and each reduction is its own, the cells of H-DAS: ``normal0``, ``reduce0``, ``normal1``,
            ``reduce1``, ``normal2``.
        in_edges: Edges into a node: ``two``, whose cell gives all nodes side by side, or ``any`` number of them, whose
            cell gives its last node.
    """

    layers: Few = 8
    width: Size = 16
    classes: Classes = 10
    size: Size = 32
    channels: Size = 3
    stem: Literal["cifar", "imagenet"] = field(default="cifar", metadata=LATER)
    stages: Literal[1, 3] = field(default=1, metadata=LATER)
    in_edges: Literal["two", "any"] = field(default="two", metadata=LATER)

    name: ClassVar[str] = "darts"
    small: ClassVar[tuple[str, ...]] = ("layers=3,width=4,size=8", "layers=3,width=4,size=8,in_edges=any")
    encodings: ClassVar[tuple[Encoding, ...]] = cell_encodings(RAW)
    affine: ClassVar[bool] = False
    elastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        multiple, halve = (4, "two cells") if self.stem == "cifar" else (32, "stem and cells")
        if self.size % multiple:
            raise UsageError(f"size={self.size}; allowed: a multiple of {multiple}, since {halve} halve the map")
        if self.stages > 1 and self.layers < _LAYERS_OF_STAGES:
            raise UsageError(
                f"layers={self.layers} with stages={self.stages}; allowed: from {_LAYERS_OF_STAGES}, so that each "
                "stage has a cell"
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the names of its cells, each of which is searched, in the order in which the network has them."""
        return KINDS[self.stages]

    @property
    def levels(self) -> tuple[Level, ...]:
        return (Level("cells", {}, lambda given: self),) if self.stages > 1 else ()

    @property
    def sites(self) -> tuple[Site, ...]:
        return _SITES[self.stages]

    @property
    def rules(self) -> tuple[KeepInputs, ...]:
        return _RULES[self.stages] if self.in_edges == "two" else ()

    @property
    def nodes(self) -> tuple[tuple[str, ...], ...]:
        return _NODES[self.stages]

    def build(self) -> Graph:
        builder = GraphBuilder((self.channels, self.size, self.size))
        before, last = self._stem(builder)
        width, reduced, stage = self.width, self.stem == "imagenet", 0
        for layer in range(self.layers):
            reduces = layer in {self.layers // 3, 2 * self.layers // 3}
            width *= 2 if reduces else 1
            kind = self.kinds[reduces if self.stages == 1 else 2 * stage + reduces]
            nodes = _cell(builder.at(f"cells/{layer}"), (before, last), width, kind, reduces=reduces, reduced=reduced)
            cell = nodes[-1] if self.in_edges == "any" else builder.add(f"cells/{layer}/concat", Concat(), *nodes)
            stage += reduces
            before, last, reduced = last, cell, reduces
        x = builder.add("head/pool", GlobalPool(), last)
        return builder.graph(builder.add("head/linear", Linear(self.classes), x))

    def _stem(self, builder: GraphBuilder) -> tuple[str, str]:
        """Return what the first cell sees."""
        if self.stem == "cifar":
            x = builder.add("stem/conv", Conv(STEM_MULTIPLIER * self.width, 3), INPUT)
            x = builder.add("stem/bn", BatchNorm(), x)
            return x, x
        x = builder.add("stem0/conv_a", Conv(self.width // 2, 3, stride=2), INPUT)
        x = builder.add("stem0/relu", Relu(), builder.add("stem0/bn_a", BatchNorm(), x))
        first = builder.add("stem0/bn_b", BatchNorm(), builder.add("stem0/conv_b", Conv(self.width, 3, stride=2), x))
        x = builder.add("stem1/conv", Conv(self.width, 3, stride=2), builder.add("stem1/relu", Relu(), first))
        return first, builder.add("stem1/bn", BatchNorm(), x)

    @property
    def notations(self) -> tuple[Notation, ...]:
        cells = Notation("cells", r"\s*\w+\s*:", self._read_cells, self._write_cells)
        begins = r"\s*(\w+\s*=\s*)?Genotype\b"
        genotype = Notation("genotype of DARTS", begins, self._read_genotype, self._write_genotype)
        return (cells, *((genotype,) if self.rules else ()), *super().notations)

    def _write_cells(self, architecture: Architecture) -> str:
        cells: list[str] = []
        for kind in self.kinds:
            nodes: list[list[str]] = [[] for _ in range(NODES)]
            for option, source, node in self._kept(architecture, kind):
                nodes[node].append(f"{option}~{source}")
            cells.append(f"{kind}:{'+'.join('|' + '|'.join(edges) + '|' for edges in nodes)}")
        return ";".join(cells)

    def _read_cells(self, text: str) -> Architecture:
        choices = [0] * len(self.sites)
        for cell, at in spans(text, ";"):
            kind, _, body = cell.partition(":")
            nodes = list(spans(body, "+", at + len(kind) + 1))
            if kind.strip() not in self.kinds or len(nodes) != NODES:
                cells = " or ".join(f"{own}:" for own in self.kinds)
                raise mistake(text, at, f"expected {cells} with {NODES} nodes joined by +")
            for node, (edges, begin) in enumerate(nodes):
                for edge, place in spans(edges, "|", begin):
                    if edge.strip():
                        option, _, source = edge.strip().partition("~")
                        site = self._site(kind.strip(), option, int(source) if source.isdecimal() else -1, node)
                        if site is None:
                            raise mistake(text, place, f"no edge of node {node} of {kind}; {_expected(node)}")
                        choices[site] = OPTIONS.index(option)
        return self.architecture(choices)

    def _write_genotype(self, architecture: Architecture) -> str:
        parts: list[str] = []
        for kind in self.kinds:
            pairs = [(option, source) for option, source, _ in self._kept(architecture, kind)]
            parts += [f"{kind}={pairs}", f"{kind}_concat={list(range(2, 2 + NODES))}"]
        return f"Genotype({', '.join(parts)})"

    def _read_genotype(self, text: str) -> Architecture:
        """Read what DARTS prints: two in-edges for each node, ``(operation, source)``, and all nodes concatenated."""
        names = tuple(name for kind in self.kinds for name in (kind, f"{kind}_concat"))
        fields = literal(text).fields(names, name="Genotype")
        choices = [0] * len(self.sites)
        for kind in self.kinds:
            concat = fields[f"{kind}_concat"]
            if [part.value for part in concat.items(NODES, "nodes")] != list(range(2, 2 + NODES)):
                raise concat.wrong(f"{self.name} concatenates all nodes: {list(range(2, 2 + NODES))}")
            for i, pair in enumerate(fields[kind].items(2 * NODES, "pairs (operation, source)")):
                option, source = pair.items(2, "values, (operation, source)")
                site = self._site(kind, option.value, source.value, i // 2)
                if site is None or option.value == "none":
                    raise pair.wrong(f"no edge of node {i // 2}; {_expected(i // 2)}")
                if choices[site]:
                    raise pair.wrong(f"node {i // 2} has two edges from {source.value}; they come from two nodes")
                choices[site] = OPTIONS.index(option.value)
        return self.architecture(choices)

    def _kept(self, architecture: Architecture, kind: str) -> list[tuple[str, int, int]]:
        """Return the edges of a cell that are not ``none``, as operation, source and node."""
        taken = architecture.choices[self.kinds.index(kind) * len(EDGES) :]
        edges = zip(EDGES, taken, strict=False)
        return [
            (OPTIONS[choice], source, target - 2) for (source, target), choice in edges if OPTIONS[choice] != "none"
        ]

    def _site(self, kind: str, option: object, source: object, node: int) -> int | None:
        """Return the site of an edge, None if there is no such edge."""
        if option not in OPTIONS or (source, 2 + node) not in EDGES:
            return None
        edge = [*EDGES].index((source, 2 + node))  # pyright: ignore[reportArgumentType]
        return self.kinds.index(kind) * len(EDGES) + edge


def _expected(node: int) -> str:
    return f"expected an operation of {', '.join(OPTIONS)} and a source of 0..{1 + node}"


def _cell(
    builder: GraphBuilder, inputs: tuple[str, str], width: int, kind: str, *, reduces: bool, reduced: bool
) -> list[str]:
    """Return the nodes of a cell."""
    first = factorised(width) if reduced else relu_conv_bn(width)
    states = [first(builder.at("pre0"), inputs[0]), relu_conv_bn(width)(builder.at("pre1"), inputs[1])]
    for target in range(2, 2 + NODES):
        edges = [
            builder.choice(
                f"e{i}", f"{kind}/e{i}", options_of(width, 2 if reduces and source < 2 else 1), states[source]
            )
            for i, (source, end) in enumerate(EDGES)
            if end == target
        ]
        states.append(builder.add(f"node{target - 2}", Add(), *edges))
    return states[2:]


def options_of(width: int, stride: int) -> dict[str, Block]:
    """Return the operations of an edge, by name."""
    return {
        "none": lambda b, x: b.add("zero", Zero(stride), x),
        "max_pool_3x3": _pool("max", stride),
        "avg_pool_3x3": _pool("avg", stride),
        "skip_connect": (lambda b, x: b.add("identity", Identity(), x)) if stride == 1 else factorised(width),
        "sep_conv_3x3": _separable(width, 3, stride),
        "sep_conv_5x5": _separable(width, 5, stride),
        "dil_conv_3x3": _depthwise(width, 3, stride, 2),
        "dil_conv_5x5": _depthwise(width, 5, stride, 2),
    }


def factorised(width: int) -> Block:
    """Halve the map by two strided 1x1 convolutions, the second on a grid shifted by one pixel."""

    def build(builder: GraphBuilder, x: str) -> str:
        x = builder.add("relu", Relu(), x)
        left = builder.add("conv_a", Conv(width // 2, stride=2), x)
        right = builder.add("conv_b", Conv(width - width // 2, stride=2), builder.add("shift", Crop(), x))
        return builder.add("bn", BatchNorm(), builder.add("concat", Concat(), left, right))

    return build


def _pool(kind: str, stride: int) -> Block:
    def build(builder: GraphBuilder, x: str) -> str:
        return builder.add("bn", BatchNorm(), builder.add("pool", Pool(kind, 3, stride, 1), x))

    return build


def _depthwise(width: int, kernel: int, stride: int, dilation: int = 1) -> Block:
    def build(builder: GraphBuilder, x: str) -> str:
        x = builder.add("relu", Relu(), x)
        x = builder.add("depthwise", Conv(width, kernel, stride, dilation, groups=width), x)
        x = builder.add("pointwise", Conv(width), x)
        return builder.add("bn", BatchNorm(), x)

    return build


def _separable(width: int, kernel: int, stride: int) -> Block:
    def build(builder: GraphBuilder, x: str) -> str:
        x = _depthwise(width, kernel, stride)(builder.at("a"), x)
        return _depthwise(width, kernel, 1)(builder.at("b"), x)

    return build


SPACE = Darts
