"""Cost as a sum-product circuit of the choices.

``Const`` is an entry of a table (latency, multiply-accumulates, parameters), ``Gate`` one option of one site, ``Leaf``
the sum over all options of one site, or of several together, of the entry of that very block. The factors of a product
must mention different sites: then the value at one-hot gates is the cost of that network, and at the probabilities of
independent sites the exact expectation. The circuit counts what was *chosen*, also operations that do not reach the
output.

A block costs as often as its site decides something: chained cost is the product of a leaf and that probability. A
block whose channels are chosen has one entry for every shape it can take: effective shapes are leaves over several
sites, so that where a site enters twice, as ``E[C * e C]``, nothing is approximated.

References:
    DenseNAS, arXiv:1906.09607 (chained cost); FBNetV2, arXiv:2004.05565 (effective shapes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from math import prod

import torch
from torch import Tensor

from ..errors import UnknownNameError, UsageError
from .architecture import Site
from .graph import Choice, Condition, Graph, resolve
from .layers import Add, Shape, chosen, same_width, sites_of

SKELETON = "skeleton"  # table key of everything that is there whatever is chosen


@dataclass(frozen=True)
class Const:
    """``count`` times one entry of the table."""

    key: str
    count: float = 1.0

    @property
    def sites(self) -> frozenset[str]:
        """Return no site."""
        return frozenset()


@dataclass(frozen=True)
class Gate:
    """The gate of one option at one site."""

    site: str
    option: int

    @property
    def sites(self) -> frozenset[str]:
        """Return the site."""
        return frozenset({self.site})


@dataclass(frozen=True)
class Leaf:
    """``count`` times the sum over the options of all ``at`` together of gates times an entry of the table.

    Attributes:
        at: sites.
        keys: entries by the options taken, the last site's running fastest; None where there is no cost.
        count: how many such blocks there are.
    """

    at: tuple[str, ...]
    keys: tuple[str | None, ...]
    count: float = 1.0

    @property
    def sites(self) -> frozenset[str]:
        """Return all of them."""
        return frozenset(self.at)


@dataclass(frozen=True)
class Sum:
    """Sum of terms."""

    terms: tuple[Term, ...]

    @cached_property
    def sites(self) -> frozenset[str]:
        """Return the sites that a term mentions."""
        return frozenset[str]().union(*(term.sites for term in self.terms))


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
            if seen & factor.sites:
                raise ValueError(f"sites {sorted(seen & factor.sites)} occur in two factors of one product")
            seen |= factor.sites

    @cached_property
    def sites(self) -> frozenset[str]:
        """Return the sites that a factor mentions."""
        return frozenset[str]().union(*(factor.sites for factor in self.factors))


Term = Const | Gate | Leaf | Sum | Product


@dataclass(frozen=True)
class Circuit:
    """A cost in terms of gates and a table."""

    root: Term

    @cached_property
    def keys(self) -> frozenset[str]:
        """Return the table keys that the circuit needs."""
        found: set[str] = set()
        seen: set[int] = set()  # parts occur many times: who is reached depends on who was reached before
        stack: list[Term] = [self.root]
        while stack:
            term = stack.pop()
            if id(term) in seen:
                continue
            seen.add(id(term))
            match term:
                case Const():
                    found.add(term.key)
                case Leaf():
                    found.update(key for key in term.keys if key is not None)
                case Sum():
                    stack += term.terms
                case Product():
                    stack += term.factors
                case Gate():
                    pass
        return frozenset(found)

    @cached_property
    def pairs(self) -> frozenset[frozenset[str]]:
        """Return the pairs of sites whose gates are multiplied somewhere: between others the cost is linear."""
        found: set[frozenset[str]] = set()
        seen: set[int] = set()
        stack: list[Term] = [self.root]
        while stack:
            term = stack.pop()
            if id(term) in seen:
                continue
            seen.add(id(term))
            groups: Sequence[Iterable[str]] = ()
            if isinstance(term, Leaf):
                groups = [{site} for site in term.at]
            elif isinstance(term, Product):
                groups = [factor.sites for factor in term.factors]
                stack += term.factors
            elif isinstance(term, Sum):
                stack += term.terms
            for one, other in combinations(groups, 2):
                found |= {frozenset(pair) for pair in product(one, other)}
        return frozenset(found)

    def cost(self, table: Mapping[str, float], gates: Mapping[str, Tensor]) -> Tensor:
        """Return the cost ``(...)`` of gates ``site -> (..., K)``, differentiable in them.

        Raises:
            UnknownNameError: the table lacks an entry that the circuit needs; an unknown operation never costs 0.
        """
        self._check(table)

        def entries(keys: Sequence[str | None]) -> Tensor:
            return like.new_tensor([[0.0 if key is None else table[key]] for key in keys])

        like = next(iter(gates.values()), torch.zeros(()))
        return self._value(self.root, entries, gates, {})[..., 0]

    def totals(self, rows: Mapping[str, int], table: Tensor, gates: Mapping[str, Tensor]) -> Tensor:
        """Return ``(..., f)``: several costs of gates ``site -> (..., K)`` at once, differentiable in them.

        Args:
            rows: Rows of the table, by key.
            table: ``(keys + 1, f)``, a cost a column; the last row is 0, for options that are no block.
            gates: as of :meth:`cost`.

        Raises:
            UnknownNameError: as of :meth:`cost`.
        """
        self._check(rows)
        table = table.to(next(iter(gates.values())))

        def entries(keys: Sequence[str | None]) -> Tensor:
            return table[[-1 if key is None else rows[key] for key in keys]]

        return self._value(self.root, entries, gates, {})

    def linear(self, table: Mapping[str, float]) -> tuple[float, dict[tuple[str, int], float]]:
        """Return the cost as a constant and what each option ``(site, index)`` adds to the networks that take it.

        Raises:
            UnknownNameError: the table lacks an entry that the circuit needs.
            UsageError: some block depends on several sites at once, such as a width and an operation.
        """
        self._check(table)
        constant, found = 0.0, dict[tuple[str, int], float]()
        for term in self.root.terms if isinstance(self.root, Sum) else (self.root,):
            two = isinstance(term, Product) and len(term.factors) == 2
            reached, leaf = term.factors if isinstance(term, Product) and two else (None, term)
            if isinstance(leaf, Leaf) and len(leaf.at) == 1:
                added = {(leaf.at[0], i): leaf.count * table[key] for i, key in enumerate(leaf.keys) if key is not None}
            elif isinstance(leaf, Const) and reached is None:
                constant += leaf.count * table[leaf.key]
                continue
            elif isinstance(leaf, Const) and isinstance(reached, Sum):
                added = {_last(step): leaf.count * table[leaf.key] for step in reached.terms}
            else:
                raise UsageError(
                    f"the cost is no sum over options: a block depends on {', '.join(sorted(term.sites))} together; "
                    "use a space without widths and resolutions, or a method that prices architectures"
                )
            for option, cost in added.items():
                found[option] = found.get(option, 0.0) + cost
        return constant, found

    def _check(self, table: Mapping[str, float]) -> None:
        for key in self.keys:
            if key not in table:
                raise UnknownNameError("entry of the cost table", key, table)

    def _value(
        self,
        term: Term,
        entries: Callable[[Sequence[str | None]], Tensor],
        gates: Mapping[str, Tensor],
        memo: dict[int, Tensor],
    ) -> Tensor:
        """Return a term's costs ``(..., f)``, or ``(..., 1)`` where it is a factor; ``entries`` are those of keys."""
        if id(term) not in memo:
            match term:
                case Const():
                    memo[id(term)] = term.count * entries([term.key])[0]
                case Gate():
                    memo[id(term)] = gates[term.site][..., term.option, None]
                case Leaf():
                    rows = [gates[site] for site in term.at]
                    memo[id(term)] = sum_product(term.count * entries(term.keys), rows)
                case Sum():
                    memo[id(term)] = sum((self._value(t, entries, gates, memo) for t in term.terms), torch.zeros(()))
                case Product():
                    values = (self._value(f, entries, gates, memo) for f in term.factors)
                    memo[id(term)] = prod(values)  # type: ignore[type-var]  # declared for numbers, multiplies anything
        return memo[id(term)]


