"""What all commands share on a terminal, and the only place that prints: results, progress, errors, signals.

Results go to stdout, as text or, with ``--json``, as one JSON document; progress and messages go to stderr.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import MISSING
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .errors import StoreError, TempogradError, UsageError
from .verbs.option import Field, fields_of

if TYPE_CHECKING:
    from .verbs.outcome import Outcome

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
INTERRUPTED = 130
_WHOLE = 10_000  # characters of a sentence that is not cut
_Refused: Any = typer.BadParameter.__base__  # what a command line is refused by; typer does not name it
_ALLOWED = {
    "int_parsing": "a whole number", "int_from_float": "a whole number", "float_parsing": "a number",
    "greater_than_equal": "{ge:.15g} or more", "greater_than": "more than {gt:.15g}",
    "less_than_equal": "{le:.15g} or less", "less_than": "less than {lt:.15g}",
}  # fmt: skip


def run(app: typer.Typer) -> None:
    """Run a command line; every expected error is one message and its documented exit code."""
    as_json = "--json" in sys.argv
    try:
        _refuse_empty(sys.argv[1:])
        with ended_by(_interrupt):
            code = app(standalone_mode=False)
    except _Refused as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(error.exit_code)
        fail(as_json, "UsageError", _in_our_words(error), error.exit_code)
    except typer.Abort:
        fail(as_json, "Interrupted", "aborted", 1)
    except TempogradError as error:
        if error.silent or (error.silent is None and not _tells()):
            sys.exit(error.exit_code)
        fail(as_json, type(error).__name__, str(error), error.exit_code)
    except Interrupted:
        if not speaks():
            sys.exit(INTERRUPTED)
        fail(as_json, "Interrupted", "interrupted; what was stored is kept, run the same command to go on", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: no error of ours
    except Exception as error:
        if os.environ.get("TEMPOGRAD_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.strerror:
            where = f" {error.filename}" if error.filename else " what was asked for"
            fail(as_json, "StoreError", f"cannot read or write{where} ({error.strerror})", StoreError.exit_code)
        text = f"internal error: {type(error).__name__}: {error}; TEMPOGRAD_TRACEBACK=1 shows where"
        fail(as_json, "InternalError", text, 1)
    else:
        if isinstance(code, int) and code:
            sys.exit(code)


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse an empty text, as a shell makes it of a variable that is not set: as a path it would be this directory."""
    for before, text in zip(["", *arguments], arguments, strict=False):
        option = before if not text and before.startswith("--") else text.removesuffix("=")
        if not text or (text.startswith("--") and option != text):
            raise UsageError(f"{option or 'an argument'} is an empty text; leave it out, or say what it is")


def _in_our_words(error: Any) -> str:
    """Return what is wrong with a command line: the option, its value, what is allowed, and where that is told."""
    cause: Any = error.__cause__
    reasons = cause.errors() if hasattr(cause, "errors") else []
    known = _ALLOWED.get(reasons[0]["type"]) if reasons else None
    text: str = error.format_message()
    if known is not None and getattr(error, "param", None) is not None:
        name = max(error.param.opts, key=len)
        given = reasons[0]["input"]
        number = "a number, " if str(given).strip("+- ").lower() == "nan" else ""  # which is in no range
        text = f"{name} {given}; allowed: {number}{known.format(**reasons[0].get('ctx', {}))}"
    context = getattr(error, "ctx", None)
    return text.rstrip(". ") + ("" if context is None else f"; see {context.command_path} --help")


def _tells() -> bool:
    """Return whether this is the process that tells an error which others may have met as well."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return True
    from .search.processes import claimed

    return claimed()


def speaks() -> bool:
    """Return whether this process tells what is done: of several that ``torchrun`` started, the first one."""
    return os.environ.get("RANK", "0") == "0" or "TORCHELASTIC_RUN_ID" not in os.environ


def fail(as_json: bool, kind: str, message: str, code: int) -> None:
    """Print why a verb failed, with ``as_json`` also as a document on stdout, and end with ``code``."""
    if as_json:
        with suppress(OSError):  # that stdout cannot be written may be what is told
            typer.echo(json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}}))
    typer.echo(f"tempograd: {message}", err=True)
    sys.exit(code)


def show(as_json: bool, document: Any, text: str, following: str | None, code: int = 0) -> None:
    """Print a result, then the one obvious next command; end with the result's exit code."""
    if not speaks():
        return
    if as_json:
        typer.echo(json.dumps(document, default=str, allow_nan=False))
    else:
        typer.echo(text)
        if following and code in {0, 3, 6, 8}:
            typer.echo(f"\nnext: {following}")
    if code:
        raise typer.Exit(code)


