"""Which distribution's version is told, where several bring one module."""

import pytest

from tempograd.devices.runtime.packages import NotInstalledError, Package


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a distribution of the module ``engine`` into a folder of its own."""

    def install(name, version):
        folder = tmp_path / name
        (folder / "engine").mkdir(parents=True)
        (folder / "engine" / "__init__.py").touch()
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(folder))

    return install


def test_the_version_is_that_of_the_files_that_are_imported(installed):
    package = Package("Engine", ("engine", "engine-gpu"), "pip install engine", module="engine")
    installed("engine", "1.0")
    assert package.version() == "1.0"
    installed("engine-gpu", "2.0")  # before it on the path
    assert package.version() == "2.0"


def test_nothing_installed_names_the_command():
    with pytest.raises(NotInstalledError, match="pip install engine"):
        Package("Engine", ("engine-nobody-has",), "pip install engine").version()
