"""Features of the graph that a compiler is left with: counts, joins, chains, critical paths.

What reaches the output is kept, zeros and identities vanish, equal operations on one value are one: values are numbered
as a compiler's common subexpression elimination does. Two networks of one canonical graph have one encoding.

The features are of whole architectures and have no slope in the gates. A search evaluates single swaps instead, which
is exact where a slope is only local.

References:
    Cocke, *Global common subexpression elimination*, 1970; Dudziak et al., *BRP-NAS*, NeurIPS 2020 (compiled graphs).
"""

from __future__ import annotations

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

Dag = list[tuple[str, tuple[int, ...]]]  # the label and the inputs of each node, in topological order
TOTALS = ("size", "join", "used again", "activation", "activation alone", "path", "width", "peak")
Value = tuple[str, tuple["Value", ...]] | tuple[str, int]


@dataclass(frozen=True)
class Step:
    """One step of a cell: a join of values, or a choice with the label of every option.

    Attributes:
        name: Name of the value made.
        inputs: names of values.
        site: None for a join.
        labels: Labels of the options; None for zero.
    """

    name: str
    inputs: tuple[str, ...]
    site: str | None = None
    labels: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Cell:
    """The sites that share a prefix, with the joins between them, where they occur first in the network.

    Attributes:
        prefix: Prefix of the sites' names.
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

    @cached_property
    def _columns(self) -> tuple[_Columns, _Columns]:
        """Return the columns of what reaches the output, and of what is left where equal operations are one."""
        place = {name: n for n, name in enumerate(self.names)}
        labels = (*self.labels, SKIP, JOIN, SOURCE)
        return _Columns.of_view("live", labels, self.activated, place), _Columns.of_view(
            "shared", labels, self.activated, place
        )

    def features(self, choices: Mapping[str, int]) -> NDArray[np.float32]:
        """Return ``(f,)`` features of one cell, whose sites take these options."""
        known = self.__dict__.setdefault("_known", {})
        key = tuple(choices[site] for site in self.sites)
        if key not in known:
            row = [0] * (len(self.names) + 1)  # the last is for what has no column
            live, shared = self._columns
            live.count(self._live(choices), row)
            shared.count(self._shared(choices), row)
            row[len(self.names) - len(CONSTANTS) : -1] = self._constants(choices)
            known[key] = np.array(row[:-1], np.float32)
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

    def _constants(self, choices: Mapping[str, int]) -> tuple[int, int]:
        """Return how many joins that reach the output add a constant, as `CONSTANTS` names them.

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
        return counted.count(1), sum(live > 1 for live in counted)

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
        dag: Dag = []

        def number(value: Value) -> int:
            if value not in numbers:
                inputs = () if isinstance(value[1], int) else tuple(number(v) for v in value[1])
                numbers[value] = len(dag)
                dag.append((value[0], inputs))
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
        return [(made[name][0], tuple(numbers[i] for i in made[name][1])) for name in numbers]


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
    """Yield the names of everything that `_Columns` may count."""
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