def takes(request: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a request, see `verbs.option`, in place of its parameter ``given``.

    It gets those that were given by name, with what their texts say. The command's class is `Grouped`.
    """
    every = list(fields_of(request))

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**arguments: Any) -> None:
            given = {one.name: _read(one, arguments.pop(one.name)) for one in every}
            command(given={name: value for name, value in given.items() if value is not None}, **arguments)

        own = [one for one in signature(command, eval_str=True).parameters.values() if one.name != "given"]
        parameters = [*map(_parameter, every), *(one.replace(kind=Parameter.KEYWORD_ONLY) for one in own)]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _parameter(one: Field) -> Parameter:
    """Return an option as typer reads it: as text, so that whatever is wrong with it is said in our words."""
    metavar = one.option.unit.upper() or None
    told: Any = typer.Option(one.flag, help=one.help, metavar=metavar, rich_help_panel=one.title)
    if bool in one.types:
        return Parameter(one.name, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, told])
    kind: Any = list[str] | None if one.repeated else str | None
    if one.default is MISSING:
        return Parameter(one.name, Parameter.KEYWORD_ONLY, annotation=Annotated[str, told])
    return Parameter(one.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, told])


def _read(one: Field, value: Any) -> Any:
    if isinstance(value, list):
        return [one.read(text) for text in value]
    return one.read(value) if isinstance(value, str) else value


class Grouped(TyperCommand):
    """A command whose ``--help`` lists its options by group."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Verbs(TyperGroup):
    """A group of commands whose list says each one's first sentence whole, however narrow the terminal is."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        records = [(name, one.get_short_help_str(_WHOLE)) for name, one in commands if one and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(records)


def show_each(results: Iterable[Outcome], as_json: bool) -> None:
    """Show results in place of each other on a terminal, one after the other elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    if as_json or not console.is_terminal:
        for result in results:
            show(as_json, result.document, result.text, None)
            sys.stdout.flush()
        return
    with Live(console=console, auto_refresh=False) as live:
        for result in results:
            live.update(Text(result.text, overflow="ellipsis", no_wrap=True), refresh=True)


class Interrupted(BaseException):
    """A signal ended a verb; typer would turn a KeyboardInterrupt into an exit without a word."""


def _interrupt() -> None:
    raise Interrupted


@contextmanager
def ended_by(end: Callable[[], None]) -> Generator[None]:
    """Call ``end`` when the process is asked to end: by Ctrl-C, SIGTERM, or a terminal that was closed.

    A hang-up that is ignored, as under nohup, stays so. There is nobody to write to after one.
    """

    def handle(number: int, _: object) -> None:
        if number == signal.SIGHUP:
            for stream in (1, 2):
                if stat.S_ISCHR(os.fstat(stream).st_mode):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        end()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Lines:
    """Progress where there is no terminal: a line when a stage begins, one every half minute, one when it has ended.

    Args:
        say: takes a line.
        now: seconds of a clock that only goes on.
    """

    EVERY_S = 30.0

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now = say, now
        self._stage, self._done, self._total = "", 0, 0
        self._began_s = self._said_s = now()
        self._lock = threading.RLock()  # a stage that tells nothing is told of by another thread

    def update(self, stage: str, done: int, total: int) -> None:
        """Take a stage's progress, see `verbs.outcome.Progress`."""
        with self._lock:
            if total == 0:
                self._say(stage)
                return
            if stage != self._stage:
                self.close()
                self._stage, self._began_s, self._said_s = stage, self._now(), self._now()
                self._say(f"{stage} ...")
            self._done, self._total = done, total
            self.beat()

    def beat(self) -> None:
        """Say how far it is, if nothing was said for a while."""
        with self._lock:
            if self._stage and self._now() - self._said_s >= self.EVERY_S:
                self._said_s = self._now()
                self._say(self._line())

    def close(self) -> None:
        """Say that the stage is over."""
        with self._lock:
            if self._stage:
                self._say(f"{self._stage}: over after {self._minutes():.1f} min")
            self._stage = ""

    def _line(self) -> str:
        known = self._total > 0
        counted = f"{self._done} of {self._total}" if known else f"{self._done} so far"
        left = self._minutes() / self._done * (self._total - self._done) if known and self._done else 0
        return f"{self._stage}: {counted}, {self._minutes():.1f} min" + (f", some {left:.1f} left" if left else "")

    def _minutes(self) -> float:
        return (self._now() - self._began_s) / 60


class Bars:
    """Progress on a terminal: one bar a stage, which stands still when the next one begins."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._stage = ""

    def update(self, stage: str, done: int, total: int) -> None:
        if total == 0:
            self._bars.console.print(stage)
            return
        if stage != self._stage:
            self.close()
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=None)
            self._stage = stage
        # a bar that knows only 0 and 1, or no end, pulses
        self._bars.update(self._tasks[stage], completed=done, total=total if total > 1 else None)

    def close(self) -> None:
        if self._stage:
            task = self._tasks[self._stage]
            self._bars.update(task, total=max(self._bars.tasks[task].completed, 1), completed=None)
            self._bars.stop_task(task)
        self._stage = ""


@contextmanager
def progress_of(
    *stages: str, at_once: bool = False
) -> Generator[tuple[Callable[[str, int, int], None], threading.Event]]:
    """Say what will be done, and yield ``progress(stage, done, total)`` and the event that asks to stop.

    All of it goes to stderr: bars to a terminal, lines elsewhere. The first word comes before slow imports. The first
    Ctrl-C, SIGTERM or SIGHUP asks to stop after the item in flight, the second stops now.

    Args:
        stages: in their order; those that are not needed are passed over.
        at_once: stop at the first: there is nothing to finish.
    """
    if stages and speaks():
        typer.echo(f"stages: {', '.join(stages)}", err=True)
    stop = threading.Event()

    def end() -> None:
        if at_once or stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if speaks():
            typer.echo("finishing the item in flight; once more to stop now", err=True)

    try:
        with ended_by(end), _bars() if sys.stderr.isatty() and speaks() else _lines() as told:
            yield told.update, stop
    except KeyboardInterrupt as error:
        raise Interrupted from error


@contextmanager
def _bars() -> Generator[Bars]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        told = Bars(bars)
        yield told
        told.close()


@contextmanager
def _lines() -> Generator[Lines]:
    lines, ended = Lines(lambda line: typer.echo(line, err=True) if speaks() else None), threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            lines.beat()

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield lines
        lines.close()
    finally:
        ended.set()
        watcher.join()
