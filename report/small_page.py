"""The offline HTML pages of one question, a profile or a comparison: their style, their filters, what they allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .charts import COLOURS
from .formatting import ms, percent


def rendered(template: str, **values: Any) -> str:
    """Return a page of a template that extends ``small_page.html``; a value that it lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"ms": ms, "percent": percent}
    return environment.get_template(template).render(colours=COLOURS, **values)