def _last(step: Term) -> tuple[str, int]:
    """Return the option of a condition's term, which ``_any`` puts last."""
    gate = step.factors[-1] if isinstance(step, Product) else step
    if not isinstance(gate, Gate):
        raise TypeError(f"{gate} is no gate")
    return gate.site, gate.option


def sum_product(values: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """Return the sum over all combinations of options of the product of their gates times a value.

    Args:
        values: ``(K1 * ... * Kn, ...)``, the last site's options running fastest.
        rows: the gates ``(..., K)`` of the n sites.
    """
    joint = rows[0]
    for row in rows[1:]:
        joint = (joint[..., :, None] * row[..., None, :]).flatten(-2)
    return joint @ values


def block_key(option: str, shape_in: Shape, shape_out: Shape) -> str:
    """Return the table key of a block: ``nor_conv_3x3@16x32x32>16x32x32``."""
    return f"{option}@{'x'.join(map(str, shape_in))}>{'x'.join(map(str, shape_out))}"


def width_sites(block: Graph) -> tuple[str, ...]:
    """Return the sites at which a block's channels are chosen."""
    sides = (side for shape in block.shapes.values() for side in shape)
    return tuple(dict.fromkeys(site for side in sides for site in sites_of(side)))


def variants(option: str, block: Graph, widths: Mapping[str, int]) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the table key of a block in every shape that it can take, and the options taken for it.

    Where channels are chosen the key also tells those inside, ``k3*48*12@16x8x8>24x8x8``; ``+`` says that the input is
    added.

    Args:
        option: its name.
        block: the option's graph.
        widths: number of options by site.
    """
    names, ends = width_sites(block), (*block.input_shape, *block.shape)
    outs: list[int] = [node.operation.out for node in block.nodes if names and hasattr(node.operation, "out")]  # type: ignore[attr-defined]
    inside = {(sites_of(n), int(n)): n for n in outs if not any(same_width(n, end) for end in ends)}.values()
    residual = isinstance(block.nodes[-1].operation, Add) if block.nodes else False
    for options in product(*(range(widths[name]) for name in names)):
        taken = dict(zip(names, options, strict=True))
        hidden = "".join(f"*{chosen(channels, taken)}" for channels in inside)
        shapes = (tuple(chosen(side, taken) for side in shape) for shape in (block.input_shape, block.shape))
        yield block_key(option + hidden + ("+" if residual else ""), *shapes), taken


def blocks_of(graph: Graph, sites: Sequence[Site]) -> dict[str, Graph]:
    """Return every block that a choice can put into the network, by table key, each as a network of its own."""
    widths = {site.name: len(site.options) for site in sites}
    found: dict[str, Graph] = {}
    for node, _ in graph.walk():
        if isinstance(node.operation, Choice) and not node.operation.nested:
            for option, block in zip(node.operation.options, node.operation.graphs, strict=True):
                for key, taken in variants(option, block, widths):
                    if key not in found:
                        found[key] = resolve(block, taken)
    return found


def activity(sites: Sequence[Site]) -> dict[str, Term | None]:
    """Return for every site the probability that it decides something; None where it always does."""
    found: dict[str, Term | None] = {}
    for site in sites:
        found[site.name] = _any(site.when, found)
    return found


def _any(when: Condition, reached: Mapping[str, Term | None]) -> Term | None:
    """Return the probability of a condition, whose options exclude each other."""
    terms: list[Term] = []
    for site, option in when:
        before, gate = reached[site], Gate(site, option)
        terms.append(gate if before is None else Product((before, gate)))
    return Sum(tuple(terms)) if terms else None


def circuit_of(graph: Graph, sites: Sequence[Site]) -> Circuit:
    """Return the circuit of a choice graph: the skeleton, and at every site the sum over its options.

    Raises:
        ValueError: a layer with weights that is in no block has a shape that is chosen.
    """
    widths = {site.name: len(site.options) for site in sites}
    return Circuit(Sum((Const(SKELETON), *_terms(graph, widths, activity(sites), top=True))))


def _terms(graph: Graph, widths: Mapping[str, int], reached: Mapping[str, Term | None], *, top: bool) -> list[Term]:
    terms: list[Term] = []
    leaves: dict[tuple[str, tuple[Condition, ...], tuple[str, ...], tuple[str | None, ...]], float] = {}
    for node, inputs in graph.nodes_with_shapes():
        if not isinstance(node.operation, Choice):
            sides = [side for shape in (node.shape, *inputs) for side in shape]
            if node.operation.weights(inputs) and (not top or any(map(sites_of, sides))):
                raise ValueError(
                    f"{node.name!r} has a shape that is chosen; make it a block, so that a table prices it"
                )
            continue
        choice = node.operation
        if choice.nested:
            for option, inner in enumerate(choice.graphs):
                cost = Sum(tuple(_terms(inner, widths, reached, top=False)))
                there = Gate(choice.site, option) if choice.site else _any(choice.when, reached)
                terms.append(cost if there is None else Product((there, cost)))
            continue
        for at in dict.fromkeys(map(width_sites, choice.graphs)):
            size = prod(widths[site] for site in at)
            keys: list[str | None] = []
            for option, block in zip(choice.options, choice.graphs, strict=True):
                alike = width_sites(block) == at
                keys += [key for key, _ in variants(option, block, widths)] if alike else [None] * size
            leaf = (choice.site, (choice.when, choice.among, choice.unless), at, tuple(keys))
            leaves[leaf] = leaves.get(leaf, 0.0) + 1.0
    for (site, (when, among, unless), at, entries), count in leaves.items():
        all_sites = (site, *at) if site else at
        leaf = Leaf(all_sites, entries, count) if all_sites else Const(str(entries[0]), count)
        probability = reached[site] if site else _any(when, reached)
        none = tuple(_other(*option, widths) for option in unless)
        reach = (leaf,) if probability is None else (probability, leaf)
        terms.append(Product((*reach, *none)) if none or probability is not None else leaf)
        if among:  # one of them is taken: 1 less the chance that none is
            less = replace(leaf, count=-leaf.count)
            terms.append(Product((*reach[:-1], less, *none, *(_other(*option, widths) for option in among))))
    return terms


def _other(site: str, option: int, widths: Mapping[str, int]) -> Term:
    """Return the probability that another option is taken."""
    others = [Gate(site, other) for other in range(widths[site]) if other != option]
    return others[0] if len(others) == 1 else Sum(tuple(others))


def counts(graph: Graph, blocks: Mapping[str, Graph], unit: str) -> dict[str, float]:
    """Return the table of exact counts, ``macs`` or ``parameters``, for a space's graph and its blocks."""
    measure = {"macs": Graph.macs, "parameters": Graph.parameters}
    if unit not in measure:
        raise UnknownNameError("unit of cost", unit, measure)
    plain = [(n.operation, inputs) for n, inputs in graph.nodes_with_shapes() if not isinstance(n.operation, Choice)]
    if unit == "macs":
        skeleton = sum(operation.macs(inputs) for operation, inputs in plain)
    else:
        skeleton = sum(_trained(operation.weights(inputs).items()) for operation, inputs in plain)
    return {SKELETON: float(skeleton)} | {key: float(measure[unit](block)) for key, block in blocks.items()}


def _trained(weights: Iterable[tuple[str, Shape]]) -> int:
    return sum(prod(shape) for name, shape in weights if not name.startswith("running_"))
