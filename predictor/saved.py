"""A predictor on disk: arrays in safetensors, everything else in JSON, a card for people; no pickle.

::

    predictor-DIGEST.safetensors   the model's arrays, named by their SHA-256
    predictor.json                 schema, model, what it is bound to, card, residuals, other heads, two digests
    README.md                      the model card

Two digests tell a damaged file from a whole one before any number is made of it. ``predictor.json`` is replaced last
and names the arrays: whoever reads meanwhile has the older predictor or the newer one. A predictor of several
quantities has a *head* for each, a model with scores and intervals of its own; the first is the main one, by which a
search knows latency.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from .. import outputs
from ..errors import InputRefusedError, MismatchError, TempogradError, UsageError
from ..registry import names
from .binding import Binding, FingerprintLike, fingerprint_differences
from .card import model_card
from .document import (
    DOCUMENT,
    SCHEMA,
    HeadDocument,
    arrays_file,
    document_digest,
    read_arrays,
    read_document,
)
from .interval import Conformal
from .plain import model_class, registered_name
from .predictor import Array, DifferentiablePredictor, Predictor, SaveablePredictor

if TYPE_CHECKING:
    from torch import nn

CARD = "README.md"
OUTSIDE = 3.0  # widths of the worst held-out network that an interval out of support has
DIFFERENCES = 5  # that a refusal names
SUPPORT_TOLERANCE = 1e-6  # share of a feature's range by which a relaxed encoding may overshoot by rounding
PACKAGES = ("tempograd", "numpy", "scikit-learn", "safetensors", "torch")


@dataclass(frozen=True)
class Head:
    """One quantity's predictor, as given to ``save``.

    Attributes:
        predictor, binding, card, conformal: as ``save`` takes them.
    """

    predictor: Predictor
    binding: Binding
    card: Mapping[str, Any]
    conformal: Conformal | None = None


@dataclass(frozen=True)
class SavedPredictor:
    """A predictor with everything that was kept beside it.

    Attributes:
        model: the model's name in the registry.
        predictor: ready to predict.
        binding: the space, encoding and device that it is of.
        card: scores and remarks, as given to ``save``.
        conformal: residuals of held-out networks; None if none were given.
        support: ``(2, d)``, the range of every feature that counts as known.
        created_by: versions of what wrote the file.
        others: the heads beside this one, which is the main one.
    """

    model: str
    predictor: Predictor
    binding: Binding
    card: Mapping[str, Any]
    conformal: Conformal | None
    support: Array
    created_by: Mapping[str, str]
    others: tuple[SavedPredictor, ...] = ()

    @property
    def heads(self) -> dict[str, SavedPredictor]:
        """Return quantity -> head, the main one first."""
        return {head.binding.quantity: head for head in (self, *self.others)}

    @overload
    def predict(self, X: npt.ArrayLike) -> Array: ...

    @overload
    def predict(
        self, X: npt.ArrayLike, *, return_interval: Literal[True], coverage: float = 0.9
    ) -> tuple[Array, Array, Array]: ...

    def predict(
        self, X: npt.ArrayLike, *, return_interval: bool = False, coverage: float = 0.9
    ) -> Array | tuple[Array, Array, Array]:
        """Return the latencies ``(n,)`` in ms, or what the binding says, of the encodings ``X (n, d)``.

        With ``return_interval`` also the lower and upper bounds ``(n,)``; out of support they promise nothing, and are
        at least as far apart as three times the largest residual of any held-out network.

        Raises:
            UsageError: an interval is asked of a predictor saved without residuals, or with too few for the coverage.
        """
        p_ms = self.predictor.predict(X)
        if not return_interval:
            return p_ms
        if self.conformal is None:
            raise UsageError(
                "this predictor was saved without held-out residuals: save it with some, or ask no interval"
            )
        low, high = self.conformal.interval(p_ms, coverage)
        outside = self.out_of_support(X)
        wide = np.exp(OUTSIDE * max(self.conformal.residuals))
        low, high = (
            np.where(outside, np.minimum(low, p_ms / wide), low),
            np.where(outside, np.maximum(high, p_ms * wide), high),
        )
        return p_ms, low, high

    def upper_bound(self, coverage: float = 0.9) -> nn.Module:
        """Return a module ``(b, d) -> (b,)`` ms that the latency exceeds only as often as an interval is missed.

        Raises:
            UsageError: the model has no slope, or was saved without residuals, or with too few for the coverage.
        """
        from .modules import ScaledModule

        if not isinstance(self.predictor, DifferentiablePredictor) or self.conformal is None:
            raise UsageError(
                f"no upper bound of the model {self.model}: it needs a slope and held-out residuals; fit gp, say"
            )
        return ScaledModule(self.predictor.module, float(np.exp(self.conformal.log_half_width(coverage))))

    def out_of_support(self, X: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return ``(n,)`` flags of encodings with a feature outside `support`, such as an unseen option, or NaN."""
        features = np.asarray(X, float)
        low, high = self.support
        margin = SUPPORT_TOLERANCE * np.maximum(high - low, 1.0)
        return np.any(~((features >= low - margin) & (features <= high + margin)), axis=1)

    def check_binding(
        self,
        *,
        space: str | None = None,
        encoding: str | None = None,
        fingerprint: FingerprintLike | None = None,
        unit: str | None = None,
    ) -> None:
        """Check that this predictor is of the space, encoding, device and unit asked about; None is not checked.

        Raises:
            MismatchError: it is of another one; every difference is named.
        """
        wrong: list[str] = []
        mine = self.binding
        for name, saved, asked in (
            ("space", mine.space, space),
            ("encoding", mine.encoding, encoding),
            (f"unit of {mine.quantity}", mine.unit, unit),
        ):
            if asked is not None and saved != asked:
                wrong.append(f"{name}: saved {saved!r}, asked {asked!r}")
        others: list[str] = []
        if fingerprint is not None:
            others = fingerprint_differences(mine.fingerprint_json, fingerprint.to_json())
        wrong += others
        if wrong:
            name = "Name the device that it was learnt on (--device), or fit" if others else "Fit"
            what = "this space" if space not in (None, mine.space) else "what you ask about"
            more = f"; ... ({len(wrong)} differences)" if len(wrong) > DIFFERENCES else ""
            raise MismatchError(
                f"this predictor is of something else: {'; '.join(wrong[:DIFFERENCES])}{more}. {name} one for {what}."
            )


