"""The commands of a farm, and of an agent that lends its device to one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import DeviceError
from .terminal import Interrupted, Json, Verbs, ended_by, show, show_each

if TYPE_CHECKING:
    from .farm.subjects import Command

Farm = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the farm.")]
FarmOption = Annotated[Path, typer.Option("--farm", help="Folder of the farm.")]

app = typer.Typer()


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: tempograd agent --class laptop --device local:threads=2",
)
def agent(context: typer.Context) -> None:
    """Lend this machine's device to a farm: take networks from its queue, time them, deliver results."""
    from .farm.agent.command import run  # it starts without this module, where there is no torch

    raise typer.Exit(run(context.args))


farm = typer.Typer(
    cls=Verbs,
    help="Run a farm: other machines time the networks of a campaign here.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(farm, name="farm")


@farm.command(
    "init", epilog="Examples: tempograd farm init farm --host farm.lan; on one machine: tempograd farm init farm"
)
def farm_init(
    folder: Farm = Path("farm"),
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or address under which other machines reach the server; repeatable. None: they do not."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server.")] = 4222,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without TLS; only where no other machine reaches it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the server's configuration, a private authority and certificate, and the campaign's credential.

    Everything is of mode 0600, and nothing is overwritten.
    """
    from .verbs import farm as verb

    result = verb.init(folder, hosts=host or [], port=port, plain=plain)
    show(as_json, result.document, result.text, f"tempograd farm up {quote(str(folder))}")


@farm.command(
    "up", epilog="Example: tempograd farm up farm. Exit code 4 if the server is missing, too old or does not start."
)
def farm_up(
    folder: Farm = Path("farm"),
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
    as_json: Json = False,
) -> None:
    """Start the server on this machine, and stop it with Ctrl-C.

    A server that other machines reach must have the fixes that are known here; an older one is refused.
    """
    from .verbs import farm as verb

    result, process = verb.up(folder)
    if detach:
        following = f"kill {process.pid} stops it; {verb.next_after_up(folder)}"
        show(as_json, result.document, result.text, following)
        return
    with _held(process):
        show(as_json, result.document, result.text, verb.next_after_up(folder))
        sys.stdout.flush()


@farm.command("add-agent", epilog="Example: tempograd farm add-agent pi5-07 --class pi5-ort-cpu4 --farm farm")
def farm_add_agent(
    name: Annotated[str, typer.Argument(help="Its name: a-z, 0-9 and '-'.")],
    device_class: Annotated[str, typer.Option("--class", help="Class of the jobs that it takes.")],
    folder: FarmOption = Path("farm"),
    key: Annotated[str | None, typer.Option(help="Public key made on the device, U...; by default made here.")] = None,
    password: Annotated[
        bool, typer.Option("--password", help="A random password in place of a key: for devices without PyNaCl.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let an agent in: it may take jobs of its class, and write its own results and state, and nothing else.

    A running server learns of it at once. Ends with 4 if a server answers that could not be told.
    """
    from .verbs import farm as verb

    result = verb.add_agent(folder, name, device_class, key=key, password=password)
    following = f"scp -r {quote(str(result.document['folder']))} {quote(name)}:"
    show(as_json, result.document, result.text, following, result.exit_code)


@farm.command("revoke", epilog="Example: tempograd farm revoke pi5-07 --farm farm")
def farm_revoke(
    name: Annotated[str, typer.Argument(help="Name of the agent.")],
    folder: FarmOption = Path("farm"),
    as_json: Json = False,
) -> None:
    """Shut an agent out: a running server cuts it off at once, and nobody else.

    Its results that are stored stay. Ends with 4 if a server answers that could not be told.
    """
    from .verbs import farm as verb

    result = verb.revoke(folder, name)
    show(as_json, result.document, result.text, f"tempograd farm status {quote(str(folder))}", result.exit_code)


@farm.command(
    "status", epilog="Example: tempograd farm status farm --watch. Exit code 4 if the server does not answer."
)
def farm_status(
    folder: Farm = Path("farm"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until Ctrl-C; with --json one document a line.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show agents with state, rate and when they were last seen by the server, jobs by class, and the server."""
    from .verbs import farm as verb

    if not watch:
        result = verb.status(folder)
        show(
            as_json, result.document, result.text, verb.next_after_up(folder) if not result.document["agents"] else None
        )
        return
    with suppress(Interrupted):
        show_each(verb.watch(folder), as_json)


def _farm_tell(word: Command, what: str) -> None:
    """Add the command that tells agents one word."""

    @farm.command(
        word, help=f"{what} Ends with 4 if an agent is not there, or does not do it.",
        epilog=f"Examples: tempograd farm {word} pi5-07 --farm farm; every agent: tempograd farm {word} all",
    )  # fmt: skip
    def tell(
        name: Annotated[str, typer.Argument(help="Name of the agent, or all.")],
        folder: FarmOption = Path("farm"),
        as_json: Json = False,
    ) -> None:
        from .verbs import farm as verb

        result = verb.tell(folder, name, word)
        show(as_json, result.document, result.text, f"tempograd farm status {quote(str(folder))}", result.exit_code)


_farm_tell("pause", "Let an agent finish the networks that it has, and take no more.")
_farm_tell("resume", "Let an agent that was paused take networks again.")
_farm_tell("drain", "Let an agent finish its pass, deliver its results, give its other networks back, and end.")
_farm_tell("release", "Let an agent whose device failed too often try again.")


@farm.command("doctor", epilog="Example: tempograd farm doctor farm. Exit code 3 if something is a problem.")
def farm_doctor(folder: Farm = Path("farm"), as_json: Json = False) -> None:
    """Check files, certificate, the server's version, encryption, disk, and that an agent is denied what it must be.

    For that an agent is let in for a moment, if the server runs on this machine.
    """
    from .verbs import farm as verb

    result = verb.doctor(folder)
    show(as_json, result.document, result.text, f"tempograd farm status {quote(str(folder))}", result.exit_code)


@contextmanager
def _held(process: subprocess.Popen[bytes]) -> Generator[None]:
    """Wait at the end for a server that was started here; a signal that ends a verb ends it, and that is no error."""
    asked = threading.Event()

    def end() -> None:
        asked.set()
        process.terminate()

    with ended_by(end):
        try:
            yield
            code = process.wait()
        finally:
            process.terminate()
    if not asked.is_set():
        raise DeviceError(f"nats-server ended by itself, with {code}; see its log")
