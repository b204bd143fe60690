"""``export``: a data set as a folder that anybody can open: Parquet, a card, checksums."""

from __future__ import annotations

from pathlib import Path

from ..data import parquet
from ..data.dataset import LatencyDataset
from ..data.store import Store
from ..graphs.network import is_space
from .fitting import spec_in
from .outcome import Outcome, stored_space


def export(
    store: Path, out: Path, *, space: str | None = None, device: str | None = None, ok: bool = False, note: str = ""
) -> Outcome:
    """Write what a store holds of one space on one device, every label derived anew from raw rounds.

    With ``ok``, only networks whose label met its plan's target; the card says how many were left out. ``note`` is a
    paragraph for the card: how the networks were chosen, say.
    """
    parquet.check_place(out)
    with Store(store) as opened:
        dataset = LatencyDataset.from_store(opened, space=spec_in(opened, space), fingerprint_id=device)
    if ok:
        dataset = dataset.ok()
    chosen = stored_space(dataset.space) if is_space(dataset.space) else None
    folder = parquet.export(dataset, out, space=chosen, note=note)
    document = {
        "dataset": str(folder), "space": dataset.space, "device": dataset.fingerprint.id, "networks": len(dataset.rows),
        "verdicts": dataset.counts, "left_out": dataset.left_out,
        "repeatability": dataset.repeatability if dataset.pairs else None,
    }  # fmt: skip
    return Outcome(document, f"{dataset.describe()}\nwrote {folder}")
