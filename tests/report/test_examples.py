import csv
import io

import numpy as np
import pytest

from tempograd.data.result import Result
from tempograd.errors import InputRefusedError
from tempograd.report.examples import examples
from tempograd.report.report import write_report
from tempograd.tasks.examples import packed

RNG = np.random.default_rng(0)
IMAGES = packed(RNG.integers(0, 256, (2, 8, 6, 3), dtype=np.uint8))
PLANE = packed(RNG.integers(0, 3, (2, 4, 3), dtype=np.uint8))
PICTURES = {"images": IMAGES, "truth": PLANE, "given": PLANE}
KINDS = {
    "classes": {"names": ["cat", "$x$", "<b>dog"], "counts": [[5, 1, 0], [0, 0, 0], [3, 0, 1]]},
    "map": {"names": ["ground", "disc", "cross"], "ignored": 2, **PICTURES},
    "heatmaps": {"names": ["head"], **PICTURES},
    "sequence": {"tokens": ["<i>", " ", "="], "bits": [1.0, 3.0, 2.0], "written": "</p><script>"},
}


def shown(minimal_result, kind, **changes):
    return examples(Result.model_validate(minimal_result | {"examples": {"kind": kind} | KINDS[kind] | changes}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_section_in_the_page(minimal_result, write, tmp_path, kind):
    minimal_result["examples"] = {"kind": kind} | KINDS[kind]
    page = write_report(write(minimal_result), tmp_path / "page.html").read_text(encoding="utf-8")
    section = page[page.index('id="examples"') : page.index('id="parity"')]
    assert "no examples" not in section
    assert section.count("data:image/png;base64,") == {"map": 6, "heatmaps": 6, "classes": 1}.get(kind, 0)
    for hostile in ("<b>dog", "<i>", "<script>"):
        assert hostile not in page


def test_confusion_says_which_class_was_taken_for_which_and_its_counts_are_data(minimal_result):
    picture = shown(minimal_result, "classes")
    assert "<b>dog was taken for cat, 3 times" in picture.words
    assert "<b>dog is found least often (25 %)" in picture.words
    rows = list(csv.DictReader(io.StringIO(picture.table.csv(), newline="")))
    assert [rows[2]["given cat"], rows[0]["given $x$"]] == ["3", "1"]


def test_perplexity_of_a_passage_is_of_its_bits_and_the_darkest_token_is_the_most_surprising(minimal_result):
    picture = shown(minimal_result, "sequence")
    assert "perplexity is 4" in picture.words  # two bits a token
    read = str(picture.drawings[0][1])
    assert read.index("/ 8%") < read.index("/ 25%") < read.index("/ 17%")


def test_without_examples_it_says_so(minimal_result):
    assert examples(Result.model_validate(minimal_result)).words.endswith("no examples of what the network does.")


def test_a_result_with_such_examples_is_refused(minimal_result, write, tmp_path):
    minimal_result["examples"] = {"kind": "map"} | KINDS["map"] | {"truth": None}
    with pytest.raises(InputRefusedError, match="examples"):
        write_report(write(minimal_result), tmp_path / "page.html")
