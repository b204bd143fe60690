"""The verbs on the command line; those of a farm are in `cli_farm`, those of any network in `cli_network`.

Every verb is a function with the same name and arguments, ``tempograd.verbs.collect.collect`` and so on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join, quote
from typing import Annotated, Any, cast

import typer

from . import cli_farm, cli_network, registry, terminal
from .errors import UnknownNameError, UsageError
from .measurement.quantities import LATENCY, QUANTITIES
from .profiler.plan import PLANS, named
from .terminal import Grouped, Json, Verbs, progress_of, show, takes
from .verbs.choices import SAMPLINGS
from .verbs.option import one_of
from .verbs.request import SearchRequest

app = typer.Typer(
    name="tempograd",
    cls=Verbs,
    help="Find the best network that runs on your device in T milliseconds, and prove it there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Space = Annotated[str, typer.Option(help="Search space with its arguments, e.g. darts:layers=5,width=8.")]
Device = Annotated[str, typer.Option(help="Device with its arguments, e.g. local:threads=2 or simulated:seed=1.")]
Store = Annotated[Path, typer.Option(help="The file that measurements are kept in.")]
Predictor = Annotated[Path, typer.Option(help="Directory written by fit.")]
Name = Annotated[str | None, typer.Argument(help="One of them, with the arguments of its spec.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random, from 0.")]

Where = Annotated[
    list[str] | None, typer.Option(help="Only rows of the table where COLUMN=VALUE, e.g. device=pi4; repeatable.")
]


WITHIN = [f"{plan.name} (within {100 * plan.target:g} %)" for plan in PLANS.values()]
Model = Annotated[
    str | None,
    typer.Option(help=f"{one_of(registry.names('model'))}; by default gp, transfer below 100 networks or by sources."),
]


def _known(quantities: Sequence[str] = (), sampling: str | None = None, **specs: str | None) -> None:
    """Refuse names that there are not, by kind, before a verb and what it needs are imported."""
    for kind, spec in specs.items():
        if kind == "plan":
            named(spec or "")
        elif spec is not None:
            registry.check_name(kind, spec)
    for kind, given, allowed in (("quantity", quantities, QUANTITIES), ("sampling", (sampling,), SAMPLINGS)):
        for name in given:
            if name is not None and name not in allowed:
                raise UnknownNameError(kind, name, allowed)


def version(show: bool) -> None:
    """Print the version and end."""
    if show:
        from . import __version__

        terminal.show(False, None, __version__, None)
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
    show(as_json, result.document, result.text, "tempograd quickstart")


@app.command(epilog="Example: tempograd devices")
def devices(as_json: Json = False) -> None:
    """List every device and runtime: what is here, what is missing, and the command that installs it."""
    from .verbs import devices as verb

    result = verb.devices()
    show(as_json, result.document, result.text, "tempograd collect --space nasbench201 --device local --store run.db")


@app.command(epilog="Example: tempograd collect --space nasbench201 --device local --count 300 --store run.db")
def collect(
    space: Space,
    store: Store,
    device: Device = "local",
    count: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Networks to measure; by default 300.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Fit the space to a task: what --space leaves open of output and sizes.")
    ] = None,
    plan: Annotated[str, typer.Option(help=f"{one_of(WITHIN)}; the last on a quiet machine.")] = "quick",
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
    _known(space=space, device=device, plan=plan)
    with progress_of("measuring") as (progress, stop):
        from .verbs import collect as verb

        result = verb.collect(
            space, store, task=task, device=device, count=count, plan=plan, seed=seed, threads=threads,
            operations=operations, every=every, design=design, plot=plot, dry_run=dry_run, progress=progress, stop=stop,
        )  # fmt: skip
    show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(epilog="Example: tempograd audit --store run.db. Exit code 3 if a check failed.")
def audit(
    store: Store,
    space: Annotated[str | None, typer.Option(help="Which space, if the store holds several.")] = None,
    device: Device = "local",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Networks that are compared and timed again.")] = 8,
    plan: Annotated[str, typer.Option(help=f"{one_of(PLANS)}.")] = "standard",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Check whether the numbers in a store, and this device, can be believed."""
    _known(space=space, device=device, plan=plan)
    with progress_of("auditing") as (progress, stop):
        from .verbs import audit as verb

        result = verb.audit(
            store, space=space, device=device, count=count, plan=plan, seed=seed, progress=progress, stop=stop
        )
    show(as_json, result.document, result.text, result.following, result.exit_code)


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
    show(as_json, result.document, result.text, None, result.exit_code)


