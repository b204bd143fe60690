"""``import``: a published supernet's weights, read once and kept for searches that train nothing."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from .. import outputs
from ..errors import UsageError
from ..search.searchers.checkpoint import is_checkpoint
from ..search.searchers.imported import write_imported
from ..shown import counted
from ..spaces import autoformer, published
from .outcome import Outcome, space_of

KINDS = {"ofa": published, "vit": autoformer}


def import_weights(source: str, out: Path, *, space: str | None = None) -> Outcome:
    """Read published weights, check every name and shape, and write them as the file of a supernet.

    Args:
        source: ``ofa:FILE``, weights of Once-for-All's ``ofa_mbv3_d234_e346_k357`` at width 1.0 or 1.2, or
            ``vit:FILE``, those of a supernet of AutoFormer: safetensors, or a file of torch that holds nothing but
            tensors.
        out: the file for ``search --supernet``.
        space: whose networks inherit them; by default that of the file, of Once-for-All at 224 pixels.

    Raises:
        UsageError: another kind of source.
        InputRefusedError: the file cannot be read, holds code, or is of another network.
    """
    kind, _, name = source.partition(":")
    if kind not in KINDS or not name:
        raise UsageError(f"cannot import {source!r}; allowed: {' or '.join(f'{known}:FILE' for known in KINDS)}")
    path = Path(name)
    outputs.check([out], is_checkpoint)
    weights, layout = published.read_weights(path), KINDS[kind]
    there = space_of(space or layout.spec_of(weights, path))
    supernet = layout.supernet_of(there, weights, path)
    write_imported(out, there, supernet, path.name)
    count = sum(value.numel() for value in supernet.parameters())
    document = {"space": there.spec, "supernet": str(out), "source": path.name, "parameters": count}
    text = f"{counted(count, 'weight')} of {path.name}, every name and shape as expected: {out} serves {there.spec}"
    following = (
        f"tempograd search --space {quote(there.spec)} --method ofa:deploy=inherited --supernet {quote(str(out))} "
        "--task imagefolder:IMAGES --predictor predictor/ --target-ms MS --out result/"
    )
    return Outcome(document, text, following=following)
