"""The verbs on the command line: the only place that prints.

Every verb is a function with the same name and arguments, ``tempograd.verbs.collect.collect`` and so on. Results go to
stdout, as text or, with ``--json``, as one JSON document; progress and messages go to stderr.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import DeviceError, TempogradError

if TYPE_CHECKING:
    from .farm.subjects import Command
    from .verbs.outcome import Outcome

app = typer.Typer(
    name="tempograd",
    help="Find the best network that runs on your device in T milliseconds, and prove it there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Space = Annotated[str, typer.Option(help="Search space with its arguments, e.g. darts:layers=5,width=8.")]
Device = Annotated[str, typer.Option(help="Device with its arguments, e.g. local:threads=2 or simulated:seed=1.")]
Store = Annotated[Path, typer.Option(help="The file that measurements are kept in.")]
Farm = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the farm.")]
FarmOption = Annotated[Path, typer.Option("--farm", help="Folder of the farm.")]
Predictor = Annotated[Path, typer.Option(help="Directory written by fit.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]

MODELS = "blend, gp, lookup, mlp, ridge, sklearn_gp, transfer or trees; by default gp, or transfer below 100 networks."
Where = Annotated[
    list[str] | None, typer.Option(help="Only rows of the table where COLUMN=VALUE, e.g. device=pi4; repeatable.")
]
QUANTITIES = "latency_ms, wall_median_ms, p90_ms, p99_ms, energy_mj or memory_bytes."
INTERRUPTED = 130


def version(show: bool) -> None:
    """Print the version and end."""
    if show:
        from . import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    show: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Find the best network that runs on your device in T milliseconds, and prove it there."""


@app.command(epilog="Example: tempograd doctor")
def doctor(as_json: Json = False) -> None:
    """Say what on this machine would make numbers better, with the command that does it."""
    from .verbs import doctor as verb

    result = verb.doctor()
    _show(as_json, result.document, result.text, "tempograd quickstart")


@app.command(epilog="Example: tempograd devices")
def devices(as_json: Json = False) -> None:
    """List every device and runtime: what is here, what is missing, and the command that installs it."""
    from .verbs import devices as verb

    result = verb.devices()
    _show(as_json, result.document, result.text, "tempograd collect --space nasbench201 --device local --store run.db")


