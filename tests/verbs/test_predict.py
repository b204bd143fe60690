"""Architectures on the command line, one by one or in a file."""

import pytest

from tempograd import registry
from tempograd.errors import InputRefusedError, InvalidArchitectureError
from tempograd.verbs.predict import architectures_of

SPACE = registry.create("space", "nasbench201")


def test_a_file_holds_one_architecture_a_line_in_any_notation(tmp_path):
    first, second = SPACE.from_index(7), SPACE.from_index(8)
    lines = ["# two networks", f" {SPACE.format(first)} # a comment", "", second.key]
    (tmp_path / "some.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    assert architectures_of(SPACE, f"@{tmp_path / 'some.txt'}") == [first, second]
    assert architectures_of(SPACE, " 7 ") == [first]


def test_a_mistake_in_a_file_is_shown_with_its_line_and_place(tmp_path):
    (tmp_path / "some.txt").write_text("7\n\n0.0.what\n")
    with pytest.raises(InvalidArchitectureError, match=r"some\.txt, line 3: character 1, here >>> in '>>>0\.0\.what'"):
        architectures_of(SPACE, f"@{tmp_path / 'some.txt'}")
    (tmp_path / "none.txt").write_text("\n# nothing\n")
    for name in ("none.txt", "absent.txt"):
        with pytest.raises(InputRefusedError, match=r"one architecture a line|write one a line"):
            architectures_of(SPACE, f"@{tmp_path / name}")
