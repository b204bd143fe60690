"""What the program says of itself, written into the pages when the site is built, so that no page can lag behind it.

A page asks for it by a comment: ``<!-- generated: commands -->``, or ``names``, or ``exit codes``.
"""

from __future__ import annotations

import atexit
import inspect
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

from tempograd import errors, registry
from tempograd.verbs.names import entry

KINDS = {
    "space": "Spaces",
    "device": "Devices",
    "runtime": "Runtimes",
    "model": "Predictors",
    "law": "Laws",
    "method": "Methods",
    "task": "Tasks",
}


@event_priority(100)  # before mkdocstrings, which reads its own settings then
def on_config(config: Any) -> Any:
    """Point the reader of docstrings at the shipped modules alone: beside them may lie an environment of many more."""
    shipped = Path(tempfile.mkdtemp()) / "tempograd"
    atexit.register(shutil.rmtree, shipped.parent)
    shipped.mkdir()
    for path in Path(registry.__file__).parent.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            (shipped / path.name).symlink_to(path)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(shipped.parent)]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each mark by its text; MkDocs calls this for every page."""
    return re.sub(r"<!-- generated: ([a-z ]+) -->", lambda mark: GENERATED[mark[1]](), markdown)


def commands() -> str:
    """Return a section for each verb, as its ``--help`` tells it."""
    import typer

    from tempograd.cli import app

    def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word, part in sorted(command.commands.items()):
            if hasattr(part, "commands"):
                yield from leaves(part, f"{name} {word}")
            else:
                yield f"{name} {word}", part

    sections: list[str] = []
    for name, command in leaves(typer.main.get_command(app), "tempograd"):
        if name == "tempograd agent":  # it reads its arguments itself
            told = [sys.executable, "-m", "tempograd", "agent", "--help"]
            text = subprocess.run(told, capture_output=True, text=True, check=True).stdout.rstrip()
            sections.append(f"## {name}\n\n```text\n{text}\n```\n")
            continue
        context = command.context_class(command, info_name=name)
        records = [parameter.get_help_record(context) for parameter in command.params]
        rows = "\n".join(f"| `{_cell(what)}` | {_cell(_escaped(text))} |" for what, text in filter(None, records))
        epilog = re.sub(r"^Examples?: ", "", command.epilog or "")
        examples = "\n".join(f"    {line}" for line in _examples(epilog))
        sections.append(
            f"## {name}\n\n{_escaped(command.help)}\n\n{examples}\n\n| argument | is |\n|---|---|\n{rows}\n"
        )
    return "\n".join(sections)


def _examples(epilog: str) -> list[str]:
    """Return the commands of an epilog, each with what is said before it as a comment."""
    lines: list[str] = []
    for part in re.split(r"[;.] (?=\S)", epilog):
        before, tempograd, rest = part.partition("tempograd ")
        lines += ([f"# {before.strip().rstrip(':')}"] if before.strip() else []) + ([tempograd + rest] if rest else [])
    return lines


def names() -> str:
    """Return every name that a spec may begin with, by kind, with its description and arguments."""
    return "\n".join(
        f"## {title}\n\n"
        + "\n".join(_name(kind, name) for name in registry.names(kind))
        for kind, title in KINDS.items()
    )  # fmt: skip


def _name(kind: str, name: str) -> str:
    found = entry(kind, name)
    about = f"```text\n{found.about}\n```" if kind == "space" else _escaped(found.about)
    rows = [f"| `{a.name}` | {a.default and f'`{a.default}`'} | {_cell(_escaped(a.text))} |" for a in found.arguments]
    told = ["| argument | default | is |\n|---|---|---|\n" + "\n".join(rows)] if rows else []
    return "\n\n".join([f"### {name} {{ #{kind}-{name} }}", about, *told]) + "\n"


def exit_codes() -> str:
    """Return the tree of errors, as it is drawn in the module that defines it."""
    tree = inspect.cleandoc((errors.__doc__ or "").split("\n", 1)[1])
    return f"```text\n{tree}\n```"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it stands: what stands in brackets is no tag, and a star is a star."""
    pieces = re.split(r"(``.*?``|`.*?`)", text)  # every second one is code
    pieces[::2] = [re.sub(r"([*_\[])", r"\\\1", piece).replace("<", "&lt;") for piece in pieces[::2]]
    return "".join(pieces)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


GENERATED: dict[str, Callable[[], str]] = {"commands": commands, "names": names, "exit codes": exit_codes}
