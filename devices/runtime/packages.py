"""Which distribution brings a runtime, and the command that installs it; asked without importing anything."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

from ...errors import DeviceError


class UnusableError(DeviceError):
    """A runtime cannot do here what was asked of it.

    Attributes:
        found: what is wrong.
        remedy: the command that helps.
    """

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}; {remedy}")
        self.found, self.remedy = found, remedy


class NotInstalledError(UnusableError):
    """A runtime's library is not installed."""

    def __init__(self, title: str, install: str) -> None:
        super().__init__(f"{title} is not installed", install)


@dataclass(frozen=True)
class Package:
    """A runtime's library.

    Attributes:
        title: as people call it.
        names: distributions that bring it. Of several that are installed, that one counts whose files are imported.
        install: the command that installs it.
        module: what is imported, where several distributions bring it.
    """

    title: str
    names: tuple[str, ...]
    install: str
    module: str = ""

    @classmethod
    def extra(cls, title: str, *names: str, extra: str) -> Package:
        """Return a package that an extra of tempograd brings."""
        return cls(title, names, f"pip install 'tempograd[{extra}]'")

    def version(self) -> str:
        """Return the installed version.

        Raises:
            NotInstalledError: no distribution of it is installed.
        """
        found: list[Distribution] = []
        for name in self.names:
            with suppress(PackageNotFoundError):
                found.append(Distribution.from_name(name))
        if not found:
            raise NotInstalledError(self.title, self.install)
        spec = find_spec(self.module) if self.module and len(found) > 1 else None
        place = Path(spec.origin).parents[1] if spec and spec.origin else None
        return next((one for one in found if Path(str(one.locate_file(""))) == place), found[0]).version
