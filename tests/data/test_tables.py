"""The small measured tables that ship can be read, by us and by pyarrow alone."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import tempograd
from tempograd import registry
from tempograd.data import parquet

TABLES = sorted((Path(tempograd.__file__).parent / "data" / "tables").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_a_shipped_table_is_whole(folder):
    dataset = parquet.load(folder)
    space = registry.create("space", dataset.space)
    assert dataset.encode(space).shape == (len(dataset.keys), sum(space.widths))
    assert np.isfinite(dataset.y_ms).all()
    assert dataset.fingerprint.place == "local"
    assert pq.read_table(folder / "data.parquet").num_rows == len(dataset.rows)


def test_a_table_ships():
    assert TABLES
