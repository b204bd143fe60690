"""Features of the graph that a compiler is left with: counts, joins, chains, critical paths.

What reaches the output is kept, zeros and identities vanish, equal operations on one value are one: values are numbered
as a compiler's common subexpression elimination does. Two networks of one canonical graph have one encoding.

The features are of whole architectures and have no slope in the gates. A search evaluates single swaps instead, which
is exact where a slope is only local.

References:
    Cocke, *Global common subexpression elimination*, 1970; Dudziak et al., *BRP-NAS*, NeurIPS 2020 (compiled graphs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .graph import Choice, Graph, Node
from .layers import Add, BatchNorm, Concat, Identity, Relu, Zero

if TYPE_CHECKING:
    from .architecture import Site

SOURCE, JOIN, SKIP = "x", "+", "skip"
CONSTANTS = ("constant joined to one", "constant joined to more")
MOST_JOINED = 4  # joins of more count as joins of so many

Dag = dict[int, tuple[str, tuple[int, ...]]]  # node -> its label and its inputs, in topological order
Value = tuple[str, tuple["Value", ...]] | tuple[str, int]


@dataclass(frozen=True)
class Step:
    """One step of a cell: a join of values, or a choice with the label of every option.

    Attributes:
        name: of the value made.
        inputs: names of values.
        site: None for a join.
        labels: of the options; None for zero.
    """

    name: str
    inputs: tuple[str, ...]
    site: str | None = None
    labels: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Cell:
    """The sites that share a prefix, with the joins between them, where they occur first in the network.

    Attributes:
        prefix: of the sites' names.
        sources: names of the values that come from outside.
        steps: in topological order.
        outputs: names of the values that nothing inside takes.
        activated: labels of the operations that begin with a rectifier, which operations on one value share.
        shifted: labels of the operations that make a constant of zeros: their normalisation adds its shift.
    """

    prefix: str
    sources: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    activated: frozenset[str]
    shifted: frozenset[str] = frozenset()

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Return the sites in the order of the steps."""
        return tuple(step.site for step in self.steps if step.site is not None)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of operations, without zero and identity."""
        found = {label for step in self.steps for label in step.labels if label is not None}
        return tuple(sorted(found - {SKIP}))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features, in order."""
        depths = range(1, sum(step.site is None for step in self.steps) + 1)
        return (
            *(f"live {name}" for name in _names((*self.labels, SKIP), depths)),
            *(f"shared {name}" for name in _names(self.labels, depths)),
            *CONSTANTS,
        )

    def features(self, choices: Mapping[str, int]) -> NDArray[np.float32]:
        """Return ``(f,)`` features of one cell, whose sites take these options."""
        known = self.__dict__.setdefault("_known", {})
        key = tuple(choices[site] for site in self.sites)
        if key not in known:
            live = {f"live {k}": v for k, v in _features(self._live(choices), self.activated).items()}
            shared = {f"shared {k}": v for k, v in _features(self._shared(choices), self.activated).items()}
            counted = live | shared | self._constants(choices)
            known[key] = np.array([counted.get(name, 0) for name in self.names], np.float32)
        return known[key]

    def canonical(self, choices: Mapping[str, int]) -> tuple[Value, ...]:
        """Return the values that leave the cell, equal for cells that compute the same."""
        values: dict[str, Value | None] = {name: (SOURCE, n) for n, name in enumerate(self.sources)}
        for step in self.steps:
            inputs = [value for name in step.inputs if (value := values[name]) is not None]
            label = JOIN if step.site is None else step.labels[choices[step.site]]
            if not inputs or label is None:
                values[step.name] = None
            elif label == SKIP or (label == JOIN and len(inputs) == 1):
                values[step.name] = inputs[0]
            else:
                values[step.name] = label, tuple(sorted(inputs, key=repr))
        return tuple(value for name in self.outputs if (value := values[name]) is not None)

    def _constants(self, choices: Mapping[str, int]) -> dict[str, int]:
        """Return how many joins that reach the output add a constant, by whether they join anything else.

        Operations on zeros are folded, but what they leave is added to the rest, an element at a time.
        """
        alive, constant = set(self.sources), set[str]()
        joins: dict[str, int] = {}
        for step in self.steps:
            label = JOIN if step.site is None else step.labels[choices[step.site]]
            if label is None:
                continue
            live = sum(name in alive for name in step.inputs)
            still = any(name in constant for name in step.inputs)
            if live:
                alive.add(step.name)
                if still and label == JOIN:
                    joins[step.name] = live
            elif still or label in self.shifted:
                constant.add(step.name)
        needed = self._needed({step.name: step.inputs for step in self.steps if step.name in alive})
        counted = [live for name, live in joins.items() if name in needed]
        return dict(zip(CONSTANTS, (counted.count(1), sum(live > 1 for live in counted)), strict=True))

    def _needed(self, made: Mapping[str, tuple[str, ...]]) -> set[str]:
        """Return the names that the outputs rest on, of values made of inputs."""
        needed: set[str] = set()
        stack = [name for name in self.outputs if name in made]
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.add(name)
                stack += [i for i in made.get(name, ()) if i in made or i in self.sources]
        return needed

    def _shared(self, choices: Mapping[str, int]) -> Dag:
        numbers: dict[Value, int] = {}
        dag: Dag = {}

        def number(value: Value) -> int:
            if value not in numbers:
                inputs = () if isinstance(value[1], int) else tuple(number(v) for v in value[1])
                numbers[value] = len(numbers)
                dag[numbers[value]] = value[0], inputs
            return numbers[value]

        for value in self.canonical(choices):
            number(value)
        return dag

    def _live(self, choices: Mapping[str, int]) -> Dag:
        made: dict[str, tuple[str, tuple[str, ...]]] = dict.fromkeys(self.sources, (SOURCE, ()))
        for step in self.steps:
            inputs = tuple(name for name in step.inputs if name in made)
            label = JOIN if step.site is None else step.labels[choices[step.site]]
            if inputs and label is not None:
                made[step.name] = label, inputs
        needed = self._needed({name: inputs for name, (_, inputs) in made.items()})
        numbers = {name: n for n, name in enumerate(name for name in made if name in needed)}
        return {numbers[name]: (made[name][0], tuple(numbers[i] for i in made[name][1])) for name in numbers}


