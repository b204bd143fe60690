"""Which distribution brings a runtime, and the command that installs it; asked without importing anything."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ..errors import DeviceError


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
        names: distributions that bring it; the first one that is installed counts.
        install: the command that installs it.
    """

    title: str
    names: tuple[str, ...]
    install: str

    @classmethod
    def extra(cls, title: str, *names: str, extra: str) -> Package:
        """Return a package that an extra of tempograd brings."""
        return cls(title, names, f"pip install 'tempograd[{extra}]'")

    def version(self) -> str:
        """Return the installed version.

        Raises:
            NotInstalledError: no distribution of it is installed.
        """
        for name in self.names:
            try:
                return version(name)
            except PackageNotFoundError:
                continue
        raise NotInstalledError(self.title, self.install)
