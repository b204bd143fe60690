"""The page of a network's kernels: areas are times, marks lie below the roof, and names are only text."""

import re

import pytest

from tempograd.errors import UsageError
from tempograd.report.profile import (
    check_place,
    is_profile,
    render,
    roofline_figure,
    squarified,
    tree_map,
    write_profile,
)

from .conftest import profiled


def test_areas_fill_their_box_and_are_what_was_asked():
    areas, box = [6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], (10.0, 20.0, 6.0, 4.0)
    found = squarified(areas, box)
    assert [w * h for _, _, w, h in found] == pytest.approx(areas)
    assert all(x >= 10 - 1e-9 and x + w <= 16 + 1e-9 and y >= 20 - 1e-9 and y + h <= 24 + 1e-9 for x, y, w, h in found)
    assert max(max(w / h, h / w) for _, _, w, h in found) < 4  # as in the paper's example
    assert squarified([], box) == squarified([0.0], box) == []


def test_a_tree_map_has_a_title_for_every_kernel_that_took_time():
    kernels = profiled()["kernels"]
    drawn = tree_map(kernels)
    assert len(re.findall("<title>", drawn)) == 3
    assert "nchwc.Conv" in drawn
    assert "2 ms, 50.0%, convolution, bound by arithmetic" in drawn
    assert drawn.count('class="family"') == 2


def test_marks_are_those_of_kernels_that_multiply_and_lie_below_the_roof():
    document = profiled()
    (axes,) = roofline_figure(document["kernels"], document["rates"]).axes
    points = [point for marks in axes.collections for point in marks.get_offsets().tolist()]
    assert points == [[pytest.approx(62.5), pytest.approx(50.0)], [pytest.approx(0.625), pytest.approx(1.0)]]
    assert all(y <= min(10.0 * x, 100.0) for x, y in points)


def test_a_network_that_multiplies_nothing_has_a_roof_without_marks():
    document = profiled()
    (axes,) = roofline_figure([], document["rates"]).axes
    assert not axes.collections
    assert axes.lines


@pytest.mark.slow
def test_names_are_text_and_nothing_is_loaded():
    document = profiled()
    document["kernels"][0]["origin"] = ["<script>alert(1)</script>"]
    page = render(document)
    assert "<script>alert" not in page
    assert "&lt;b&gt;fuse&lt;/b&gt;" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)


@pytest.mark.slow
def test_a_page_is_made_anew_and_what_is_none_is_left_alone(tmp_path):
    page = tmp_path / "page.html"
    for _ in range(2):
        assert write_profile(profiled(), page) == page
    assert is_profile(page)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.html"):
        check_place(tmp_path / "mine.html")