def cells_of(graph: Graph) -> tuple[Cell, ...]:
    """Return the cells of a choice graph, one for every prefix of its sites."""
    prefixes = dict.fromkeys(_prefix(n.operation.site) for n in graph.nodes if isinstance(n.operation, Choice))
    return tuple(_cell(graph, prefix) for prefix in prefixes)


def encode(cells: Sequence[Cell], sites: Sequence[Site], choices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return ``(n, f)`` features of option indices ``(n, sites)``."""
    columns = {site.name: n for n, site in enumerate(sites)}
    rows = [
        np.concatenate([c.features({s: int(row[columns[s]]) for s in c.sites}) for c in cells]) for row in choices
    ]  # fmt: skip
    return np.stack(rows) if rows else np.zeros((0, sum(len(c.names) for c in cells)), np.float32)


def _prefix(site: str) -> str:
    return site.rpartition("/")[0]


def _cell(graph: Graph, prefix: str) -> Cell:
    """Follow the first occurrence of every site of a prefix, and the joins of nothing but what was followed."""
    steps: dict[str, Step] = {}
    sources: dict[str, None] = {}
    known: dict[Graph, str] = {}
    activated: set[str] = set()
    shifted: set[str] = set()
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, Choice):
            fresh = all(step.site != operation.site for step in steps.values())
            if _prefix(operation.site) == prefix and fresh:
                labels = tuple(
                    _label(o, g, known, activated) for o, g in zip(operation.options, operation.graphs, strict=True)
                )
                steps[node.name] = Step(node.name, node.inputs, operation.site, labels)
                normed = [any(isinstance(n.operation, BatchNorm) for n in g.nodes) for g in operation.graphs]
                shifted |= {label for label, norm in zip(labels, normed, strict=True) if norm and label is not None}
                sources |= {name: None for name in node.inputs if name not in steps}
        elif isinstance(operation, Add | Concat) and node.inputs and all(name in steps for name in node.inputs):
            steps[node.name] = Step(node.name, node.inputs)
    taken = {name for step in steps.values() for name in step.inputs}
    outputs = tuple(name for name in steps if name not in taken)
    return Cell(prefix, tuple(sources), tuple(steps.values()), outputs, frozenset(activated), frozenset(shifted))


def _label(option: str, graph: Graph, known: dict[Graph, str], activated: set[str]) -> str | None:
    """Return an option's label: its name, with a number where equal names hold different blocks (a stride, say)."""
    first: Node = graph.nodes[0]
    if isinstance(first.operation, Zero):
        return None
    if isinstance(first.operation, Identity):
        return SKIP
    if graph not in known:
        others = sum(label.partition("'")[0] == option for label in known.values())
        known[graph] = option + "'" * others
        if isinstance(first.operation, Relu):
            activated.add(known[graph])
    return known[graph]


def _names(labels: Sequence[str], depths: Iterable[int]) -> Iterator[str]:
    """Yield the names of everything that `_features` may count."""
    values = (*labels, JOIN, SOURCE)
    yield from ("join", "size", "width", "peak", "used again", "activation", "activation alone", "path")
    yield from (f"join of {k}" for k in range(2, MOST_JOINED + 1))
    yield from (f"{label} at {depth}" for label, depth in product(labels, depths))
    yield from (f"number of {label}" for label in labels)
    yield from (f"path of {label}" for label in labels)
    yield from (f"{what} {value}" for what, value in product(("joined", "used again", "activation of"), values))
    kinds = sorted({_kind(value) for value in values})
    yield from (f"{first} then {second}" for first, second in product(kinds, kinds) if second != SOURCE)
    for what in ("fork of", "join of"):
        yield from (f"{what} {a} and {b}" for a, b in combinations_with_replacement(kinds, 2))


def _kind(label: str) -> str:
    """Return a label without what tells blocks of equal names apart: pairs are counted by kind."""
    return label.rstrip("'")


def _features(dag: Dag, activated: frozenset[str]) -> Counter[str]:
    """Return counts over a directed acyclic graph of operations, joins and sources."""
    found: Counter[str] = Counter(size=len(dag))
    users: dict[int, list[int]] = {node: [] for node in dag}
    depth: dict[int, int] = {}
    paths: dict[str, dict[int, int]] = {label: {} for label, _ in dag.values() if label not in (JOIN, SOURCE)}
    for node, (label, inputs) in dag.items():
        operation = label not in (JOIN, SOURCE)
        depth[node] = max((depth[i] for i in inputs), default=0) + operation
        for other, lengths in paths.items():
            lengths[node] = max((lengths[i] for i in inputs), default=0) + (other == label)
        for i in inputs:
            users[i].append(node)
            found[f"{_kind(dag[i][0])} then {_kind(label)}"] += 1
        if operation:
            found[f"number of {label}"] += 1
            found[f"{label} at {depth[node]}"] += 1
        elif label == JOIN:
            found["join"] += len(inputs) - 1
            if len(inputs) > 1:
                found[f"join of {min(len(inputs), MOST_JOINED)}"] += 1
            found.update(f"joined {dag[i][0]}" for i in inputs)
            for a, b in combinations(sorted(_kind(dag[i][0]) for i in inputs), 2):
                found[f"join of {a} and {b}"] += 1
    for node, (label, _) in dag.items():
        taken = [dag[user][0] for user in users[node]]
        for a, b in combinations(sorted(map(_kind, taken)), 2):
            found[f"fork of {a} and {b}"] += 1
        if len(taken) > 1:
            found["used again"] += 1
            found[f"used again {label}"] += 1
        acts = [user in activated for user in taken]
        found["activation"] += any(acts)
        found[f"activation of {label}"] += any(acts)
        found["activation alone"] += bool(acts) and all(acts)
    found["path"] = max(depth.values(), default=0)
    for label, lengths in paths.items():
        found[f"path of {label}"] = max(lengths.values(), default=0)
    levels = Counter(depth[node] for node, (label, _) in dag.items() if label not in (JOIN, SOURCE))
    found["width"] = max(levels.values(), default=0)
    found["peak"] = _peak(dag, users)
    return found


def _peak(dag: Dag, users: Mapping[int, Sequence[int]]) -> int:
    """Return the most values that are needed at one time, operations taken in their order."""
    position = {node: n for n, node in enumerate(dag)}
    last = [max((position[user] for user in users[node]), default=len(dag)) for node in dag]
    return max((sum(end >= now for end in last[: now + 1]) for now in range(len(dag))), default=0)


def stages(cells: Sequence[Cell], sites: Sequence[Site]) -> tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]:
    """Return the cells as steps over the columns of the one-hot encoding, as a schedule of their operations needs them.

    A step is ``(inputs, columns, costs)``: numbers of earlier steps, -1 for what enters the cell; the columns of the
    options that do something, and the number of each one's label. A join has no columns.
    """
    first = dict(zip((s.name for s in sites), np.cumsum([0, *(len(s.options) for s in sites)]).tolist(), strict=False))
    found: list[tuple[tuple[tuple[int, ...], ...], ...]] = []
    for cell in cells:
        numbers = dict.fromkeys(cell.sources, -1) | {step.name: n for n, step in enumerate(cell.steps)}
        costs = {label: n for n, label in enumerate((*cell.labels, SKIP))}
        steps: list[tuple[tuple[int, ...], ...]] = []
        for step in cell.steps:
            inputs = tuple(numbers[name] for name in step.inputs)
            taken = [(n, label) for n, label in enumerate(step.labels) if label is not None]
            columns = tuple(first[step.site] + n for n, _ in taken) if step.site is not None else ()
            steps.append((inputs, columns, tuple(costs[label] for _, label in taken)))
        found.append(tuple(steps))
    return tuple(found)