def save(
    path: Path | str,
    predictor: Predictor,
    *,
    binding: Binding,
    card: Mapping[str, Any],
    conformal: Conformal | None = None,
    others: Sequence[Head] = (),
) -> Path:
    """Write a fitted predictor into a folder, whole or not at all; an older one there is replaced, nothing else.

    Args:
        path: the folder; made if it is absent.
        predictor: fitted, with ``get_state`` and ``support_``, of a class that is registered under ``model``.
        binding: what its numbers are of.
        card: scores and remarks, JSON values only.
        conformal: residuals of held-out networks, for intervals.
        others: heads beside this one, the main one: of other quantities of the same space on the same device.

    Raises:
        UsageError: it cannot be saved, a card is not JSON, the heads do not belong together, or one of the files is
            there already and no predictor's.
        StoreError: the disk refuses.
    """
    from safetensors.numpy import save as to_bytes

    heads = (Head(predictor, binding, card, conformal), *others)
    _check_together([head.binding for head in heads])
    arrays: dict[str, npt.NDArray[Any]] = {}
    documents: list[dict[str, Any]] = []
    for number, head in enumerate(heads):
        found, document = _head_state(head)
        arrays |= {_prefix(number) + name: np.ascontiguousarray(array) for name, array in found.items()}
        documents.append(document)
    payload = to_bytes(arrays)
    digest = sha256(payload).hexdigest()
    document = documents[0] | {
        "schema": SCHEMA,
        "heads": documents[1:],
        "created_by": _versions(),
        "arrays_sha256": digest,
    }
    document["document_sha256"] = document_digest(document)
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False)
    folder = Path(path)
    check_place(folder)
    older = _arrays_there(folder)
    newer = arrays_file(folder, SCHEMA, digest)
    files = {newer: payload, folder / CARD: model_card(document).encode(), folder / DOCUMENT: text.encode()}
    outputs.write(files, _is_ours)
    if older is not None and older != newer:
        with suppress(OSError):
            older.unlink()
    return folder


def check_place(folder: Path) -> None:
    """Refuse, before anything is learnt, a folder that a predictor cannot be saved into.

    Raises:
        UsageError: one of the files is there already and no predictor's.
        StoreError: it may not be written, or is no folder.
    """
    outputs.check_kind(folder, outputs.PREDICTOR)
    outputs.check((folder / DOCUMENT, folder / CARD), _is_ours)


def load(path: Path | str) -> SavedPredictor:
    """Read a predictor's folder.

    Raises:
        InputRefusedError: a file is missing, damaged, of a newer schema or not a predictor at all; the message tells.
    """
    folder = Path(path)
    document = read_document(folder / DOCUMENT)
    try:
        arrays = read_arrays(folder, document)
    except InputRefusedError:
        replaced = read_document(folder / DOCUMENT)
        if replaced.arrays_sha256 == document.arrays_sha256:
            raise
        document, arrays = replaced, read_arrays(folder, replaced)  # a newer one was saved between the two files
    heads = [_head(folder, document, arrays, document.created_by)]
    for number, other in enumerate(document.heads, 1):
        own = {name.removeprefix(_prefix(number)): a for name, a in arrays.items() if name.startswith(_prefix(number))}
        heads.append(_head(folder, other, own, document.created_by))
    try:
        _check_together([head.binding for head in heads])
    except UsageError as error:
        raise InputRefusedError(f"{folder}: {error}") from error
    return replace(heads[0], others=tuple(heads[1:]))


