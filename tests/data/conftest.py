import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tempograd import registry
from tempograd.profiler.plan import QUICK

from ..measurement.conftest import SPACE, fingerprint, make, make_round  # noqa: F401
from ..report.conftest import full_result, minimal_result  # noqa: F401
from ..report.conftest import write as write_result  # noqa: F401


@pytest.fixture(scope="session")
def space():
    return registry.create("space", SPACE)


def keep(store, fingerprint, *measurements, seed=0):  # noqa: F811
    campaign = store.begin(SPACE, fingerprint, QUICK.record(seed), seed)
    store.append(campaign, *measurements)
    return campaign


@pytest.fixture
def write(tmp_path):
    def write(columns, name="t.parquet"):
        table = pa.table(columns)
        if name.endswith(".csv"):
            pa.csv.write_csv(table, tmp_path / name)
        else:
            pq.write_table(table, tmp_path / name)
        return tmp_path / name

    return write


def edges(*rows):
    return {f"e{i}": list(column) for i, column in enumerate(zip(*rows, strict=True))}


ROWS = ((0, 1, 2, 3, 4, 0), (4, 4, 4, 4, 4, 4), (3, 3, 3, 3, 3, 3))
MANY = tuple((n % 5, n // 5, 3, 0, 0, 1) for n in range(25))


@pytest.fixture
def short(monkeypatch):
    """Let tables be shorter than is useful."""
    monkeypatch.setattr("tempograd.data.table.LEAST", 1)


NETWORKS = 60


@pytest.fixture(scope="module")
def published():
    """Networks of a space of ordinary size, as text, with the latencies of 10 G multiply-accumulates a second."""
    space = registry.create("space", "nasbench201")
    architectures = space.sample(NETWORKS, np.random.default_rng(0))
    y_ms = np.array([1 + space.raw_graph(a).macs() / 1e7 for a in architectures])
    return space, {"arch_str": [space.format(a) for a in architectures]}, y_ms
