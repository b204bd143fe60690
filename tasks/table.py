"""A task that is a column of a table that others published, ``table:FILE:COLUMN``: scores without data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..metric import ACCURACY, Metric
from ..spaces.architecture import Architecture
from ..spaces.space import SearchSpace
from .task import Task


@dataclass(frozen=True)
class TableTask:
    """Accuracies that are known already: of what is asked a search sees no more than it may.

    Attributes:
        name: file and column.
        accuracies: shares, of the only networks there are.
        metric: what the column holds.
    """

    name: str
    accuracies: Mapping[Architecture, float]
    metric: Metric = ACCURACY

    def fitted(self, space: SearchSpace) -> Task:
        """Refuse: there are no images.

        Raises:
            UsageError: always; the method trains networks.
        """
        raise UsageError(
            f"{self.name} is a table without images, and this method trains networks of {space.name}; use one that "
            "asks for accuracies only, see tempograd methods"
        )


def table_column(spec: str) -> tuple[Path, str] | None:
    """Return file and column of ``table:FILE:COLUMN``, or None if the spec is no table; both may hold colons.

    Raises:
        UsageError: the spec begins so, but names no Parquet, CSV or TSV file with a column.

    >>> table_column("table:nb201.parquet:help:gold_6226")
    (PosixPath('nb201.parquet'), 'help:gold_6226')
    """
    if not spec.startswith("table:"):
        return None
    found = re.fullmatch(r"table:(.+?\.(?:parquet|csv|tsv)(?:\.gz)?):(.+)", spec, re.IGNORECASE)
    if found is None:
        raise UsageError(
            f"cannot read {spec!r}; write table:FILE:COLUMN, the file ending in .parquet, .csv, .tsv or .csv.gz"
        )
    return Path(found[1]), found[2]