@app.command(epilog="Example: tempograd collect --space nasbench201 --device local --count 300 --store run.db")
def collect(
    space: Space,
    store: Store,
    device: Device = "local",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Networks to measure.")] = 300,
    plan: Annotated[
        str, typer.Option(help="quick (within 5 %), standard (2 %) or precise (1 %, on a quiet machine).")
    ] = "quick",
    seed: Seed = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of one inference.")] = None,
    operations: Annotated[
        bool, typer.Option("--operations", help="Measure the single operations, for lookup.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--every", help="Measure each different network of a small space, once.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw how steady the device was into this .svg or .png.")] = None,
    design: Annotated[
        bool, typer.Option("--design", help="Choose the networks that teach the most: for a few, on a new device.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be measured, and how long it takes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure sampled networks of a space on a device. Run again to continue: nothing is repeated.

    Ends with 3 if the numbers are not reliable, and says why; with 6 if some networks failed.
    """
    with _progress("measuring") as (progress, stop):
        from .verbs import collect as verb

        result = verb.collect(
            space, store, device=device, count=count, plan=plan, seed=seed, threads=threads, operations=operations,
            every=every, design=design, plot=plot, dry_run=dry_run, progress=progress, stop=stop,
        )  # fmt: skip
    _show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(epilog="Example: tempograd audit --store run.db. Exit code 3 if a check failed.")
def audit(
    store: Store,
    space: Annotated[str | None, typer.Option(help="Which space, if the store holds several.")] = None,
    device: Device = "local",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Networks that are compared and timed again.")] = 8,
    plan: Annotated[str, typer.Option(help="quick, standard or precise.")] = "standard",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Check whether the numbers in a store, and this device, can be believed."""
    with _progress("auditing") as (progress, stop):
        from .verbs import audit as verb

        result = verb.audit(
            store, space=space, device=device, count=count, plan=plan, seed=seed, progress=progress, stop=stop
        )
    following = "tempograd doctor" if result.exit_code else f"tempograd fit --store {store} --out predictor/"
    _show(as_json, result.document, result.text, following, result.exit_code)


@app.command(epilog="Example: tempograd export --store run.db --out latency/ --ok")
def export(
    store: Store,
    out: Annotated[Path, typer.Option(help="Folder that is written; it must not exist.")],
    space: Annotated[str | None, typer.Option(help="Which space, if the store holds several.")] = None,
    device: Annotated[str | None, typer.Option(help="Which fingerprint id, if the store holds several.")] = None,
    ok: Annotated[bool, typer.Option("--ok", help="Only networks whose label met its plan's target.")] = False,
    note: Annotated[str, typer.Option(help="A paragraph for the card, such as how networks were chosen.")] = "",
    as_json: Json = False,
) -> None:
    """Write a data set for others: one Parquet file, a card for people, checksums."""
    from .verbs import export as verb

    result = verb.export(store, out, space=space, device=device, ok=ok, note=note)
    _show(as_json, result.document, result.text, None, result.exit_code)


@app.command(epilog="Example: tempograd fit --store run.db --out predictor/")
def fit(
    store: Store,
    out: Annotated[Path, typer.Option(help="Directory for the predictor and its card.")],
    quantity: Annotated[
        list[str] | None, typer.Option(help=f"{QUANTITIES} Repeatable; the first, by default latency_ms, is the main.")
    ] = None,
    model: Annotated[str | None, typer.Option(help=MODELS)] = None,
    source: Annotated[
        list[Path] | None, typer.Option(help="Store of another device to transfer from; repeatable.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Which space, if the store holds several.")] = None,
    device: Annotated[str | None, typer.Option(help="Which fingerprint id, if the store holds several.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of gp or mlp; fewer are faster.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn latency, or more, from what was measured; judged by cross-validation, beside the noise of the labels."""
    with _progress("fitting", at_once=True) as (progress, _):
        from .verbs import fit as verb

        result = verb.fit(
            store, out, quantities=_split(quantity or ["latency_ms"]), model=model, sources=source or [], space=space,
            device=device, steps=steps, seed=seed, progress=progress,
        )  # fmt: skip
    _show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(epilog="Example: tempograd predict --predictor predictor/ --arch 1462")
def predict(
    predictor: Predictor,
    arch: Annotated[
        list[str],
        typer.Option(help="Architecture as people write it, its index or key, or @FILE with one a line; repeatable."),
    ],
    as_json: Json = False,
) -> None:
    """Predict latency, and what else was learnt, of architectures, with 95 % intervals."""
    from .verbs import predict as verb

    result = verb.predict(predictor, arch)
    _show(as_json, result.document, result.text, None, result.exit_code)


@app.command(
    epilog="Example: tempograd evaluate table.parquet --space nasbench201 --column i7_ms --train 900 --valid 100"
)
def evaluate(
    table: Annotated[
        Path,
        typer.Argument(help="Parquet or CSV: the space's columns (e0.., b0.., ks0..) or arch_str; latencies in ms."),
    ],
    space: Space,
    column: Annotated[list[str], typer.Option("--column", "--target-columns", help="Latency column; repeatable.")],
    source_columns: Annotated[
        list[str] | None, typer.Option(help="Column of a device to transfer from; repeatable.")
    ] = None,
    train: Annotated[int, typer.Option(min=2, help="Rows to learn from.")] = 900,
    valid: Annotated[int, typer.Option(min=0, help="Rows to choose the encoding by.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Random splits.")] = 3,
    model: Annotated[str | None, typer.Option(help=MODELS)] = None,
    sampling: Annotated[str, typer.Option(help="Which rows to learn from: random or d_optimal.")] = "random",
    where: Where = None,
    by_name: Annotated[
        bool,
        typer.Option(
            "--by-name",
            help="Split by name, as most papers do: networks learnt from under one name are tested under another.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge a predictor on any latency table, one device or many, with or without devices to transfer from."""
    with _progress("judging", at_once=True) as (progress, _):
        from .verbs import evaluate as verb

        result = verb.evaluate(
            table, space=space, columns=column, source_columns=source_columns or [], train=train, valid=valid,
            seeds=seeds, model=model, sampling=sampling, where=where or [], by_name=by_name, progress=progress,
        )  # fmt: skip
    _show(as_json, result.document, result.text, None, result.exit_code)


@app.command(epilog="Example: tempograd search --space darts --predictor predictor/ --target-ms 1.2 --out result/")
def search(
    space: Space,
    out: Annotated[Path, typer.Option(help="Directory for the result.")],
    predictor: Annotated[
        Path | None, typer.Option(help="Directory written by fit; not needed with --cost or a table.")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(help="predictor, table, flops or parameters; or shares: 0.7*predictor+0.3*flops.")
    ] = None,
    target_ms: Annotated[
        list[float] | None,
        typer.Option(help="Latency that the network must not exceed, as measured; repeatable, one result each."),
    ] = None,
    lam: Annotated[float | None, typer.Option(help="Instead of a target: the fixed weight of latency.")] = None,
    upper_bound: Annotated[
        bool, typer.Option("--upper-bound", help="Follow the upper end of the predictor's interval.")
    ] = False,
    method: Annotated[str, typer.Option(help="Search method; see tempograd methods.")] = "la_darts",
    task: Annotated[
        str,
        typer.Option(
            help="digits, synthetic, fashion_mnist:PATH, cifar10:PATH (each may end in ,limit=N) or table:FILE:COLUMN."
        ),
    ] = "digits",
    device: Annotated[str | None, typer.Option(help="Device with its arguments; by default local.")] = None,
    store: Annotated[Path | None, typer.Option(help="Store to measure into; by default the predictor's own.")] = None,
    plan: Annotated[str | None, typer.Option(help="quick, standard or precise; by default standard.")] = None,
    proxy: Annotated[str | None, typer.Option(help="Smaller space of the same sites for the supernet.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the search.")] = None,
    train_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of training what was found.")] = None,
    train_threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch; by default one, fastest for small nets.")
    ] = None,
    compute: Annotated[
        str | None, typer.Option(help="What torch trains networks on, cpu or cuda; by default cpu.")
    ] = None,
    finalists: Annotated[
        int | None,
        typer.Option(min=1, help="Train so many networks that use the target, keep the best on held-out images."),
    ] = None,
    random: Annotated[
        int | None, typer.Option(min=0, help="Networks of the random baseline, same budget each; by default 4.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(help="Networks whose accuracy may be asked for, by methods that ask.")
    ] = None,
    supernet: Annotated[
        Path | None, typer.Option(help="File of a supernet that serves every target; written if it is not there.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="In place of a device: table:FILE:COLUMN, where the found network is looked up.")
    ] = None,
    latency_rows: Annotated[int | None, typer.Option(help="Rows of that table to learn latency from; 900.")] = None,
    where: Where = None,
    seed: Seed = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Search anew where the result of a search is; else it is kept.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search under a latency target, train what is found, and measure it: pass or fail.

    Run again, an interrupted search goes on, an unreliable result is measured again, and any other result is kept.
    """
    with _progress("search", "repair", "train", "random", "confirm") as (progress, stop):
        from .verbs import search as verb
        from .verbs.outcome import target_folder

        result = verb.search(
            space, predictor, out, cost=cost, target_ms=target_ms or None, lam=lam, upper_bound=upper_bound,
            method=method, task=task, device=device, store=store, plan=plan, proxy=proxy, epochs=epochs,
            train_epochs=train_epochs, train_threads=train_threads, compute=compute, random=random,
            finalists=finalists, queries=queries, supernet=supernet, latency=latency, latency_rows=latency_rows,
            where=where or [], seed=seed, overwrite=overwrite, command=_command(), progress=progress, stop=stop,
        )  # fmt: skip
    found = [each["target_ms"] for each in result.document.get("results", ()) if each["verdict"] != "infeasible"]
    one = target_folder(out, min(found)) if found else out
    _show(as_json, result.document, result.text, f"tempograd report {one} --out report.html", result.exit_code)


@app.command(epilog="Example: tempograd methods --space routed")
def methods(
    space: Annotated[str | None, typer.Option(help="Only those that can search this space.")] = None,
    as_json: Json = False,
) -> None:
    """List the search methods: paper, what they need of a space, what they are made of."""
    from .verbs import methods as verb

    result = verb.methods(space)
    _show(as_json, result.document, result.text, None, result.exit_code)


@app.command(epilog="Example: tempograd report result/ --out report.html")
def report(
    result: Annotated[Path, typer.Argument(help="Directory written by search.")],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write one offline HTML page from a result."""
    from .verbs import report as verb

    done = verb.report(result, out)
    _show(as_json, done.document, done.text, None, done.exit_code)


@app.command(epilog="Example: tempograd quickstart")
def quickstart(
    out: Annotated[Path, typer.Option(help="Directory for everything that is made.")] = Path("quickstart"),
    device: Device = "local",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run the main job once, small: collect, fit, search, re-measure, report."""
    with _progress("measuring", "fitting", "search", "repair", "train", "random", "confirm") as (progress, stop):
        from .verbs import quickstart as verb

        result = verb.quickstart(out, device=device, seed=seed, command=_command(), progress=progress, stop=stop)
    _show(as_json, result.document, result.text, f"open {out / 'report.html'}", result.exit_code)


farm = typer.Typer(
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
    _show(as_json, result.document, result.text, f"tempograd farm up {folder}")


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
        _show(as_json, result.document, result.text, following)
        return
    with _held(process):
        _show(as_json, result.document, result.text, verb.next_after_up(folder))
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

    A running server hears of it at once. Ends with 4 if a server answers that could not be told.
    """
    from .verbs import farm as verb

    result = verb.add_agent(folder, name, device_class, key=key, password=password)
    following = f"scp -r {result.document['folder']} {name}:"
    _show(as_json, result.document, result.text, following, result.exit_code)


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
    _show(as_json, result.document, result.text, f"tempograd farm status {folder}", result.exit_code)


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
        _show(
            as_json, result.document, result.text, verb.next_after_up(folder) if not result.document["agents"] else None
        )
        return
    with suppress(Interrupted):
        _watch(verb.watch(folder), as_json)


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
        _show(as_json, result.document, result.text, f"tempograd farm status {folder}", result.exit_code)


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
    _show(as_json, result.document, result.text, f"tempograd farm status {folder}", result.exit_code)


def _watch(results: Iterable[Outcome], as_json: bool) -> None:
    """Show results in place of each other on a terminal, one after the other elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    if as_json or not console.is_terminal:
        for result in results:
            _show(as_json, result.document, result.text, None)
            sys.stdout.flush()
        return
    with Live(console=console, auto_refresh=False) as live:
        for result in results:
            live.update(Text(result.text, overflow="ellipsis", no_wrap=True), refresh=True)


@contextmanager
def _held(process: subprocess.Popen[bytes]) -> Generator[None]:
    """Wait at the end for a server that was started here; a signal that ends a verb ends it, and that is no error."""
    asked = threading.Event()

    def end() -> None:
        asked.set()
        process.terminate()

    with _ended_by(end):
        try:
            yield
            code = process.wait()
        finally:
            process.terminate()
    if not asked.is_set():
        raise DeviceError(f"nats-server ended by itself, with {code}; see its log")


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: tempograd agent --class laptop --device local:threads=2",
)
def agent(context: typer.Context) -> None:
    """Lend this machine's device to a farm: take networks from its queue, time them, deliver results."""
    from .farm.agent.command import run  # it starts without this module, where there is no torch

    raise typer.Exit(run(context.args))


def main() -> None:
    """Run the command line; every expected error is one message and its documented exit code."""
    as_json = "--json" in sys.argv
    try:
        with _ended_by(_interrupt):
            app()
    except TempogradError as error:
        _fail(as_json, type(error).__name__, str(error), error.exit_code)
    except Interrupted:
        _fail(
            as_json, "Interrupted", "interrupted; what was stored is kept, run the same command to go on", INTERRUPTED
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: no error of ours
    except Exception as error:
        if os.environ.get("TEMPOGRAD_TRACEBACK"):
            raise
        text = f"internal error: {type(error).__name__}: {error}; TEMPOGRAD_TRACEBACK=1 shows where"
        _fail(as_json, "InternalError", text, 1)


def _fail(as_json: bool, kind: str, message: str, code: int) -> None:
    if as_json:
        typer.echo(json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}}))
    typer.echo(f"tempograd: {message}", err=True)
    sys.exit(code)


def _show(as_json: bool, document: Any, text: str, following: str | None, code: int = 0) -> None:
    """Print a result, then the one obvious next command; end with the result's exit code."""
    if as_json:
        typer.echo(json.dumps(document, default=str, allow_nan=False))
    else:
        typer.echo(text)
        if following and code in {0, 3, 6}:
            typer.echo(f"\nnext: {following}")
    if code:
        raise typer.Exit(code)


def _split(names: list[str]) -> list[str]:
    """Return names that are given one by one or joined by commas."""
    return [name for joined in names for name in joined.split(",") if name]


def _command() -> str:
    import shlex

    return shlex.join(["tempograd", *sys.argv[1:]])


class Interrupted(BaseException):
    """A signal ended a verb; typer would turn a KeyboardInterrupt into an exit without a word."""


def _interrupt() -> None:
    raise Interrupted


@contextmanager
def _ended_by(end: Callable[[], None]) -> Generator[None]:
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


class _Bars:
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
def _progress(
    *stages: str, at_once: bool = False
) -> Generator[tuple[Callable[[str, int, int], None], threading.Event]]:
    """Say what will be done, and yield ``progress(stage, done, total)`` and the event that asks to stop.

    All of it goes to stderr: bars to a terminal, lines elsewhere. The first word comes before slow imports. The first
    Ctrl-C, SIGTERM or SIGHUP asks to stop after the item in flight, the second stops now.

    Args:
        stages: in their order; those that are not needed are passed over.
        at_once: stop at the first: there is nothing to finish.
    """
    if stages:
        typer.echo(f"stages: {', '.join(stages)}", err=True)
    stop = threading.Event()

    def end() -> None:
        if at_once or stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        typer.echo("finishing the item in flight; once more to stop now", err=True)

    try:
        with _ended_by(end), _bars() if sys.stderr.isatty() else _lines() as told:
            yield told.update, stop
    except KeyboardInterrupt as error:
        raise Interrupted from error


@contextmanager
def _bars() -> Generator[_Bars]:
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
        told = _Bars(bars)
        yield told
        told.close()


@contextmanager
def _lines() -> Generator[Lines]:
    lines, ended = Lines(lambda line: typer.echo(line, err=True)), threading.Event()

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
