import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from tempograd.report.charts import (
    COLOURS,
    PAUSE_S,
    Series,
    drift_figure,
    pareto_figure,
    parity_figure,
    themed,
    to_svg,
    trace_figure,
)


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def segments(axes):
    return np.concatenate([np.array(c.get_segments()) for c in axes.collections])


def test_pareto_shows_each_network_where_it_is():
    figure = pareto_figure(
        [
            Series("found", [1.1], [0.97], [1.0], [1.3], [True], "found"),
            Series("random", [0.5, 0.8, None, 1.2], [0.9, 0.94, 0.99, 0.93]),
        ],
        target_ms=1.2,
    )
    (axes,) = figure.axes
    assert line(axes, "found").get_xydata().tolist() == [[1.1, 97.0]]
    assert line(axes, "random").get_xydata().tolist() == [[0.5, 90.0], [0.8, 94.0], [1.2, 93.0]]
    assert line(axes, "front").get_xydata().tolist() == [[0.5, 90.0], [0.8, 94.0], [1.1, 97.0]]
    assert line(axes, "target 1.2 ms").get_xdata() == [1.2, 1.2]
    assert segments(axes).tolist() == [[[1.0, 97.0], [1.3, 97.0]]]


def test_pareto_crosses_what_is_not_trusted_and_leaves_it_out_of_the_front():
    figure = pareto_figure([Series("r", [1.0, 0.5, 2.0], [0.5, 0.9, 0.6], trusted=[True, False, True])])
    (axes,) = figure.axes
    assert line(axes, "r").get_xydata().tolist() == [[1.0, 50.0], [2.0, 60.0]]
    assert line(axes, "front").get_xdata().tolist() == [1.0, 2.0]
    crosses = [one for one in axes.get_lines() if one.get_marker() == "x" and len(one.get_xdata())]
    assert [one.get_xydata().tolist() for one in crosses] == [[[0.5, 90.0]]]


def test_parity_and_residuals():
    figure = parity_figure([1.0, 2.0, np.nan], [1.1, 1.8, 3.0], [0.9, 1.7, 2.0], [1.2, 1.9, 4.0])
    left, right = figure.axes
    assert left.get_lines()[0].get_xydata().tolist() == [[1.0, 1.1], [2.0, 1.8]]
    assert segments(left).tolist() == [[[1.0, 0.9], [1.0, 1.2]], [[2.0, 1.7], [2.0, 1.9]]]
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [10.0, -10.0])
    assert left.get_xscale() == "linear"


def test_parity_of_a_wide_space_is_logarithmic():
    figure = parity_figure([0.1, 10.0], [0.1, 10.0])
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]


def test_drift_parts_by_the_gate_and_cuts_out_pauses():
    started = [120.0, 0.0, 60.0, 120.0 + 7200.0]
    figure = drift_figure(started, [0.3, 0.1, 0.1, 0.1], [0.2] * 4)
    (axes,) = figure.axes
    assert line(axes, "above it: the device was slower").get_xydata().tolist() == [[2.0, 0.3]]
    assert line(axes, "in the gate").get_xdata().tolist() == [0.0, 1.0, 3.0]
    assert [text.get_text().strip() for text in axes.texts] == ["2.0 h later"]
    assert PAUSE_S < 7200


def test_a_reading_at_the_gate_is_in_it():
    (axes,) = drift_figure([0.0], [0.2], [0.2]).axes
    assert len(line(axes, "in the gate").get_xdata()) == 1


def test_trace_draws_both_feeds_shades_warm_up_and_says_what_is_missing():
    figure = trace_figure(
        [0, 1, 2, 3],
        losses={"weights": [3, 2, 1, 0], "law": [None, None, 1, 2]},
        latencies_ms={"sampled": [4, 3, 2, 1], "direct": [5, 4, 3, 2]},
        lam=[0, 1, 2, 3],
        warm_up=[True, True, False, False],
        target_ms=1.5,
    )
    loss, latency, weight, law = figure.axes
    assert line(latency, "direct").get_ydata().tolist() == [5, 4, 3, 2]
    assert line(latency, "target 1.5 ms").get_ydata() == [1.5, 1.5]
    assert np.isnan(line(loss, "law").get_ydata()).tolist() == [True, True, False, False]
    assert weight.get_lines()[0].get_ydata().tolist() == [0, 1, 2, 3]
    assert [text.get_text() for text in law.texts] == ["not recorded"]
    (shade,) = loss.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (-0.5, 1.5)


@pytest.mark.slow
def test_svg_is_the_same_twice_and_valid_and_told():
    def svg(name):
        figure = drift_figure([0.0, 1.0], [0.1, 0.3], [0.2, 0.2])
        return to_svg(figure, name, 'Drift <"&', "what it shows")

    assert svg("a") == svg("a")
    root = ElementTree.fromstring(svg("a"))
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'Drift <"&. what it shows'
    assert root[0].tag.endswith("title")
    ids = {name: set(re.findall(r'\bid="([^"]+)"', svg(name))) for name in "ab"}
    assert ids["a"]
    assert not ids["a"] & ids["b"]
    targets = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg("a")))
    assert targets
    assert targets <= ids["a"]


def test_colours_follow_the_page_unless_the_figure_stands_alone():
    figure = drift_figure([0.0], [0.1], [0.2])
    inline, alone = to_svg(figure, "a", "t", "d"), to_svg(figure, "a", "t", "d", standalone=True)
    assert f"var(--main, {COLOURS['main']})" in inline
    assert not re.search(rf"(?<!, ){COLOURS['main']}", inline)
    assert "var(" not in alone
    assert COLOURS["main"] in alone
    assert "fill: #ffffff" in alone


def test_themed_colours_do_not_contain_each_other():
    assert themed(" ".join(COLOURS.values())).count("var(--") == len(COLOURS)


def test_global_state_is_left_alone():
    before = dict(mpl.rcParams)
    pareto_figure([Series("a", [1.0], [0.5])])
    to_svg(parity_figure([1.0], [1.0]), "a", "t", "d")
    assert dict(mpl.rcParams) == before


def test_many_points_become_an_image():
    n = 6000
    svg = to_svg(drift_figure(np.arange(n), np.full(n, 0.1), np.full(n, 0.2)), "a", "t", "d")
    assert "data:image/png" in svg
    assert len(svg) < 500_000


@pytest.mark.parametrize(
    "figure", [lambda: pareto_figure([]), lambda: parity_figure([], []), lambda: drift_figure([], [], [])]
)
def test_nothing_to_draw_is_drawn_empty(figure):
    ElementTree.fromstring(to_svg(figure(), "a", "t", "d"))
