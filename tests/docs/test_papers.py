"""Every citation agrees with the one table of papers: arXiv id, first author, title."""

import ast
import re
from pathlib import Path

import pytest

import tempograd
from tempograd import registry

ROOT = Path(tempograd.__file__).parent
HOUSES = ("benchmarks", "data", "devices", "docs", "examples", "farm", "graphs", "measurement", "predictor", "profiler")
HOUSES += ("report", "search", "spaces", "tasks", "testing", "verbs")
ID = re.compile(r"(?<![\d.])(\d{4}\.\d{4,5})(?![\d.])")
AUTHOR = r"(?<![\w-])([A-Z][\w-]+)(?: et al\.|(?:, [A-Z][\w-]+)* and [A-Z][\w-]+)?,"
TITLED = re.compile(AUTHOR + r" \*([^*]+)\*")
NUMBERED = re.compile(
    AUTHOR
    + r"(?: \*[^*]+\*(?: \([\w-]+\))?,)?(?: [A-Z][\w ]+ \d{4},)? (?:sections? [\d., and]+)?arXiv[: ](\d{4}\.\d{5})"
)


def table():
    text = (ROOT / "docs" / "reference" / "papers.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert all(len(row) == 5 for row in rows)
    return rows[2:]


ROWS = table()
NAMES = {row[0]: {row[1], *row[3].split(", ")} for row in ROWS if row[0]}  # by number: first author, short names


def plain(title: str) -> str:
    return re.sub(r"\W+", " ", title).strip().lower()


def prose(file: Path) -> str:
    """Return what a file says to people: a page as it is, the docstrings of a module."""
    text = file.read_text()
    if file.suffix == ".py":
        nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        text = "\n".join(ast.get_docstring(n) or "" for n in ast.walk(ast.parse(text)) if isinstance(n, nodes))
    return " ".join(text.split())


def citing() -> dict[str, str]:
    files = [*ROOT.glob("*.py"), *ROOT.glob("*.md")]
    files += [file for house in HOUSES for end in ("py", "md") for file in (ROOT / house).rglob(f"*.{end}")]
    return {str(file.relative_to(ROOT)): prose(file) for file in files if file.name != "papers.md"}


def known(author: str, title: str) -> bool:
    """Whether the table has a paper of this first author whose title, or short name, is or begins with this one."""
    wanted = plain(title)
    return any(
        row[1] == author and (plain(row[2]).startswith(wanted) or wanted in map(plain, row[3].split(",")))
        for row in ROWS
    )  # fmt: skip


def test_the_table_is_sorted_and_names_no_paper_twice():
    ids = [row[0] for row in ROWS if row[0]]
    assert ids == sorted(set(ids))
    assert len({plain(row[2]) for row in ROWS}) == len(ROWS)


@pytest.mark.slow
def test_titles_and_first_authors_are_those_of_the_table():
    wrong = [
        f"{name}: {author}, {title}" for name, text in citing().items() for author, title in TITLED.findall(text)
        if not known(author, title)
    ]  # fmt: skip
    assert wrong == []


@pytest.mark.slow
def test_numbers_and_first_authors_are_those_of_the_table():
    found = [(name, author, number) for name, text in citing().items() for author, number in NUMBERED.findall(text)]
    assert len(found) > 60
    assert [case for case in found if case[1] not in NAMES.get(case[2], ())] == []


@pytest.mark.slow
def test_every_arxiv_number_is_in_the_table():
    after = re.compile(r"arXiv[: ]+((?:\(?\d{4}\.\d{5}[^.;*]{0,60}?)+)")
    numbers = {number for text in citing().values() for part in after.findall(text) for number in ID.findall(part)}
    assert numbers >= {"2001.06392", "2011.09300"}
    assert numbers - set(NAMES) == set()


@pytest.mark.parametrize("name", registry.names("method"))
def test_a_method_names_the_first_author_of_its_paper(name):
    paper = registry.load("method", name)().paper
    author, number = NUMBERED.search(paper).groups()
    assert author in NAMES[number]
