"""Models and weights on an agent's disk, under their SHA-256; fetched once, whoever needs them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..messages import Blob, Job
from ..queue import AgentSide

KEPT_WEIGHTS = 8  # files that whole campaigns share


class Files:
    """The blobs that jobs in hand need, and the weights used last.

    Args:
        folder: theirs alone; models of an earlier life are removed.
    """

    def __init__(self, folder: Path) -> None:
        self._models, self._weights = folder / "models", folder / "weights"
        for each in (self._models, self._weights):
            each.mkdir(parents=True, exist_ok=True)
        for file in _blobs(self._models):
            file.unlink()

    def fetch(self, queue: AgentSide, jobs: Sequence[Job]) -> set[str]:
        """Fetch what is not here; return the SHA-256 of what the queue does not have."""
        wanted = {blob.sha256: (blob, self._path(job, blob)) for job in jobs for blob in (job.model, *job.weights)}
        missing = {name: found for name, found in wanted.items() if not found[1].exists()}
        if not missing:
            return set()
        contents = queue.get_models([blob for blob, _ in missing.values()])
        for name, content in contents.items():
            path = missing[name][1]
            partial = path.with_suffix(".part")
            partial.write_bytes(content)
            partial.replace(path)
        self._trim()
        return missing.keys() - contents.keys()

    def lay_out(self, job: Job, folder: Path) -> Path:
        """Put a job's files into a folder under the names that its model knows them by; return the model's path."""
        for blob in job.weights:
            if not (folder / blob.name).exists():
                shutil.copyfile(self._path(job, blob), folder / blob.name)
        path = folder / f"{job.model.sha256[:16]}.onnx"
        shutil.copyfile(self._path(job, job.model), path)
        return path

    def drop(self, jobs: Iterable[Job], still_needed: Iterable[Job]) -> None:
        """Remove the models of jobs that are done."""
        needed = {job.model.sha256 for job in still_needed}
        for name in {job.model.sha256 for job in jobs} - needed:
            (self._models / name).unlink(missing_ok=True)

    def _path(self, job: Job, blob: Blob) -> Path:
        return (self._models if blob is job.model else self._weights) / blob.sha256

    def _trim(self) -> None:
        files = sorted(_blobs(self._weights), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT_WEIGHTS]:
            file.unlink()


def _blobs(folder: Path) -> list[Path]:
    """Return the files that are named by a SHA-256, whole or not: what else is there is not ours."""
    return [file for file in folder.iterdir() if re.fullmatch(r"[0-9a-f]{64}(\.part)?", file.name)]
