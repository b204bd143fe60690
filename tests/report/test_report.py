import re
import stat
from html.parser import HTMLParser

import pytest

from tempograd.data.result import Result
from tempograd.errors import InputRefusedError, StoreError
from tempograd.report.report import answer, comparison, write_report

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\"'onload=x <img src=http://evil.example/x>"


class Page(HTMLParser):
    """What a browser would see: tags, attributes, text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)

    def said(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def page(write, tmp_path):
    def made(tree):
        return write_report(write(tree), tmp_path / "report.html").read_text(encoding="utf-8")

    return made


def failed(tree):
    tree["target_ms"], tree["verdict"] = 1.0, "fail"
    return tree


def unreliable(tree, verdict="noisy"):
    tree["found"]["measured"]["verdict"], tree["verdict"] = verdict, "unreliable"
    tree["target_ms"] = 1.14  # within the interval
    return tree


def poisoned(tree):
    """Put hostile text into every string that no schema fixes."""
    fixed = {"mode", "verdict", "path"}
    if isinstance(tree, dict):
        dirty = {k: v if k in fixed else poisoned(v) for k, v in tree.items()}
        return dirty | ({f"{HOSTILE}": HOSTILE} if "governor" in tree else {})
    if isinstance(tree, list):
        return [poisoned(item) for item in tree]
    return f"{HOSTILE}{tree}" if isinstance(tree, str) else tree


def test_order_of_the_page(full_page):
    text = full_page
    order = [
        "✓",
        'id="pareto"',
        'id="feasibility"',
        'id="parity"',
        'id="trace"',
        'id="drift"',
        'id="cell"',
        'id="measured"',
    ]
    at = [text.index(mark) for mark in [*order, 'id="trust"', 'id="provenance"']]
    assert at == sorted(at)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "word", "said"),
    [
        (lambda t: t, "PASS", "within the target of 1.200 ms"),
        (failed, "FAIL", "above the target of 1.000 ms"),
        (unreliable, "UNRELIABLE", "the measurement is noisy"),
        (lambda t: t | {"target_ms": None, "verdict": "measured"}, "MEASURED", "No target was asked for"),
    ],
)
def test_the_verdict_comes_first(page, full_result, change, word, said):
    seen = Page(page(change(full_result)))
    words = seen.said()
    assert re.search(rf"seed 0 \S {word} ", words)
    assert said in words
    assert words.index(word, 60) < words.index("Accuracy against measured latency")
    assert "95 % interval 1.100 to 1.160 ms; 12 of 14 rounds" in words


@pytest.mark.slow
def test_a_network_without_a_latency_is_shown_as_such(page, full_result):
    full_result["found"]["measured"] |= {"latency_ms": None, "low_ms": None, "high_ms": None}
    words = Page(page(unreliable(full_result, "failed"))).said()
    assert "Measured latency — failed no interval" in words
    assert "Not compared with random networks" in words


def test_a_minimal_result_says_what_is_missing(page, minimal_result):
    words = Page(page(minimal_result)).said()
    for sentence in (
        "No network has both a measured latency and an accuracy.",
        "holds no feasibility table",
        "no held-out networks",
        "holds no epochs",
        "No sentinel readings",
        "lists no measurements on the way",
        "names no device",
        "no held-out scores",
    ):
        assert sentence in words


@pytest.mark.slow
@pytest.mark.promise(2)
def test_every_measured_number_in_a_table_has_its_verdict(full_page):
    text = full_page
    body = text[text.index('id="measured"') : text.index('id="trust"')]
    for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL):
        if "<td" in row:
            assert 'class="badge ' in row
    feasibility = text[text.index('id="feasibility"') : text.index('id="parity"')]
    assert all('class="badge ' in row for row in re.findall(r"<tr>.*?</tr>", feasibility, re.DOTALL) if "<td" in row)


@pytest.mark.slow
def test_hostile_names_stay_text(page, full_result):
    full_result["found"]["text"] = "|<script>~0|"
    tree = poisoned(full_result)
    tree["found"]["text"] = f"|{HOSTILE.replace('|', '')}~0|"
    text = page(tree)
    seen = Page(text)
    assert {"script", "img", "iframe", "object", "form"}.isdisjoint(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert "<script>alert(1)</script>[31m" in "".join(seen.text)


@pytest.mark.promise(5)
@pytest.mark.parametrize("size", ["full", "minimal"])
def test_nothing_outside_is_named(page, full_page, minimal_result, size):
    text = full_page if size == "full" else page(minimal_result)
    assert not re.findall(r"https?:", re.sub(r'\bxmlns(:\w+)?="[^"]*"', "", text))
    for name, value in Page(text).attributes:
        if name in {"href", "src", "xlink:href", "action", "srcset", "data", "poster"}:
            assert value.startswith(("#", "data:"))
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text


def test_policy_forbids_script_and_loading(full_page):
    seen = Page(full_page)
    policy = next(value for name, value in seen.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'none'")
    assert "script" not in seen.tags


def test_ids_are_unique_and_every_figure_is_told(full_page):
    text = full_page
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    svgs = re.findall(r"<svg[^>]*>", text)
    assert len(svgs) == 5
    assert all('role="img"' in svg and "aria-label=" in svg for svg in svgs)
    assert len(re.findall(r'download="[a-z]+\.csv" href="data:text/csv', text)) == 6


@pytest.mark.slow
def test_same_result_same_bytes(write, tmp_path, full_result):
    directory = write(full_result)
    first = write_report(directory, tmp_path / "a.html").read_bytes()
    assert write_report(directory, tmp_path / "b.html").read_bytes() == first


def test_out_is_replaced_whole_and_its_folder_made(write, tmp_path, minimal_result):
    out = tmp_path / "new" / "report.html"
    directory = write(minimal_result)
    assert write_report(directory, out) == out
    out.write_text(out.read_text(encoding="utf-8").replace("</html>", "old"))
    write_report(directory, out)
    assert out.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [file.name for file in out.parent.iterdir()] == ["report.html"]
    assert stat.S_IMODE(out.stat().st_mode) & 0o044


def test_a_refused_result_leaves_the_old_page(write, tmp_path, full_result):
    out = tmp_path / "report.html"
    out.write_text("old")
    full_result["schema"] = 2
    with pytest.raises(InputRefusedError):
        write_report(write(full_result), out)
    assert out.read_text() == "old"


def test_a_place_that_cannot_be_written_is_named(write, tmp_path, minimal_result):
    directory = write(minimal_result)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "report.html", directory):
        with pytest.raises(StoreError, match=re.escape(str(out))):
            write_report(directory, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "result"]


def test_answer_owns_up_to_an_interval_above_the_target(full_result):
    assert "may miss" not in answer(Result.model_validate(full_result))
    full_result["found"]["measured"]["high_ms"] = 1.25
    assert "may miss" in answer(Result.model_validate(full_result))


@pytest.mark.slow
def test_the_report_says_which_random_networks_do_not_count_and_what_each_process_said(full_result, write, tmp_path):
    full_result["random"][0] |= {"measured_ms": 1.3, "verdict": "ok"}
    full_result["found"]["measured"]["processes"] = [
        {"latency_ms": 1.13, "verdict": "ok"}, {"latency_ms": 1.127, "verdict": "ok"},
        {"latency_ms": 1.25, "verdict": "noisy"},
    ]  # fmt: skip
    page = write_report(write(full_result), tmp_path / "r.html").read_text(encoding="utf-8")
    assert "no, above the target" in page
    assert "3 processes said" in page


def test_comparison_counts_only_trusted_networks_within_the_limit(full_result):
    rival = full_result["random"][0]
    full_result["random"] = [
        rival | {"measured_ms": ms, "accuracy": accuracy, "verdict": verdict}
        for ms, accuracy, verdict in [(1.0, 0.9, "ok"), (1.1, 0.98, "ok"), (1.3, 0.99, "ok"), (1.0, 0.99, "noisy")]
    ]
    said = comparison(Result.model_validate(full_result))
    assert "1 of 2 random networks" in said
    assert "mean 94.0 %, s.d. 5.66 %" in said
    read = Result.model_validate(full_result)
    assert [read.why_not(rival) for rival in read.random] == ["", "", ", above the target", ", latency not trusted"]
    assert len(read.counted) == 2
    full_result["random"] = [rival | {"key": full_result["found"]["key"]}]
    read = Result.model_validate(full_result)
    assert [read.why_not(rival) for rival in read.random] == [", the one found"]
    full_result["random"] = []
    assert comparison(Result.model_validate(full_result)).startswith("No random network")


def test_answer_owns_up_to_noise_that_it_passes_over(full_result):
    assert "noisy" not in answer(Result.model_validate(full_result))
    full_result["found"]["measured"]["verdict"] = "noisy"
    noisy = answer(Result.model_validate(full_result))
    assert "The measurement is noisy, but noise only ever adds time" in noisy
