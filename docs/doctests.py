"""Examples in docstrings are shown as code: mkdocstrings reads them as prose unless a heading stands above."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^([ ]*)>>> .*(?:\n[ ]*\S.*)*", re.MULTILINE)


class Doctests(Extension):
    """Put every example into a block of its own."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of what was loaded."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(example: re.Match[str]) -> str:
    return f"{example[1]}```pycon\n{example[0]}\n{example[1]}```"
