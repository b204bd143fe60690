"""Docstrings stand alone: an argument is told by what it is, not only by what it is of."""

import ast
import re
from pathlib import Path

import pytest

import tempograd

ROOT = Path(tempograd.__file__).parent
SOURCE = [*ROOT.glob("*.py"), *(file for room in ROOT.glob("*/__init__.py") for file in room.parent.rglob("*.py"))]
ARGUMENT = re.compile(r"^\s+[a-z_]\w*(?:, [a-z_]\w*)*: of\b.*", re.MULTILINE)


def docstrings():
    """Yield where a docstring stands, and its text."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for file in SOURCE:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                yield f"{file.relative_to(ROOT)}: {getattr(node, 'name', 'module')}", text


@pytest.mark.slow
def test_no_argument_is_told_by_what_it_is_of_alone():
    told = list(docstrings())
    assert len(told) > 2000
    assert [(where, found) for where, text in told for found in ARGUMENT.findall(text)] == []