@app.command(
    epilog="Example: tempograd fit --store run.db --out predictor/, or tempograd fit table.csv --out predictor/"
)
def fit(
    out: Annotated[Path, typer.Option(help="Directory for the predictor and its card.")],
    table: Annotated[
        Path | None,
        typer.Argument(help="In place of a store: Parquet or CSV of architectures with a column of latencies."),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="The file that measurements are kept in.")] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Latency column of the table, its unit in brackets where the name does not say: 'lat[us]'."),
    ] = None,
    where: Where = None,
    quantity: Annotated[
        list[str] | None,
        typer.Option(help=f"{one_of(QUANTITIES)}. Repeatable; the first, by default {LATENCY}, is the main."),
    ] = None,
    model: Model = None,
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
    learnt_from = table or store
    if learnt_from is None or (table is not None and store is not None):
        given = f"{table} and --store {store}" if store else "neither a store nor a table"
        raise UsageError(f"{given}; give one to learn from: --store run.db, or a table such as latencies.csv")
    quantities = _split(quantity or [LATENCY])
    _known(quantities, space=space, model=model)
    with progress_of("fitting", at_once=True) as (progress, _):
        from .verbs import fit as verb

        result = verb.fit(
            learnt_from, out, quantities=quantities, model=model, sources=source or [], space=space,
            device=device, column=column, where=where or [], steps=steps, seed=seed, progress=progress,
        )  # fmt: skip
    show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(epilog="Example: tempograd predict --predictor predictor/ --arch 1462")
