"""The documentation: it builds without a warning, loads nothing from elsewhere, and every link leads somewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import tempograd
from tempograd import registry
from tempograd.cli import app

ROOT = Path(tempograd.__file__).parent
READ_ON_THEIR_OWN = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
]
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}


class Page(HTMLParser):
    """What a page defines (anchors), points to (links) and loads (scripts, styles, images)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = {""}, [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given and given.get("rel") != "canonical":
            self.loads.append(given["href"])
        elif tag in LOADS and LOADS[tag] in given:
            self.loads.append(given[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_link_within_the_site_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            found = target.exists() and (target not in pages or unquote(parts.fragment) in pages[target].anchors)
            broken += [] if found else [f"{path.relative_to(site)}: {link}"]
    assert broken == []
    assert len(pages) > 20


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site, pages):
    outside = [
        f"{path.relative_to(site)}: {link}" for path, page in pages.items() for link in page.loads
        if urlsplit(link).netloc or urlsplit(link).scheme not in {"", "data"}
    ]  # fmt: skip
    assert outside == []
    imported = re.compile(r"@import\s+(?:url\()?['\"]?(?:https?:)?//|url\(['\"]?(?:https?:)?//")
    assert [path.name for path in site.rglob("*.css") if imported.search(path.read_text())] == []


def test_the_command_line_is_written_by_the_program(site, pages):
    page = pages[site / "reference" / "command-line.html"]
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {f"tempograd-{verb}" for verb in verbs} <= page.anchors
    assert "--target-ms" in (site / "reference" / "command-line.html").read_text()


@pytest.mark.parametrize("kind", ["space", "device", "runtime", "model", "law", "method", "task"])
def test_every_name_is_listed(site, pages, kind):
    page = pages[site / "reference" / "names.html"]
    assert {f"{kind}-{name}" for name in registry.names(kind)} <= page.anchors


def test_every_file_of_the_source_that_is_named_exists():
    houses = "|".join(path.parent.name for path in ROOT.glob("*/__init__.py")) + "|benchmarks|examples|packaging|tests"
    named = re.compile(rf"`((?:{houses})/[\w./-]*)`")
    pages = [ROOT / name for name in READ_ON_THEIR_OWN if name != "CHANGELOG.md"] + [*(ROOT / "docs").rglob("*.md")]
    paths = [(page.name, path) for page in pages for path in named.findall(page.read_text())]
    assert [case for case in paths if not (ROOT / case[1]).exists() and not (ROOT / f"{case[1]}.py").exists()] == []
    assert len(paths) > 50


@pytest.mark.parametrize("name", READ_ON_THEIR_OWN)
def test_links_of_the_files_outside_the_site(name):
    file = ROOT / name
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    links = [urlsplit(link) for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert [link.path for link in links if not link.scheme and not (file.parent / link.path).exists()] == []
