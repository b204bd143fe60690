"""``kernels``: collect kernels' times from networks, learn them, and predict any network from its kernels."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

from ..arguments import Count, Seed
from ..arguments import check as check_arguments
from ..data.store import Store
from ..devices.device import Model, Place, TellsKernels
from ..errors import MismatchError, UsageError
from ..predictor.kernels import LEAST, KernelPredictor
from ..predictor.kernels import fit as learn
from ..profiler import kernels as room
from ..profiler.choose import choose
from ..profiler.networks import Network
from ..profiler.plan import named
from ..scratch import Scratch
from ..shown import counted
from . import collect as campaigns
from .measure import FAILED
from .networks import Refused, Shape, asked, one_network, opened_networks, placed
from .outcome import PARTIAL, UNRELIABLE, Outcome, Progress, plain, silent, space_of, table

TOP = 10
SAMPLED = 8  # networks of a space whose kernels are timed
NOISY = (
    "noisy: not as close as the plan asks. Kernels can be learnt all the same: their sums are judged on networks left "
    "out, and an interval holds what they were off by"
)
LITTLE = 0.02  # share of the time below which a kernel outside what was seen makes no difference


def collect(
    models: Sequence[Any],
    store: Path,
    *,
    device: str | Place = "local",
    shape: Shape = None,
    space: str | None = None,
    networks: Count = SAMPLED,
    limit: Count | None = None,
    plan: str = "quick",
    seed: Seed = 0,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Time the kernels of networks alone, each once, and the networks whole, into a store; nothing is repeated.

    A network that is refused, or that nobody can see through, is named, and the others go on. ``networks`` sampled
    ones of a ``space`` come beside those given. With ``limit``, so many kernels are timed: those that tell the most.

    Raises:
        UsageError: no network, or a device that tells no kernels.
        InputRefusedError: all networks are refused, with the reason of the first.
    """
    check_arguments(collect, locals())
    if not models and space is None:
        raise UsageError("no network; name ONNX files whose kernels are to be timed, or --space")
    place, timing = placed(device, None), named(plan)
    with _sampled(space, networks, seed) as more, opened_networks([*models, *more], shape) as found:
        seen = room.see(place, list({one.key: one for one in found if isinstance(one, Network)}.values()))
        refused = {one.name: one.error for one in found if isinstance(one, Refused)} | dict(seen.refused)
        if not seen.alone:
            errors = [one.named for one in found if isinstance(one, Refused)]
            errors += [Refused(name, "", error).named for name, error in seen.refused.items()]
            raise next(iter(errors), UsageError("none of these networks' kernels can be had alone"))
        with Store(store, write=True) as kept:
            summary = room.collect(
                place, seen, timing, kept, limit=limit, seed=seed, stop=stop,
                progress=lambda stage, p: progress(stage, p.done, p.total),
            )  # fmt: skip
            there = _timed_in(kept, place.fingerprint.id)
            failed = _failed(kept, place.fingerprint.id, seen) if summary.verdicts.keys() & set(FAILED) else {}
    document = plain({
        "store": str(store), "device": place.fingerprint.id, "networks": [network.name for network, _ in seen.networks],
        "refused": {name: str(error) for name, error in refused.items()},
        "failed": failed, "kernels": summary.networks - room.FEES, "not_alone": seen.missed,
        "verdicts": summary.verdicts, "seconds": summary.seconds,
        "kernels_per_hour": summary.networks_per_hour, "interrupted": summary.interrupted, "labels": summary.labels,
        "repeatability": summary.repeatability, "pairs": summary.pairs, "disagreeing": summary.disagreeing,
        "doubts": summary.doubts,
    })  # fmt: skip
    nothing_left = summary.found >= summary.networks + summary.duplicates
    pace = campaigns.pace(summary.measured, summary.seconds, nothing_left=nothing_left)
    lines = [
        f"{counted(summary.networks - room.FEES, 'kernel')} of {counted(len(seen.networks), 'network')}, "
        f"{counted(seen.missed, 'node')} could not be had alone",
        f"measured: {pace}; in {store}: "
        + ", ".join(f"{n} {verdict}" for verdict, n in sorted(summary.verdicts.items())),
        *(f"{name} is refused: {error}" for name, error in refused.items()),
        *(f"{kernel} failed: {why}" for kernel, why in failed.items()),
        *campaigns.repeated(document),
        *campaigns.judged(document, NOISY),
    ]
    code = campaigns.exit_code(summary) or (PARTIAL if refused else 0)
    text = "\n".join(lines)
    into = f"--store {quote(str(store))}"
    following = f"tempograd kernels fit {into} --out kernels/"
    if there < LEAST:
        following = f"tempograd kernels collect OTHER.onnx {into}{asked(device, None)}"
    return Outcome(document, text, code, following)


def _failed(store: Store, fingerprint_id: str, seen: room.Seen) -> dict[str, str]:
    """Return the kernels that have no time, with the reason."""
    told = {m.key: m.failure for m in store.measurements(space=room.KERNELS, fingerprint_id=fingerprint_id)}
    rows = ((kernel, told.get(signature)) for signature, kernel in seen.alone.items())
    return {
        f"{kernel.op} {(kernel.origin or [kernel.name])[-1]}": f"{why.cause} in {why.phase}: {why.detail}"
        for kernel, why in rows
        if why is not None
    }


