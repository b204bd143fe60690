"""Cost as a sum-product circuit of the choices.

``Const`` is an entry of a table (latency, multiply-accumulates, parameters), ``Gate`` one option of one site. The
factors of a product must mention different sites: then the value at one-hot gates is the cost of that network, and at
the probabilities of independent sites the exact expectation. The circuit counts what was *chosen*, also operations
that do not reach the output.

References:
    DenseNAS, arXiv:1906.09607 (chained cost); FBNetV2, arXiv:2004.05565 (effective shapes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from ..errors import UnknownNameError
from .graph import Choice, Graph, Shape

SKELETON = "skeleton"  # table key of everything that is there whatever is chosen


@dataclass(frozen=True)
class Const:
    """``count`` times one entry of the table."""

    key: str
    count: float = 1.0


@dataclass(frozen=True)
class Gate:
    """The gate of one option at one site."""

    site: str
    option: int


@dataclass(frozen=True)
class Sum:
    """Sum of terms."""

    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Product:
    """Product of factors that mention different sites.

    Raises:
        ValueError: a site occurs in two factors; use a joint leaf, a sum over that site's options.
    """

    factors: tuple[Term, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for factor in self.factors:
            mentioned = sites(factor)
            if seen & mentioned:
                raise ValueError(f"sites {sorted(seen & mentioned)} occur in two factors of one product")
            seen |= mentioned


Term = Const | Gate | Sum | Product


def sites(term: Term) -> set[str]:
    """Return the sites that a term mentions."""
    match term:
        case Gate():
            return {term.site}
        case Const():
            return set()
        case Sum():
            return set[str]().union(*map(sites, term.terms))
        case Product():
            return set[str]().union(*map(sites, term.factors))


@dataclass(frozen=True)
class Circuit:
    """A cost in terms of gates and a table."""

    root: Term

    @cached_property
    def keys(self) -> frozenset[str]:
        """Return the table keys that the circuit needs."""
        found: set[str] = set()
        stack: list[Term] = [self.root]
        while stack:
            term = stack.pop()
            if isinstance(term, Const):
                found.add(term.key)
            elif isinstance(term, Sum):
                stack += term.terms
            elif isinstance(term, Product):
                stack += term.factors
        return frozenset(found)

    def cost(self, table: Mapping[str, float], gates: Mapping[str, Tensor]) -> Tensor:
        """Return the cost ``(...)`` of gates ``site -> (..., K)``, differentiable in them.

        Raises:
            UnknownNameError: the table lacks an entry that the circuit needs; an unknown operation never costs 0.
        """
        for key in self.keys:
            if key not in table:
                raise UnknownNameError("entry of the cost table", key, table)
        memo: dict[int, Tensor | float] = {}
        value = self._value(self.root, table, gates, memo)
        return value if isinstance(value, Tensor) else torch.as_tensor(value)

    def _value(
        self, term: Term, table: Mapping[str, float], gates: Mapping[str, Tensor], memo: dict[int, Tensor | float]
    ) -> Tensor | float:
        if id(term) not in memo:
            match term:
                case Const():
                    memo[id(term)] = term.count * table[term.key]
                case Gate():
                    memo[id(term)] = gates[term.site][..., term.option]
                case Sum():
                    memo[id(term)] = sum(self._value(t, table, gates, memo) for t in term.terms)
                case Product():
                    memo[id(term)] = prod(self._value(f, table, gates, memo) for f in term.factors)  # type: ignore[type-var]
        return memo[id(term)]


def block_key(option: str, shape_in: Shape, shape_out: Shape) -> str:
    """Return the table key of a block: ``nor_conv_3x3@16x32x32>16x32x32``."""
    return f"{option}@{'x'.join(map(str, shape_in))}>{'x'.join(map(str, shape_out))}"


def circuit_of(graph: Graph) -> Circuit:
    """Return the circuit of a choice graph: the skeleton, and at every site the sum over its options."""
    shapes = graph.shapes
    entries: dict[tuple[str, int], dict[str, float]] = {}
    for node in graph.nodes:
        if isinstance(node.operation, Choice):
            for index, (option, block) in enumerate(zip(node.operation.options, node.operation.graphs, strict=True)):
                key = block_key(option, shapes[node.inputs[0]], block.shape)
                counts = entries.setdefault((node.operation.site, index), {})
                counts[key] = counts.get(key, 0.0) + 1.0
    terms: list[Term] = [Const(SKELETON)]
    for (site, index), counts in entries.items():
        cost = Sum(tuple(Const(key, count) for key, count in counts.items()))
        terms.append(Product((Gate(site, index), cost)))
    return Circuit(Sum(tuple(terms)))


def counts(graph: Graph, blocks: Mapping[str, Graph], unit: str) -> dict[str, float]:
    """Return the table of exact counts, ``macs`` or ``parameters``, for a space's graph and its blocks."""
    measure = {"macs": Graph.macs, "parameters": Graph.parameters}
    if unit not in measure:
        raise UnknownNameError("unit of cost", unit, measure)
    plain = Graph(graph.input_shape, tuple(n for n in graph.nodes if not isinstance(n.operation, Choice)), graph.output)
    shapes = graph.shapes
    if unit == "macs":
        skeleton = sum(n.operation.macs(tuple(shapes[i] for i in n.inputs)) for n in plain.nodes)
    else:
        held = [n.operation.weights(tuple(shapes[i] for i in n.inputs)) for n in plain.nodes]
        skeleton = sum(_trained(weights.items()) for weights in held)
    return {SKELETON: float(skeleton)} | {key: float(measure[unit](block)) for key, block in blocks.items()}


def _trained(weights: Iterable[tuple[str, Shape]]) -> int:
    return sum(prod(shape) for name, shape in weights if not name.startswith("running_"))
