"""What the offline HTML pages share, of a search, a profile, a comparison: style, filters, what they allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .charts import COLOURS
from .formatting import count, interval, ms, percent, score


def rendered(template: str, **values: Any) -> str:
    """Return a page of a template that extends ``layout.html``; a value that it lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    filters: Any = environment.filters  # the stubs allow jinja's own alone
    filters |= {"ms": ms, "percent": percent, "score": score, "count": count, "interval": interval}
    return environment.get_template(template).render(colours=COLOURS, **values)
