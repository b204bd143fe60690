"""A cell, drawn: nodes in a row from left to right, operations on the edges between them.

An edge between neighbours is straight; a longer one leaves its node upwards or downwards into a lane of its own and
comes back at its target. Lanes are given out greedily, short edges first, so that no two share a stretch of one; labels
stand between columns, where no edge turns, so that nothing crosses a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..errors import InputRefusedError
from .charts import themed

NONE = "none"
_COLUMN, _LANE, _RADIUS, _PILL, _MARGIN = 148.0, 34.0, 17.0, 102.0, 14.0
_PORT = 6.0  # edges leave a node this far right of its middle and arrive this far left of it
_BEND = 9.0
_MAX_NODES = 24
_INK, _MUTED, _BLUE, _GREEN, _PAPER = "#1f2430", "#5d6675", "#0a5fb4", "#197a3d", "var(--paper, #ffffff)"


@dataclass(frozen=True)
class Edge:
    """One operation from a node to a later one."""

    source: int
    target: int
    operation: str


@dataclass(frozen=True)
class Cell:
    """A directed acyclic graph with operations on its edges.

    Attributes:
        kind: such as ``normal``; empty where a space has one kind.
        inputs: nodes 0 .. inputs - 1 are the cell's inputs.
        nodes: all nodes, inputs included.
        edges: Edges with their operations, in the order of the text; those that are ``none`` too.
    """

    kind: str
    inputs: int
    nodes: int
    edges: tuple[Edge, ...]

    @property
    def drawn(self) -> tuple[Edge, ...]:
        """Return the edges that compute something."""
        return tuple(edge for edge in self.edges if edge.operation != NONE)

    @property
    def live(self) -> frozenset[Edge]:
        """Return the edges on a path from an input to the output: the last node, or with two inputs any node."""
        reached = set(range(self.inputs))
        for edge in sorted(self.drawn, key=lambda e: e.target):
            if edge.source in reached:
                reached.add(edge.target)
        wanted = set(range(self.inputs, self.nodes)) if self.inputs > 1 else {self.nodes - 1}
        for edge in sorted(self.drawn, key=lambda e: -e.target):
            if edge.target in wanted:
                wanted.add(edge.source)
        return frozenset(e for e in self.drawn if e.source in reached and e.target in wanted)


def parse_cells(text: str) -> list[Cell]:
    """Read cells as spaces write them: ``normal:|op~0|op~1|+|op~2|;reduce:...``, one ``|...|`` a node.

    The number of inputs follows from the text: it is the least for which no edge comes from its own or a later node.

    Raises:
        InputRefusedError: the text is of another form.
    """
    return [_parse_cell(part) for part in text.split(";")]


def _parse_cell(text: str) -> Cell:
    kind, colon, body = text.rpartition(":")
    if not colon:
        kind, body = "", text
    nodes: list[list[tuple[str, int]]] = []
    for node in body.split("+"):
        if len(node) < 3 or node[0] != "|" or node[-1] != "|":
            raise InputRefusedError(f"{node[:80]!r} is no node of a cell; expected |operation~source|...|")
        nodes.append([_parse_edge(edge) for edge in node[1:-1].split("|")])
    inputs = max(1, *(source - i + 1 for i, edges in enumerate(nodes) for _, source in edges))
    if len(nodes) + inputs > _MAX_NODES:
        raise InputRefusedError(f"a cell of {len(nodes) + inputs} nodes; at most {_MAX_NODES} can be drawn")
    edges = tuple(Edge(source, inputs + i, op) for i, node in enumerate(nodes) for op, source in node)
    return Cell(kind, inputs, inputs + len(nodes), edges)


def _parse_edge(text: str) -> tuple[str, int]:
    operation, tilde, source = text.partition("~")
    if not tilde or not operation or not source.isdecimal() or len(source) > 3:
        raise InputRefusedError(f"{text[:80]!r} is no edge of a cell; expected operation~source")
    return operation, int(source)


def cell_svg(cell: Cell, name: str, title: str) -> str:
    """Return a cell as an ``<svg>`` element in the page's colours.

    Every drawn edge is one ``<g class="edge">`` that bears its operation, source and target. Edges that do not reach
    the output are pale and dashed.
    """
    lanes = _lanes(cell.drawn)
    bus = cell.inputs > 1
    top = max([0, *lanes.values()])
    bottom = max([0, *(-lane for lane in lanes.values())])
    axis = _MARGIN + _RADIUS + top * _LANE + (0 if top else 6)
    height = axis + _RADIUS + bottom * _LANE + _MARGIN + (_LANE if bus else 0)
    columns = cell.nodes + (1 if bus else 0)
    width = 2 * (_MARGIN + 30) + (columns - 1) * _COLUMN
    live = cell.live
    parts = [_edge(edge, lanes[edge], axis, dead=edge not in live) for edge in cell.drawn]
    parts += [_bus(cell, axis, axis + (bottom + 1) * _LANE + 4)] if bus else []
    used = {node for edge in live for node in (edge.source, edge.target)}
    parts += [
        _node(_x(i), axis, _label(cell, i), plain=i < cell.inputs, dead=i >= cell.inputs and i not in used)
        for i in range(cell.nodes)
    ]
    parts += [_node(_x(cell.nodes), axis, "out", plain=True)] if bus else []
    said = "; ".join(f"{_label(cell, e.source)} to {_label(cell, e.target)}: {e.operation}" for e in cell.drawn)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cell" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(f"{title}. {said}")}" '
        f'font-family="system-ui, sans-serif"><title>{escape(title)}</title><desc>{escape(said)}</desc>'
        f'<defs><marker id="{name}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{_MUTED}"/></marker></defs>'
    )
    return themed(head + "".join(parts).replace("url(#tip)", f"url(#{name}-tip)") + "</svg>")


def _lanes(edges: Sequence[Edge]) -> dict[Edge, int]:
    """Return a lane for every edge: 0 on the axis, 1, 2, ... above, -1, -2, ... below."""
    lanes: dict[Edge, int] = {}
    taken: dict[int, list[tuple[int, int]]] = {}
    for edge in sorted(edges, key=lambda e: (e.target - e.source, e.source, e.operation)):
        lane = 0
        if edge.target - edge.source > 1 or _overlaps(taken.get(0, []), edge):
            distances = (sign * d for d in range(1, len(edges) + 2) for sign in (1, -1))
            lane = next(lane for lane in distances if not _overlaps(taken.get(lane, []), edge))
        taken.setdefault(lane, []).append((edge.source, edge.target))
        lanes[edge] = lane
    return lanes


def _overlaps(stretches: Sequence[tuple[int, int]], edge: Edge) -> bool:
    return any(start < edge.target and edge.source < end for start, end in stretches)


def _x(column: int) -> float:
    return _MARGIN + 30 + column * _COLUMN


def _edge(edge: Edge, lane: int, axis: float, *, dead: bool) -> str:
    y = axis - lane * _LANE
    start, end = _x(edge.source), _x(edge.target)
    if lane == 0:
        path = f"M{start + _RADIUS:g} {axis:g}H{end - _RADIUS - 1:g}"
    else:
        toward = 1 if lane > 0 else -1  # the way back to the axis: down from above, up from below
        rim = axis - toward * (_RADIUS - 1)
        out, back = start + _PORT, end - _PORT
        path = (
            f"M{out:g} {rim:g}V{y + toward * _BEND:g}Q{out:g} {y:g} {out + _BEND:g} {y:g}"
            f"H{back - _BEND:g}Q{back:g} {y:g} {back:g} {y + toward * _BEND:g}V{rim - toward * 1.5:g}"
        )
    gap = (edge.target - edge.source - 1) // 2  # the gap between columns nearest to the middle
    middle = start + (gap + 0.5) * _COLUMN
    colour = _colour(edge.operation)
    shown = edge.operation if len(edge.operation) <= 16 else edge.operation[:15] + "…"
    faint = ' opacity="0.45" stroke-dasharray="4 4"' if dead else ""
    operation = escape(edge.operation)
    return (
        f'<g class="edge" data-operation="{operation}" data-source="{edge.source}" data-target="{edge.target}"{faint}>'
        f"<title>{operation}{' (does not reach the output)' if dead else ''}</title>"
        f'<path d="{path}" fill="none" stroke="{_MUTED}" stroke-width="1.5" marker-end="url(#tip)"/>'
        f'<rect x="{middle - _PILL / 2:g}" y="{y - 11:g}" width="{_PILL:g}" height="22" rx="11" fill="{_PAPER}" '
        f'stroke="{colour}" stroke-width="1.4"/><text x="{middle:g}" y="{y + 4:g}" font-size="11.5" '
        f'text-anchor="middle" fill="{colour}" stroke="none">{escape(shown)}</text></g>'
    )


def _bus(cell: Cell, axis: float, y: float) -> str:
    """Draw what is concatenated: every inner node drops onto one line that leads to the output."""
    first, last = _x(cell.inputs), _x(cell.nodes)
    drops = "".join(f"M{_x(i):g} {axis + _RADIUS:g}V{y:g}" for i in range(cell.inputs, cell.nodes))
    line = f"{drops}M{first:g} {y:g}H{last - _BEND:g}Q{last:g} {y:g} {last:g} {y - _BEND:g}V{axis + _RADIUS + 1:g}"
    return (
        f'<g class="concat"><path d="{line}" fill="none" stroke="{_MUTED}" stroke-width="1" stroke-dasharray="2 3" '
        f'marker-end="url(#tip)"/><text x="{last - _COLUMN / 2:g}" y="{y - 5:g}" font-size="10.5" '
        f'text-anchor="middle" fill="{_MUTED}">concatenated</text></g>'
    )


def _node(x: float, y: float, label: str, *, plain: bool, dead: bool = False) -> str:
    half = 30.0 if len(label) > 3 else _RADIUS
    fill, stroke, text = (_PAPER, _MUTED, _INK) if plain else (_INK, _INK, _PAPER)
    faint = ' opacity="0.4"' if dead else ""
    return (
        f'<g class="node"{faint}><rect x="{x - half:g}" y="{y - _RADIUS:g}" width="{2 * half:g}" '
        f'height="{2 * _RADIUS:g}" rx="{_RADIUS:g}" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
        f'<text x="{x:g}" y="{y + 4:g}" font-size="12" font-weight="600" text-anchor="middle" '
        f'fill="{text}">{escape(label)}</text></g>'
    )


def _label(cell: Cell, node: int) -> str:
    if cell.inputs == 1:
        return "in" if node == 0 else "out" if node == cell.nodes - 1 else str(node)
    if node >= cell.inputs:
        return str(node - cell.inputs)
    return f"k−{cell.inputs - node}" if cell.inputs == 2 else f"in {node}"  # of the k-th cell: the two before it


def _colour(operation: str) -> str:
    return _BLUE if "conv" in operation else _GREEN if "pool" in operation else _MUTED