def predict(
    predictor: Predictor,
    arch: Annotated[
        list[str],
        typer.Option(help="Architecture as people write it, its index or key, or @FILE with one a line; repeatable."),
    ],
    space: Annotated[
        str | None, typer.Option(help="The space of your own, FILE.py:NAME, that the predictor was learnt on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict latency, and what else was learnt, of architectures, with 95 % intervals."""
    from .verbs import predict as verb

    result = verb.predict(predictor, arch, space=space)
    show(as_json, result.document, result.text, None, result.exit_code)


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
    model: Model = None,
    sampling: Annotated[str, typer.Option(help=f"Which rows to learn from: {one_of(SAMPLINGS)}.")] = "random",
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
    _known(sampling=sampling, space=space, model=model)
    with progress_of("judging", at_once=True) as (progress, _):
        from .verbs import evaluate as verb

        result = verb.evaluate(
            table, space=space, columns=column, source_columns=source_columns or [], train=train, valid=valid,
            seeds=seeds, model=model, sampling=sampling, where=where or [], by_name=by_name, progress=progress,
        )  # fmt: skip
    show(as_json, result.document, result.text, None, result.exit_code)


@app.command(
    cls=Grouped, epilog="Example: tempograd search --space darts --predictor predictor/ --target-ms 1.2 --out result/"
)
@takes(SearchRequest)
def search(given: dict[str, Any], as_json: Json = False) -> None:
    """Search under a latency target, train what is found, and measure it: pass or fail.

    Run again, an interrupted search goes on, an unreliable result is measured again, and any other result is kept.
    """
    request = SearchRequest.of(**given)  # refused before anything heavy is imported
    with progress_of("search", "repair", "train", "random", "confirm") as (progress, stop):
        from .verbs import search as verb

        space, predictor, out = (given.pop(name, None) for name in ("space", "predictor", "out"))
        result = verb.search(space, predictor, out, command=_command(), progress=progress, stop=stop, **given)
    following = f"tempograd report {quote(str(request.what.out))} --out report.html"
    if result.document.get("verdict") == "unreliable":
        following = _command()  # which measures its network again
    show(as_json, result.document, result.text, following, result.exit_code)


@app.command(epilog="Example: tempograd shrink net.py:trained --share 0.7 --task cifar10:data/ --out shrunk/")
def shrink(
    network: Annotated[
        str, typer.Argument(metavar="FILE.py:NAME", help="A function that returns a trained network and an example.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the store, the predictor and the result.")],
    share: Annotated[float, typer.Option(help="Target, as a share of the whole network's latency.")] = 0.7,
    task: Annotated[str, typer.Option(help="What it learns; see tempograd search --help.")] = "digits",
    device: Device = "local",
    count: Annotated[int, typer.Option(min=1, help="Sub-networks to measure.")] = 150,
    step: Annotated[
        str, typer.Option(metavar="measured | CHANNELS", help="Widths are multiples of it; measured: of what is fast.")
    ] = "measured",
    plan: Annotated[str, typer.Option(help=f"How long each is measured: {', '.join(PLANS)}.")] = "quick",
    method: Annotated[str, typer.Option(help="Search method with its arguments; see tempograd methods.")] = "slim",
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the search. [default: the method's own]")] = None,
    train_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of fine-tuning; by default 20, where the task does not train itself."),
    ] = None,
    seed: Seed = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Search anew where the result of a search is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a trained network faster: its channels and blocks are searched for what takes a share of its latency.

    What is found begins with the weights that it keeps, learns from the whole network, and is measured: pass or fail.
    """
    with progress_of("widths", "measuring", "fitting", "search", "queries", "repair", "train", "confirm") as (
        progress,
        stop,
    ):
        from .verbs import shrink as verb

        result = verb.shrink(
            network, out, share=share, task=task, device=device, count=count,
            step=cast(Any, int(step) if step.isdigit() else step), plan=plan, method=method, epochs=epochs,
            train_epochs=train_epochs, seed=seed, overwrite=overwrite, command=_command(), progress=progress, stop=stop,
        )  # fmt: skip
    show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command("import", epilog="Example: tempograd import ofa:ofa_mbv3_d234_e346_k357_w1.0 --out supernet.safetensors")
def import_weights(
    source: Annotated[str, typer.Argument(metavar="ofa:FILE | vit:FILE", help="Weights of a published supernet.")],
    out: Annotated[Path, typer.Option(help="The file for search --supernet.")],
    space: Annotated[str | None, typer.Option(help="Space that inherits them. [default: that of the file]")] = None,
    as_json: Json = False,
) -> None:
    """Read a published supernet's weights for searches that train nothing; a file that holds code is refused."""
    _known(space=space)
    from .verbs import import_weights as verb

    result = verb.import_weights(source, out, space=space)
    show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(epilog="Examples: tempograd methods --space routed; tempograd methods la_darts")
def methods(
    name: Name = None,
    space: Annotated[str | None, typer.Option(help="Only those that can search this space.")] = None,
    as_json: Json = False,
) -> None:
    """List the search methods: where to begin, paper, what they need of a space, what they are made of."""
    _known(space=space, method=name)
    if name is not None:
        _tell_names(as_json, "method", name)
        return
    from .verbs import methods as verb

    result = verb.methods(space)
    show(as_json, result.document, result.text, None, result.exit_code)


@app.command(epilog="Examples: tempograd spaces; tempograd spaces darts")
def spaces(name: Name = None, as_json: Json = False) -> None:
    """List the search spaces, or tell one of them with its arguments and defaults."""
    _tell_names(as_json, "space", name)


@app.command(epilog="Examples: tempograd tasks; tempograd tasks imagefolder")
def tasks(name: Name = None, as_json: Json = False) -> None:
    """List the tasks that networks learn, or tell one of them with its arguments and defaults."""
    _tell_names(as_json, "task", name)


def _tell_names(as_json: bool, kind: str, name: str | None) -> None:
    if name is not None:
        registry.check_name(kind, name)
    from .verbs import names as verb

    result = verb.names(kind, name)
    show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(epilog="Example: tempograd report result/ --out report.html")
def report(
    result: Annotated[Path, typer.Argument(help="Directory written by search.")],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write one offline HTML page from a result."""
    from .verbs import report as verb

    done = verb.report(result, out)
    show(as_json, done.document, done.text, None, done.exit_code)


@app.command(epilog="Example: tempograd quickstart")
def quickstart(
    out: Annotated[Path, typer.Option(help="Directory for everything that is made.")] = Path("quickstart"),
    device: Device = "local",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run the main job once, small: collect, fit, search, re-measure, report."""
    _known(device=device)
    with progress_of("measuring", "fitting", "search", "repair", "train", "random", "confirm") as (progress, stop):
        from .verbs import quickstart as verb

        result = verb.quickstart(out, device=device, seed=seed, command=_command(), progress=progress, stop=stop)
    show(as_json, result.document, result.text, f"open {out / 'report.html'}", result.exit_code)


app.add_typer(cli_farm.app)
app.add_typer(cli_network.app)


def main() -> None:
    """Run the command line, see `terminal.run`."""
    terminal.run(app)


def _split(names: list[str]) -> list[str]:
    """Return names that are given one by one or joined by commas."""
    return [name for joined in names for name in joined.split(",") if name]


def _command() -> str:
    return join(["tempograd", *sys.argv[1:]])
