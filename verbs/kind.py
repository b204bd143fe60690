"""What every kind of ``search`` is given and can do: on a device, on images with latencies of a table, on a table."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from ..search.method import Method
from .outcome import Outcome, Progress
from .request import SearchRequest


@dataclass(frozen=True)
class Kind(ABC):
    """Searches for one target at a time.

    Attributes:
        method: that searches.
        cost: what prices networks, for the record too.
        supernet: file of weights that serve every target; nothing is trained on a table.
        command: the command line, for the result.
        progress: told what is done.
        stop: set to end after the item, or the query, in flight.
    """

    method: Method
    cost: str
    supernet: Path
    command: str
    progress: Progress
    stop: threading.Event | None

    @abstractmethod
    def __call__(self, request: SearchRequest) -> Outcome:
        """Search for one target, and write the result into the request's folder."""

    @abstractmethod
    def again(self, request: SearchRequest) -> Outcome:
        """Take up a result that is there and not reliable."""

    @abstractmethod
    def text(self, out: Path) -> str:
        """Return the result in a folder for people."""
