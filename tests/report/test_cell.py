import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

from tempograd import registry
from tempograd.errors import InputRefusedError
from tempograd.report.cell import Cell, Edge, _lanes, cell_svg, parse_cells

SVG = "{http://www.w3.org/2000/svg}"
SPACES = {"nasbench201": (1, 4, 6), "darts": (2, 6, 8)}  # inputs, nodes, edges in the text of a cell


def networks(name, n=40):
    space = registry.create("space", name)
    return [space.format(a) for a in space.sample(n, np.random.default_rng(5))]


def edges_of(svg):
    """Return (source, target, operation) of every edge drawn, as the picture tells."""
    groups = [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "edge"]
    for group in groups:
        assert len(group.findall(f"{SVG}path")) == 1
        assert group.findtext(f"{SVG}text") == group.get("data-operation")
    return sorted((int(g.get("data-source")), int(g.get("data-target")), g.get("data-operation")) for g in groups)


@pytest.mark.parametrize("name", SPACES)
def test_every_network_of_a_space_is_read_whole(name):
    inputs, nodes, edges = SPACES[name]
    for text in networks(name):
        cells = parse_cells(text)
        assert [cell.kind for cell in cells] == ([""] if name == "nasbench201" else ["normal", "reduce"])
        for cell in cells:
            assert (cell.inputs, cell.nodes, len(cell.edges)) == (inputs, nodes, edges)
            assert all(edge.source < edge.target < nodes for edge in cell.edges)


@pytest.mark.parametrize("name", SPACES)
def test_every_operation_is_drawn_once_on_its_edge(name):
    for text in networks(name, 15):
        for cell in parse_cells(text):
            expected = sorted((e.source, e.target, e.operation) for e in cell.edges if e.operation != "none")
            assert edges_of(cell_svg(cell, "x", "a cell")) == expected


def test_a_known_cell():
    (cell,) = parse_cells("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
    assert edges_of(cell_svg(cell, "x", "a cell")) == [
        (0, 1, "nor_conv_3x3"),
        (0, 3, "avg_pool_3x3"),
        (1, 2, "skip_connect"),
        (2, 3, "nor_conv_1x1"),
    ]


def test_targets_of_darts_nodes_follow_the_two_inputs():
    normal, _ = parse_cells(networks("darts", 1)[0])
    assert sorted({edge.target for edge in normal.edges}) == [2, 3, 4, 5]


def test_dead_edges_are_told_apart():
    (cell,) = parse_cells("|none~0|+|conv~0|pool~1|+|none~0|none~1|conv~2|")
    assert {(e.source, e.target) for e in cell.live} == {(0, 2), (2, 3)}
    svg = cell_svg(cell, "x", "a cell")
    assert svg.count("stroke-dasharray") == 1
    assert "does not reach the output" in svg


def test_with_two_inputs_every_node_is_output():
    (cell,) = parse_cells("|a~0|b~1|+|c~0|d~1|")
    assert cell.live == frozenset(cell.edges)
    assert cell_svg(cell, "x", "a cell").count('class="concat"') == 1


@pytest.mark.parametrize("name", SPACES)
def test_no_two_edges_share_a_stretch_of_lane(name):
    for text in networks(name):
        for cell in parse_cells(text):
            lanes = _lanes(cell.drawn)
            for one, other in combinations(cell.drawn, 2):
                apart = one.target <= other.source or other.target <= one.source
                assert apart or lanes[one] != lanes[other]


@pytest.mark.parametrize("name", SPACES)
def test_labels_neither_touch_each_other_nor_leave_the_picture(name):
    for text in networks(name, 15):
        for cell in parse_cells(text):
            root = ElementTree.fromstring(cell_svg(cell, "x", "a cell"))
            boxes = [
                tuple(float(r.get(k)) for k in ("x", "y", "width", "height"))
                for r in root.iter(f"{SVG}rect")  # labels and nodes
            ]
            width, height = float(root.get("width")), float(root.get("height"))
            assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
            for (ax, ay, aw, ah), (bx, by, bw, bh) in combinations(boxes, 2):
                assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay


def test_names_are_escaped():
    cell = Cell("", 1, 2, (Edge(0, 1, '<script>"&'),))
    svg = cell_svg(cell, "x", "<b>title</b>")
    assert "<script" not in svg
    assert "<b>" not in svg
    (group,) = [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "edge"]
    assert group.get("data-operation") == '<script>"&'


def test_the_picture_reads_aloud():
    (cell,) = parse_cells("|conv~0|+|pool~0|skip~1|")
    root = ElementTree.fromstring(cell_svg(cell, "x", "The cell"))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "The cell. in to 1: conv; in to out: pool; 1 to out: skip"
    assert root.find(f"{SVG}title").text == "The cell"


def test_markers_of_two_cells_do_not_share_an_id():
    (cell,) = parse_cells("|conv~0|")
    ids = [re.findall(r' id="([^"]+)"', cell_svg(cell, name, "t")) for name in ("a", "b")]
    assert ids == [["a-tip"], ["b-tip"]]


@pytest.mark.parametrize(
    "text", ["", "0.1.2", "k3e6-k5e3", "|conv|", "|conv~|", "|~0|", "|conv~-1|", "|conv~0|+", "|conv~9999|", "|a~99|"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(InputRefusedError):
        parse_cells(text)
