"""``report``: one page, or one for each of several targets; nothing foreign is written over."""

import json

import pytest

from tempograd.errors import InputRefusedError, UsageError
from tempograd.report.compare import check_place as of_comparison
from tempograd.report.profile import check_place as of_profile
from tempograd.report.report import is_report
from tempograd.verbs.report import report

from ..report.conftest import full, minimal


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "result").mkdir()
    return tmp_path / "result"


def test_a_result_gives_one_page_which_is_made_anew(folder):
    page = folder.parent / "page.html"
    (folder / "result.json").write_text(json.dumps(minimal()))
    for _ in range(2):
        done = report(folder, page)
        assert done.document == {"report": str(page)}
        assert str(page) in done.text
    assert is_report(page)


@pytest.mark.slow
def test_a_folder_of_several_targets_gives_a_page_for_each(folder, tmp_path):
    for name in ("1.2-ms", "3-ms"):
        (folder / name).mkdir()
        (folder / name / "result.json").write_text(json.dumps(full()), encoding="utf-8")
    done = report(folder, tmp_path / "page.html")
    pages = [tmp_path / "page-1.2-ms.html", tmp_path / "page-3-ms.html"]
    assert done.document == {"reports": [str(page) for page in pages]}
    assert all(is_report(page) for page in pages)
    with pytest.raises(InputRefusedError, match=r"result.json"):
        report(tmp_path, tmp_path / "page.html")


def test_a_page_of_somebody_elses_is_left_alone(folder, tmp_path):
    (folder / "result.json").write_text(json.dumps(minimal()))
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(UsageError, match=r"page\.html"):
        report(folder, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "mine"


def test_a_broken_result_gives_no_page(folder, tmp_path):
    (folder / "result.json").write_text("{")
    with pytest.raises(InputRefusedError):
        report(folder, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", ["page.pdf", "page.PNG", "page.md"])
def test_a_name_of_another_format_is_refused_before_anything_is_written(name, folder, tmp_path):
    (folder / "result.json").write_text(json.dumps(minimal()))
    page = tmp_path / name
    for refused in (lambda: report(folder, page), lambda: of_profile(page), lambda: of_comparison(page)):
        with pytest.raises(UsageError, match=rf"{name}; allowed: a file that ends in \.html or \.htm"):
            refused()
    assert not page.exists()
    assert report(folder, tmp_path / "page.HTML").document["report"].endswith("page.HTML")