def _timed_in(store: Store, fingerprint_id: str) -> int:
    """Return how many kernels a store has a time of, that can be learnt from."""
    try:
        return len(room.samples_of(store, fingerprint_id)[0])
    except UsageError:  # there is none, or the campaign is not over
        return 0


@contextmanager
def _sampled(space: str | None, count: int, seed: int) -> Generator[list[Path]]:
    """Write networks of a space, which are gone afterwards."""
    with Scratch() as folder:
        if space is None:
            yield []
            return
        chosen = space_of(space)
        count = chosen.at_most(count)
        yield [chosen.write_onnx(one, Path(folder))[0] for one in choose(chosen, count, seed=seed)]


def fit(store: Path, out: Path, *, device: str | None = None, source: Path | None = None) -> Outcome:
    """Learn kernels' times from a store, and judge their sums on networks left out, family by family.

    ``source`` is a folder of the same, of another device: its times help where kernels held out say so.
    """
    other = None if source is None else KernelPredictor.load(source)
    with Store(store) as kept:
        samples, bags, fees, id_ = room.samples_of(kept, device)
    found = learn(samples, bags, fingerprint_id=id_, dispatch_ms=fees.dispatch_ms, source=other)
    path = found.save(out)
    families = Counter(sample.kernel.family for sample in samples.values())
    document = plain({
        "predictor": str(path), "device": id_, "kernels": len(samples), "families": dict(families),
        "networks": len(bags), "left_out_error": found.spread, "scale": found.scale, "coverage": found.coverage,
        "judged_by": found.judged_by, "residual": bool(found.residual), "source": found.source is not None,
        "fees": asdict(fees),
    })  # fmt: skip
    worst = f"at most {100 * (found.spread[-1]):.1f} % off" if found.spread else "none to judge by: no interval"
    one = "family" if found.judged_by == "families" else "network"
    text = (
        f"{counted(len(samples), 'kernel')} of {counted(len(families), 'family', 'families')}, "
        f"{1e3 * fees.dispatch_ms:.2g} us a node\n"
        f"{counted(len(bags), 'network')}, each {one} predicted without its own kernels: {worst}"
    )
    if source is not None:
        text += f"\n{source} {'helps' if found.source else 'does not help, and is left out'}"
    return Outcome(document, text, 0, f"tempograd kernels predict MODEL.onnx --predictor {quote(str(out))}")


def predict(model: Any, predictor: Path, *, device: str | Place = "local", shape: Shape = None) -> Outcome:
    """Predict a network's latency from its kernels; the runtime's own optimiser says which these are.

    Raises:
        UsageError: the device tells no kernels.
        MismatchError: the predictor is of another device.
        InputRefusedError: the network is refused, or nobody can see through it.
    """
    kept = KernelPredictor.load(predictor)
    place = placed(device, None)
    if not isinstance(place, TellsKernels):
        raise UsageError(
            f"device {device} tells no kernels; allowed: local, runtime=onnxruntime, openvino or litert on a CPU"
        )
    if place.fingerprint.id != kept.fingerprint_id:
        raise MismatchError(
            f"{predictor} is of device {kept.fingerprint_id}, not of {place.fingerprint.id}; name its --device"
        )
    with one_network(model, shape, light=True) as network:
        asked = Model(network.key, network.path, network.digest, own_batch=True)
        kernels = place.profile(asked, seconds=0.0).kernels
    value, low, high = kept.predict(kernels)
    told = [(kernel, *kept.kernel_ms(kernel)) for kernel in kernels]
    sum_ms = sum(ms for _, ms, _ in told)
    share = value / sum_ms
    rows: list[dict[str, Any]] = [
        {"name": k.name, "op": k.op, "family": k.family, "ms": share * ms, "how": how, "origin": list(k.origin)}
        for k, ms, how in told
    ]
    outside = [row for row in rows if row["how"] == "out_of_support"]
    far = sum(row["ms"] for row in outside) > LITTLE * value
    verdict = "out_of_support" if far or not kept.spread else "predicted"
    document = plain({
        "name": network.name, "key": network.key, "device": kept.fingerprint_id, "latency_ms": value, "low_ms": low,
        "high_ms": high, "coverage": kept.coverage, "verdict": verdict, "sum_ms": sum_ms, "factor": share,
        "kernels": rows, "out_of_support": [row["name"] for row in outside],
    })  # fmt: skip
    cells = [
        (f"{row['ms']:.3g}", row["how"], f"{row['op']} {(row['origin'] or [row['name']])[-1]}")
        for row in sorted(rows, key=lambda row: -row["ms"])[:TOP]
    ]
    lines = [
        f"{network.name}: {value:.4g} ms [{low:.4g}, {high:.4g}] {verdict}, {kept.coverage:.0%} interval",
        table(("ms", "from", "kernel"), cells),
        f"kernels by themselves add up to {sum_ms:.4g} ms; networks that were measured took {share:.3g} times as much",
    ]
    if outside:
        lines.append(f"{len(outside)} of {len(rows)} kernels are unlike all that were timed")
    return Outcome(document, "\n".join(lines), 0 if verdict == "predicted" else UNRELIABLE)
