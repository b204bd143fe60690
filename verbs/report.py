"""``report``: one offline HTML page from a result, or one for each of several targets."""

from __future__ import annotations

from pathlib import Path

from .. import outputs
from ..data.result import RESULT
from ..report.report import is_report, write_report
from .outcome import Outcome


def report(result: Path, out: Path) -> Outcome:
    """Write one offline HTML page from a result.

    Args:
        result: folder written by ``search``; one that holds results of several targets, each in a folder of its own,
            gives a page for each.
        out: the page, ``report.html``; of several the folder's name is put in, ``report-1.5-ms.html``.

    Raises:
        InputRefusedError: the folder holds no result, or a broken one; then no page is written.
        UsageError: something else is where a page would go, or ``out`` ends in what is no HTML.
    """
    several = [] if (result / RESULT).exists() else sorted(path.parent for path in result.glob(f"*-ms/{RESULT}"))
    pages = {folder: out.with_name(f"{out.stem}-{folder.name}{out.suffix}") for folder in several} or {result: out}
    outputs.check_pages(pages.values(), is_report)
    paths = [str(write_report(folder, page)) for folder, page in pages.items()]
    document = {"reports": paths} if several else {"report": paths[0]}
    return Outcome(document, "\n".join(f"wrote {path}" for path in paths))
