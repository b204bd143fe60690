"""The commands for networks that belong to no space: any ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import Json, Verbs, progress_of, show

Models = Annotated[list[Path], typer.Argument(metavar="MODEL.onnx...", help="ONNX files, or folders of results.")]
Device = Annotated[str, typer.Option(help="Where: local, local:threads=2, ...; see tempograd devices.")]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", help="Shape of an open input, x=1x3x224x224, or several, x=1,8x3x224x224; repeatable."),
]
Precision = Annotated[
    str | None, typer.Option(help="Precision of the runtime: fp32, or another that it has, such as int8-static.")
]
Kept = Annotated[
    Path | None, typer.Option("--store", help="Store to keep it in, and to continue from; else nothing is kept.")
]
Plan = Annotated[str, typer.Option(help="How long: quick (5%), standard (2%) or precise (1%).")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the order of rounds.")]

app = typer.Typer()


@app.command(epilog="Example: tempograd measure model.onnx --shape x=1x3x224x224 --store run.db")
def measure(
    models: Models,
    device: Device = "local",
    shape: Shape = None,
    precision: Precision = None,
    store: Kept = None,
    plan: Plan = "standard",
    seed: Seed = 0,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what the store has already.")] = False,
    as_json: Json = False,
) -> None:
    """Measure any ONNX network on a device: latency with its interval and verdict, from three processes or more.

    Ends with 3 if a number is not as close as the plan asks, with 5 if the only network is refused, with 6 if one of
    several is, or fails.
    """
    with progress_of("measuring") as (progress, stop):
        from .verbs import measure as verb

        result = verb.measure(
            models, device=device, shape=shape, precision=precision, store=store, plan=plan, seed=seed, again=again,
            progress=progress, stop=stop,
        )  # fmt: skip
    show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(epilog="Example: tempograd profile model.onnx --shape x=1x3x224x224 --out page.html")
def profile(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file, or the folder of a result.")],
    device: Device = "local",
    shape: Shape = None,
    precision: Precision = None,
    store: Kept = None,
    plan: Plan = "standard",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Write an HTML page with pictures.")] = None,
    as_json: Json = False,
) -> None:
    """Say what of a network costs the time: its latency, then each kernel's share, limit and origin.

    Ends with 3 if the latency is not as close as the plan asks, with 5 if nobody can see through the network.
    """
    with progress_of("measuring") as (progress, stop):
        from .verbs import profile as verb

        result = verb.profile(
            model, device=device, shape=shape, precision=precision, store=store, plan=plan, seed=seed, out=out,
            progress=progress, stop=stop,
        )  # fmt: skip
    show(as_json, result.document, result.text, result.following, result.exit_code)


@app.command(
    epilog="Example: tempograd compare a.onnx b.onnx; as a gate: tempograd compare new.onnx --baseline old.onnx"
)
def compare(
    models: Models,
    device: Annotated[list[str] | None, typer.Option(help="Where, local if not given; repeatable.")] = None,
    shape: Shape = None,
    precision: Annotated[list[str] | None, typer.Option(help="Precision of the runtime; repeatable.")] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="What it must not be slower than: an ONNX file, or a store of measure."),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=10, help="By how much it may be slower, as a share.")] = 0.05,
    budget_s: Annotated[
        float, typer.Option(help="Seconds after which it ends without an answer, if four processes are done.")
    ] = 60.0,
    store: Kept = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write an HTML page: each network, and its kernels, before and after.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which of several networks is faster, timed in turn in the same processes: by how much, or no difference.

    It ends as soon as a difference is shown with its size, or only one below 1.5 % can be left. Exit code 3 says that
    nobody can tell: a difference of 5 % could hide. With a baseline it ends with 8 if the last network is shown to be
    slower by more than is allowed, with 6 if a network fails.
    """
    with progress_of("comparing") as (progress, stop):
        from .verbs import compare as verb

        result = verb.compare(
            models, devices=device or ["local"], shape=shape, precisions=precision or [], baseline=baseline,
            tolerance=tolerance, budget_s=budget_s, store=store, seed=seed, out=out, progress=progress, stop=stop,
        )  # fmt: skip
    show(as_json, result.document, result.text, None, result.exit_code)