def _prefix(number: int) -> str:
    """Return what the names of a head's arrays begin with: nothing for the main one, as before there were others."""
    return f"head{number}." if number else ""


def _check_together(bindings: Sequence[Binding]) -> None:
    main, quantities = bindings[0], [binding.quantity for binding in bindings]
    if len(set(quantities)) < len(quantities):
        raise UsageError(f"heads of {', '.join(quantities)}; give each quantity once")
    for other in bindings[1:]:
        if (other.space, other.fingerprint_json) != (main.space, main.fingerprint_json):
            raise UsageError(
                f"the head of {other.quantity} is of {other.space!r} on {other.fingerprint_id}, that of "
                f"{main.quantity} of {main.space!r} on {main.fingerprint_id}; save them apart"
            )


def _head_state(head: Head) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    if not isinstance(head.predictor, SaveablePredictor):
        raise UsageError(
            f"{type(head.predictor).__name__} has no get_state/from_state and cannot be saved without pickle"
        )
    arrays, config = head.predictor.get_state()
    conformal = head.conformal
    document: dict[str, Any] = {
        "model": _registered_name(head.predictor),
        "config": config,
        "binding": asdict(head.binding) | {"unit": head.binding.unit},
        "card": dict(head.card),
        "conformal_residuals": None if conformal is None else list(conformal.residuals),
        "conformal_predictions_ms": [] if conformal is None else list(conformal.predictions_ms),
    }
    return arrays, document


def _head(
    folder: Path, document: HeadDocument, arrays: dict[str, npt.NDArray[Any]], created_by: Mapping[str, str]
) -> SavedPredictor:
    if document.model not in names("model"):
        raise InputRefusedError(
            f"{folder / DOCUMENT} is of the model {document.model!r}, which is not installed; "
            f"known: {', '.join(names('model'))}"
        )
    try:
        binding = Binding(**document.binding.model_dump(exclude={"unit"}))
        predictor = model_class(document.model).from_state(arrays, document.config)
    except InputRefusedError as error:
        raise InputRefusedError(f"{folder}: {error}") from error
    except TempogradError as error:
        raise InputRefusedError(f"{folder}: what was saved cannot be used: {error}") from error
    return SavedPredictor(
        model=document.model,
        predictor=predictor,
        binding=binding,
        card=document.card,
        conformal=_conformal(folder, document),
        support=predictor.support_,
        created_by=created_by,
    )


def _conformal(folder: Path, document: HeadDocument) -> Conformal | None:
    residuals, predictions_ms = document.conformal_residuals, document.conformal_predictions_ms
    if residuals is None:
        return None
    if predictions_ms and len(predictions_ms) != len(residuals):
        raise InputRefusedError(
            f"{folder}: {len(residuals)} conformal_residuals and {len(predictions_ms)} conformal_predictions_ms; "
            "both are of the same networks: save it again"
        )
    order = np.argsort(residuals, kind="stable").tolist()
    return Conformal(tuple(residuals[n] for n in order), tuple(predictions_ms[n] for n in order if predictions_ms))


def _registered_name(predictor: Predictor) -> str:
    name = registered_name(predictor)
    if name is not None:
        return name
    raise UsageError(
        f"{type(predictor).__name__} is not a registered model, so nobody could load it again; "
        f"registered: {', '.join(names('model'))}"
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


_is_document = outputs.json_with("schema", "arrays_sha256", "document_sha256")
_is_card = outputs.marked(b"---\nlibrary_name: tempograd\n", b"# Latency predictor")


def _is_ours(path: Path) -> bool:
    """Return whether a file of one of a predictor's names is a predictor's."""
    if path.name == DOCUMENT:
        return _is_document(path)
    if path.name == CARD:
        return _is_card(path)
    return path == arrays_file(path.parent, SCHEMA, sha256(path.read_bytes()).hexdigest())


def _arrays_there(folder: Path) -> Path | None:
    """Return the arrays of the predictor that is in a folder, if there is a whole one."""
    try:
        document = json.loads((folder / DOCUMENT).read_bytes())
        path = arrays_file(folder, document["schema"], document["arrays_sha256"])
        return path if sha256(path.read_bytes()).hexdigest() == document["arrays_sha256"] else None
    except (OSError, ValueError, TypeError):
        return None