@dataclass(frozen=True)
class _Columns:
    """Where each count of one view of a cell stands in its row; what has no column is counted in the last.

    Attributes:
        numbers: Numbers of the labels, operations first; tables by label are in this order.
        operations: how many labels are operations.
        activated: whether operations of a label begin with a rectifier.
        totals: size, join, used again, activation, activation alone, path, width, peak.
        joins: by the number of inputs up to `MOST_JOINED`.
        of: ``number``, ``path``, ``joined``, ``used again`` and ``activation of``, by label.
        at: by label, then depth.
        pairs: ``then``, ``join of`` and ``fork of``, by both labels.
    """

    numbers: Mapping[str, int]
    operations: int
    activated: tuple[bool, ...]
    totals: tuple[int, ...]
    joins: tuple[int, ...]
    of: Mapping[str, tuple[int, ...]]
    at: tuple[tuple[int, ...], ...]
    pairs: Mapping[str, tuple[tuple[int, ...], ...]]

    @classmethod
    def of_view(cls, view: str, labels: Sequence[str], activated: frozenset[str], place: Mapping[str, int]) -> _Columns:
        """Return the columns of ``view``, in the places of names; the last two labels are the join and the source."""

        def column(name: str) -> int:
            return place.get(f"{view} {name}", -1)

        def pair(what: str, a: str, b: str) -> int:
            first, second = (_kind(a), _kind(b)) if what == "then" else sorted((_kind(a), _kind(b)))
            return column(f"{first} then {second}" if what == "then" else f"{what} {first} and {second}")

        what = {"number": "number of", "path": "path of"} | {k: k for k in ("joined", "used again", "activation of")}
        return cls(
            {label: n for n, label in enumerate(labels)},
            len(labels) - 2,
            tuple(label in activated for label in labels),
            tuple(map(column, TOTALS)),
            tuple(column(f"join of {k}") for k in range(MOST_JOINED + 1)),
            {key: tuple(column(f"{words} {label}") for label in labels) for key, words in what.items()},
            tuple(tuple(column(f"{label} at {depth}") for depth in range(len(place))) for label in labels),
            {w: tuple(tuple(pair(w, a, b) for b in labels) for a in labels) for w in ("then", "join of", "fork of")},
        )

    def count(self, dag: Dag, row: list[int]) -> None:
        """Add up what is counted over a directed acyclic graph of operations, joins and sources."""
        labels = [self.numbers[label] for label, _ in dag]
        users: list[list[int]] = [[] for _ in dag]  # labels of what takes each node's value
        last = [len(dag)] * len(dag)  # when each node's value is needed last
        for node, (_, inputs) in enumerate(dag):
            for i in inputs:
                users[i].append(labels[node])
                last[i] = node
        self._count_makers(dag, labels, row)
        self._count_users(labels, users, row)
        row[self.totals[TOTALS.index("peak")]] = _peak(last)

    def _count_makers(self, dag: Dag, labels: Sequence[int], row: list[int]) -> None:
        """Count operations, joins, chains and critical paths."""
        operations, then, joined = self.operations, self.pairs["then"], self.of["joined"]
        size, join, _, _, _, path, width, _ = self.totals
        row[size] += len(dag)
        depths: list[int] = []
        paths: list[list[int]] = []  # of each node, by operation
        levels: dict[int, int] = {}
        for label, (_, inputs) in zip(labels, dag, strict=True):
            depth = max([depths[i] for i in inputs], default=0)
            if not inputs:
                longest = [0] * operations
            elif len(inputs) == 1:
                longest = paths[inputs[0]].copy()
            else:
                longest = list(map(max, *[paths[i] for i in inputs]))
            for i in inputs:
                row[then[labels[i]][label]] += 1
            if label < operations:
                depth += 1
                longest[label] += 1
                row[self.of["number"][label]] += 1
                row[self.at[label][depth]] += 1
                levels[depth] = levels.get(depth, 0) + 1
            elif label == operations:
                row[join] += len(inputs) - 1
                if len(inputs) > 1:
                    row[self.joins[min(len(inputs), MOST_JOINED)]] += 1
                taken = [labels[i] for i in inputs]
                for i in taken:
                    row[joined[i]] += 1
                _count_pairs(taken, self.pairs["join of"], row)
            depths.append(depth)
            paths.append(longest)
        row[path] = max(depths, default=0)
        row[width] = max(levels.values(), default=0)
        for label, most in enumerate(map(max, *paths) if len(paths) > 1 else (paths or [[]])[0]):
            row[self.of["path"][label]] = most

    def _count_users(self, labels: Sequence[int], users: Sequence[Sequence[int]], row: list[int]) -> None:
        """Count forks, and activations that operations on one value share."""
        _, _, again, activation, alone, _, _, _ = self.totals
        for label, taken in zip(labels, users, strict=True):
            if len(taken) > 1:
                _count_pairs(taken, self.pairs["fork of"], row)
                row[again] += 1
                row[self.of["used again"][label]] += 1
            acts = [self.activated[user] for user in taken]
            if any(acts):
                row[activation] += 1
                row[self.of["activation of"][label]] += 1
                row[alone] += all(acts)


def _count_pairs(labels: Sequence[int], columns: Sequence[Sequence[int]], row: list[int]) -> None:
    for a, b in combinations(labels, 2):
        row[columns[a][b]] += 1


def _peak(last: Sequence[int]) -> int:
    """Return the most values that are needed at one time, by when each is needed last, operations in their order."""
    ended = [0] * (len(last) + 2)  # how many are needed no more from each moment on
    for end in last:
        ended[end + 1] += 1
    alive = peak = 0
    for now in range(len(last)):
        alive += 1 - ended[now]
        peak = max(peak, alive)
    return peak


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