@app.command(epilog="Example: tempograd pick timm.csv --accuracy top1 --latency i7_ms --target-ms 20 --models onnx/")
def pick(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Parquet or CSV, one row a pretrained network.")],
    accuracy: Annotated[str, typer.Option(help="Column of accuracies.")],
    latency: Annotated[str, typer.Option(help="Column of latencies of some device, to learn from; may have gaps.")],
    target_ms: Annotated[float, typer.Option(help="Latency in ms that the network must not exceed.")],
    name: Annotated[str | None, typer.Option(help="Column of names. [default: model, name, network or arch]")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder with NAME.onnx, which are measured.")] = None,
    device: Device = "local",
    shape: Shape = None,
    store: Kept = None,
    plan: Plan = "quick",
    lookup: Annotated[
        str | None, typer.Option(help="Instead of measuring: column of what would be measured, to judge by.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Networks measured at most.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the model that predicts.")] = 0,
    as_json: Json = False,
) -> None:
    """Pick the most accurate pretrained network within a latency target: predicted from a table, then measured.

    Ends with 8 if none of those measured is within the target, with 3 if the number that decides is not to be trusted.
    """
    with progress_of("fitting", "measuring") as (progress, stop):
        from .verbs import pick as verb

        result = verb.pick(
            table, accuracy=accuracy, latency=latency, target_ms=target_ms, name=name, models=models, device=device,
            shape=shape, store=store, plan=plan, lookup=lookup, most=most, seed=seed, progress=progress, stop=stop,
        )  # fmt: skip
    show(as_json, result.document, result.text, None, result.exit_code)


kernels = typer.Typer(
    help="Learn the times of kernels, and predict any network from its own.", no_args_is_help=True,
    cls=Verbs, rich_markup_mode=None,
)  # fmt: skip
app.add_typer(kernels, name="kernels")


@kernels.command("collect", epilog="Example: tempograd kernels collect a.onnx b.onnx --store kernels.db")
def kernels_collect(
    store: Annotated[Path, typer.Option(help="The file that measurements are kept in.")],
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="[MODEL.onnx...]", help="ONNX files, or folders of results.")
    ] = None,
    device: Device = "local",
    shape: Shape = None,
    space: Annotated[str | None, typer.Option(help="Space of whose networks some are sampled.")] = None,
    networks: Annotated[int, typer.Option(min=1, help="How many of the space.")] = 8,
    limit: Annotated[int | None, typer.Option(min=1, help="Time so many kernels: those that tell the most.")] = None,
    plan: Plan = "quick",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Time each different kernel of these networks alone, and the networks whole. Run again to continue."""
    with progress_of("timing kernels", "timing networks") as (progress, stop):
        from .verbs import kernels as verb

        result = verb.collect(
            models or [], store, device=device, shape=shape, space=space, networks=networks, limit=limit, plan=plan,
            seed=seed, progress=progress, stop=stop,
        )  # fmt: skip
    show(as_json, result.document, result.text, result.following, result.exit_code)


@kernels.command("fit", epilog="Example: tempograd kernels fit --store kernels.db --out kernels/")
def kernels_fit(
    store: Annotated[Path, typer.Option(help="The file that measurements are kept in.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    device: Annotated[str | None, typer.Option(help="Id of a fingerprint, if the store holds several.")] = None,
    source: Annotated[
        Path | None, typer.Option(help="Folder of the same, of another device: it helps where few kernels were timed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn kernels' times, and judge their sums on families of networks that were left out, kernels and all."""
    from .verbs import kernels as verb

    result = verb.fit(store, out, device=device, source=source)
    show(as_json, result.document, result.text, result.following, result.exit_code)


@kernels.command("predict", epilog="Example: tempograd kernels predict model.onnx --predictor kernels/")
def kernels_predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file, or the folder of a result.")],
    predictor: Annotated[Path, typer.Option(help="Folder written by kernels fit.")],
    device: Device = "local",
    shape: Shape = None,
    as_json: Json = False,
) -> None:
    """Predict a network's latency from its kernels, with an interval, and say which kernels are unlike those timed.

    Ends with 3 if they matter: then the number is a guess.
    """
    from .verbs import kernels as verb

    result = verb.predict(model, predictor, device=device, shape=shape)
    show(as_json, result.document, result.text, None, result.exit_code)
