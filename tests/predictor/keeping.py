"""A fitted predictor, and one that is kept in a folder."""

import json

import pytest

from tempograd.measurement.fingerprint import Fingerprint
from tempograd.predictor.binding import Binding
from tempograd.predictor.document import document_digest
from tempograd.predictor.interval import Conformal
from tempograd.predictor.models.ridge import RidgeLatency
from tempograd.predictor.saved import DOCUMENT, save

DEVICE = Fingerprint("local", {"cores": 8}, {"onnxruntime": "1.32.0"}, {"threads": 1, "batch": 1})


BINDING = Binding.of(space="nasbench201:width=16", encoding="one_hot", fingerprint=DEVICE)


@pytest.fixture(scope="module")
def ridge(additive):
    return RidgeLatency().fit(additive.X[:400], additive.y_ms[:400])


@pytest.fixture
def folder(tmp_path, ridge, additive):
    held_out = Conformal.fit(1.02 * additive.y_ms[400:], ridge.predict(additive.X[400:]))
    return save(tmp_path / "kept", ridge, binding=BINDING, card={"mape_pct": 1.5}, conformal=held_out)


ARRAYS = "predictor-*.safetensors"


def file_of(folder, pattern):
    """The one file of a predictor of that name."""
    (found,) = folder.glob(pattern)
    return found


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewrite(folder, change):
    """Change the document as somebody would who also forges its digest."""
    document = json.loads((folder / DOCUMENT).read_text())
    change(document)
    document["document_sha256"] = document_digest(document)
    (folder / DOCUMENT).write_text(json.dumps(document))
