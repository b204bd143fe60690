import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempograd.data.measurement_json import pack
from tempograd.data.store import SCHEMA, Store
from tempograd.errors import InputRefusedError, StoreError, UsageError
from tempograd.measurement.calibration import calibrate
from tempograd.measurement.rounds import Failure

from .conftest import SPACE, keep, make
from .measurements import measurements


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(measurements, max_size=4, unique_by=lambda m: (m.key, m.replicate)))
def test_a_store_gives_back_what_it_was_given(tmp_path_factory, fingerprint, given_):
    kept = []
    with Store(tmp_path_factory.mktemp("store") / "s.db", write=True) as store:
        campaign = store.begin("any", fingerprint, {"name": "x"}, 0)
        for m in given_:
            m = replace(m, fingerprint_id=fingerprint.id)
            if m.rounds or m.failure:
                store.append(campaign, m)
                kept.append(m)
        assert list(store.measurements(campaign=campaign)) == kept
        assert store.done(campaign) == {(m.key, m.replicate) for m in kept}
        assert sum(store.counts(campaign).values()) == len(kept)


def test_filters_and_order(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = keep(store, fingerprint, *(make(str(n), [n + 1.0] * 6, fingerprint) for n in range(5)))
        other = keep(store, fingerprint, make("0", [7.0] * 6, fingerprint), seed=1)
    with Store(tmp_path / "s.db", write=True) as store:
        assert [m.key for m in store.measurements(newest=2, campaign=campaign)] == ["3", "4"]
        assert [m.latency_ms for m in store.measurements(key="0")] == [1.0, 7.0]
        assert not list(store.measurements(space="another"))
        store.append(campaign, make("3", [4.1] * 6, fingerprint, replicate=1))
        assert [row.id for row in store.campaigns()] == [campaign, other]
        assert store.sets() == {(SPACE, fingerprint.id): 7}
        assert store.fingerprint(fingerprint.id) == fingerprint
        with pytest.raises(UsageError, match=fingerprint.id):
            store.fingerprint("unknown")


def test_the_same_campaign_is_found_again(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        ids = [store.begin("s", fingerprint, {"a": 1}, 0), store.begin("s", fingerprint, {"a": 1}, 0)]
        ids += [
            store.begin("s", fingerprint, {"a": 1}, 1),
            store.begin("s", fingerprint, {"a": 1}, 0, purpose="verify"),
        ]
        assert len(set(ids)) == 3
        assert ids[0] == ids[1]


@pytest.mark.fault(22)
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_latency_that_is_none_is_refused(tmp_path, fingerprint, value):
    row = make("0", [value] * 6, fingerprint)
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = store.begin(SPACE, fingerprint, {}, 0)
        with pytest.raises(UsageError, match="above 0"):
            store.append(campaign, row)
        assert not store.done(campaign)


@pytest.mark.fault(22)
def test_the_database_itself_refuses_them_too(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        keep(store, fingerprint, make("0", [1.0] * 6, fingerprint))
    raw = sqlite3.connect(tmp_path / "s.db")
    for value in ("0.0", "-1.0", "9e999", "NULL", "'text'"):
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute(f"UPDATE measurements SET latency_ms = {value}")
    raw.close()


def test_a_row_without_rounds_must_say_why(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = store.begin(SPACE, fingerprint, {}, 0)
        with pytest.raises(UsageError, match="neither rounds nor a failure"):
            store.append(campaign, make("0", [], fingerprint))
        store.append(campaign, make("0", [], fingerprint, failure=Failure("crashed", "run", 11)))
        assert store.counts() == {"failed": 1}


def test_appending_is_all_or_nothing_and_never_twice(tmp_path, fingerprint):
    one, two = make("1", [1.0] * 6, fingerprint), make("2", [1.0] * 6, fingerprint)
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = keep(store, fingerprint, one)
        with pytest.raises(StoreError, match="UNIQUE"):
            store.append(campaign, two, one)
        assert store.done(campaign) == {("1", 0)}
        store.append(campaign, two)


def test_an_unknown_device_is_refused(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = store.begin(SPACE, fingerprint, {}, 0)
        with pytest.raises(StoreError, match="FOREIGN"):
            store.append(campaign, replace(make("1", [1.0] * 6, fingerprint), fingerprint_id="nobody"))


def test_reading_is_not_writing(tmp_path, fingerprint):
    with pytest.raises(InputRefusedError, match="no store at"):
        Store(tmp_path / "s.db")
    Store(tmp_path / "s.db", write=True).close()
    with Store(tmp_path / "s.db") as store, pytest.raises(StoreError, match="write=True"):
        store.begin("s", fingerprint, {}, 0)
    with pytest.raises(StoreError, match="closed"):
        store.campaigns()


def test_calibrations_belong_to_a_device(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = store.begin("s", fingerprint, {}, 0)
        one, other = (calibrate({}, "cpu", name) for name in ("one", "other"))
        store.add_calibration(campaign, one)
        store.add_calibration(campaign, other)
        assert store.calibrations(fingerprint.id) == [one, other]
        assert store.calibrations("another") == []


# -- the file ----------------------------------------------------------------------------------------------------


def test_what_is_no_store_is_refused_untouched(tmp_path):
    path = tmp_path / "s.db"
    path.write_bytes(b"this is no database, but it is long enough to look at" * 50)
    before = path.read_bytes()
    for write in (False, True):
        with pytest.raises(InputRefusedError, match="no readable store"):
            Store(path, write=write)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.db"]  # no lock is left beside it


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("net.onnx", "is a network, .*: tempograd measure .*net.onnx$"),
        ("predictor.json", "part of a predictor, .*folder"),
    ],
)
def test_another_file_of_ours_is_told_as_what_it_is(name, told, tmp_path):
    (tmp_path / name).write_text('{"no": "database"}' * 100)
    for write in (False, True):
        with pytest.raises(InputRefusedError, match=told) as refused:
            Store(tmp_path / name, write=write)
        assert ".recover" not in str(refused.value)


@pytest.mark.parametrize("name", ["my table.csv", "t.parquet", "t.csv.gz"])
def test_a_table_is_no_broken_store_and_what_reads_it_is_named(tmp_path, name):
    (tmp_path / name).write_text("arch,ms\n1,0.5\n" * 100)
    for write in (False, True):
        with pytest.raises(
            InputRefusedError, match=r"is a table, and no store .* tempograd evaluate .* --space"
        ) as said:
            Store(tmp_path / name, write=write)
        assert "Restore it" not in str(said.value)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_foreign_database_is_refused(tmp_path):
    raw = sqlite3.connect(tmp_path / "s.db")
    raw.execute("CREATE TABLE t (x)")
    raw.close()
    with pytest.raises(InputRefusedError, match="no tempograd store"):
        Store(tmp_path / "s.db", write=True)


def test_a_newer_schema_is_refused_untouched(tmp_path):
    Store(tmp_path / "s.db", write=True).close()
    raw = sqlite3.connect(tmp_path / "s.db")
    raw.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    raw.close()
    before = (tmp_path / "s.db").read_bytes()
    with pytest.raises(InputRefusedError, match=f"schema {SCHEMA + 1}.*pip install --upgrade"):
        Store(tmp_path / "s.db")
    assert (tmp_path / "s.db").read_bytes() == before


@pytest.mark.fault(3)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_file_is_refused(tmp_path, fingerprint, share):
    with Store(tmp_path / "s.db", write=True) as store:
        keep(store, fingerprint, *(make(str(n), [1.0 + n] * 6, fingerprint) for n in range(60)))
    content = (tmp_path / "s.db").read_bytes()
    (tmp_path / "s.db").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputRefusedError, match=r"Restore it|no tempograd store"):
        Store(tmp_path / "s.db")


@pytest.mark.fault(3)
def test_overwritten_pages_are_an_error_never_other_numbers(tmp_path, fingerprint):
    path = tmp_path / "s.db"
    with Store(path, write=True) as store:
        keep(store, fingerprint, *(make(str(n), [1.0 + n] * 6, fingerprint) for n in range(40)))
        truth = list(store.measurements())
    content = path.read_bytes()
    refused = 0
    for start in range(0, len(content), 1999):
        path.write_bytes(content[:start] + bytes(40) + content[start + 40 :])
        try:
            with Store(path) as store:
                assert list(store.measurements()) == truth
        except (InputRefusedError, StoreError):
            refused += 1
    assert refused > 5


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("fingerprints", "json", '{"place": "loc'), ("fingerprints", "json", "[1]"), ("campaigns", "plan", "{"),
        ("fingerprints", "json", '{"hardware":{},"options":{},"place":"other","runtime":{}}'),
        ("calibrations", "json", "{1"), ("calibrations", "json", '{"beta":1.0}'),
        ("measurements", "space", "darts:layers=1"),
        ("fingerprints", "json", b"\xd6\xff"), ("campaigns", "space", b"\xd6\xff"),
    ],
)  # fmt: skip
def test_a_damaged_text_is_refused_wherever_it_stands(tmp_path, fingerprint, table, column, value):
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = keep(store, fingerprint, make("1", [1.0] * 6, fingerprint))
        store.add_calibration(campaign, calibrate({}, "cpu"))
    with closing(sqlite3.connect(tmp_path / "s.db")) as raw:
        text = f"CAST(x'{value.hex()}' AS TEXT)" if isinstance(value, bytes) else "?"
        raw.execute(f"UPDATE {table} SET {column} = {text}", () if isinstance(value, bytes) else (value,))
        raw.commit()

    def read(store):
        return store.fingerprints(), store.campaigns(), store.calibrations(fingerprint.id), list(store.measurements())

    with Store(tmp_path / "s.db") as store, pytest.raises((InputRefusedError, StoreError)):
        read(store)


def test_a_row_that_is_not_itself_is_refused(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        keep(store, fingerprint, make("1", [1.0] * 6, fingerprint))
    raw = sqlite3.connect(tmp_path / "s.db")
    raw.execute("UPDATE measurements SET key = '2'")
    raw.commit()
    raw.close()
    with Store(tmp_path / "s.db") as store, pytest.raises(InputRefusedError, match="does not name itself"):
        list(store.measurements())


def in_child(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


HOLD = """
    import sys, time
    from tempograd.data.store import Store
    store = Store(sys.argv[1], write=True)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.fault(26)
def test_the_second_writer_is_told_who_holds_it_and_a_dead_one_holds_nothing(tmp_path, fingerprint):
    with in_child(HOLD, tmp_path / "s.db") as child:
        try:
            assert child.stdout.readline() == "held\n"
            message = f"held by process {child.pid} on {os.uname().nodename} since 20"
            with pytest.raises(StoreError, match=message):
                Store(tmp_path / "s.db", write=True)
            with Store(tmp_path / "s.db") as reader:
                assert reader.campaigns() == []
        finally:
            os.kill(child.pid, signal.SIGKILL)
    with Store(tmp_path / "s.db", write=True) as store:
        keep(store, fingerprint, make("1", [1.0] * 6, fingerprint))


@pytest.mark.fault(26)
def test_links_to_one_file_are_one_store(tmp_path, fingerprint):
    (tmp_path / "disk").mkdir()
    for name in ("a.db", "b.db"):
        (tmp_path / name).symlink_to("disk/s.db")
    with Store(tmp_path / "a.db", write=True) as store:
        keep(store, fingerprint, make("1", [1.0] * 6, fingerprint))
        for other in ("b.db", "disk/s.db"):
            with pytest.raises(StoreError, match="held by process"):
                Store(tmp_path / other, write=True)
    with Store(tmp_path / "b.db") as reader:
        assert [m.key for m in reader.measurements()] == ["1"]
    assert (tmp_path / "a.db").is_symlink()


def test_a_file_of_two_names_is_not_written(tmp_path, fingerprint):
    with Store(tmp_path / "a.db", write=True) as store:
        keep(store, fingerprint, make("1", [1.0] * 6, fingerprint))
    (tmp_path / "b.db").hardlink_to(tmp_path / "a.db")
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(StoreError, match="2 names"):
        Store(tmp_path / "b.db", write=True)
    assert (tmp_path / "a.db").read_bytes() == before
    with Store(tmp_path / "b.db") as reader:
        assert [m.key for m in reader.measurements()] == ["1"]


def test_a_copy_of_a_closed_store_is_whole_while_another_reads(tmp_path, fingerprint):
    path = tmp_path / "s.db"
    with Store(path, write=True) as store, Store(path) as reader:
        keep(store, fingerprint, make("1", [1.0] * 6, fingerprint))
        assert reader.counts() == {"ok": 1}
        store.close()
        (tmp_path / "copy.db").write_bytes(path.read_bytes())
    with Store(tmp_path / "copy.db") as copy:
        assert [m.key for m in copy.measurements()] == ["1"]


FILL = """
    import json, random, resource, sys
    from dataclasses import replace
    from tempograd.data.measurement_json import unpack
    from tempograd.data.store import Store
    from tempograd.measurement.fingerprint import Fingerprint
    from tempograd.errors import StoreError
    fingerprint, row = Fingerprint("x"), unpack(bytes.fromhex(sys.argv[2]))
    with Store(sys.argv[1], write=True) as store:
        campaign = store.begin("s", fingerprint, {}, 0)
        if int(sys.argv[3]):
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
        for n in range(400):
            noise = {"noise": random.Random(n).randbytes(2000).hex()}
            try:
                store.append(campaign, replace(row, key=str(n), environment=noise, fingerprint_id=fingerprint.id))
            except StoreError as error:
                print("refused", error, flush=True)
                break
            print(n, flush=True)
"""


@pytest.mark.slow
@pytest.mark.fault(4)
def test_a_full_disk_loses_nothing_and_the_same_command_goes_on(tmp_path, fingerprint):
    payload = pack(make("x", [1.0] * 6, fingerprint)).hex()
    with in_child(FILL, tmp_path / "s.db", payload, 300_000) as child:
        *acknowledged, last = child.stdout.read().splitlines()
    assert child.returncode == 0
    assert "nothing lost" in last
    assert "refused" in last
    assert len(acknowledged) > 10
    with Store(tmp_path / "s.db", write=True) as store:
        store.check()
        assert {m.key for m in store.measurements()} == set(acknowledged)
        store.append(store.campaigns()[0].id, replace(next(store.measurements()), key="next"))


@pytest.mark.slow
@pytest.mark.fault(1)
def test_acknowledged_rows_outlive_sigkill(tmp_path, fingerprint):
    payload = pack(make("x", [1.0] * 6, fingerprint)).hex()
    for count in (1, 7, 40):
        path = tmp_path / f"{count}.db"
        with in_child(FILL, path, payload, 0) as child:
            acknowledged = [child.stdout.readline().strip() for _ in range(count)]
            os.kill(child.pid, signal.SIGKILL)
            acknowledged += child.stdout.read().splitlines()
        with Store(path, write=True) as store:
            store.check()
            assert {m.key for m in store.measurements()} >= set(acknowledged)


@pytest.mark.slow
@pytest.mark.fault(3)
@pytest.mark.parametrize("write", [False, True])
def test_a_torn_tail_of_the_write_ahead_log_costs_only_what_was_not_acknowledged(tmp_path, fingerprint, write):
    rows = [make(str(n), [1.0 + n] * 6, fingerprint) for n in range(4)]
    with Store(tmp_path / "s.db", write=True) as store:
        campaign = store.begin(SPACE, fingerprint, {}, 0)
        ends = []
        for row in rows:
            store.append(campaign, row)
            ends.append((tmp_path / "s.db-wal").stat().st_size)
        main, log = ((tmp_path / name).read_bytes() for name in ("s.db", "s.db-wal"))
    for size in range(ends[0], len(log) + 1, 501):
        copy = tmp_path / f"{size}"
        copy.mkdir()
        (copy / "s.db").write_bytes(main)
        (copy / "s.db-wal").write_bytes(log[:size])
        with Store(copy / "s.db", write=write) as store:
            found = list(store.measurements())
        assert found == rows[: len(found)]
        assert len(found) >= sum(end <= size for end in ends)


@pytest.mark.fault(5)
def test_a_failing_disk_stops_the_store_at_once(tmp_path, fingerprint):
    class Broken:
        def execute(self, query, *_):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = 1034  # SQLITE_IOERR_FSYNC
            raise error

        def close(self):
            closed.append(True)

    closed = []
    store = Store(tmp_path / "s.db", write=True)
    real, store._database._connection = store._database._connection, Broken()
    with pytest.raises(StoreError, match=r"I/O error at .*nothing lost"):
        store.begin("s", fingerprint, {}, 0)
    assert closed  # this descriptor is never synced again
    store._database._connection = real
    store.close()


def test_limits_are_those_of_the_child_only():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_plans_are_kept_as_json(tmp_path, fingerprint):
    with Store(tmp_path / "s.db", write=True) as store:
        store.begin("s", fingerprint, {"checks": [8, 11]}, 0)
        assert json.loads(json.dumps(store.campaigns()[0].plan)) == {"checks": [8, 11]}


@pytest.mark.parametrize("write", [False, True])
def test_what_is_no_regular_file_is_refused(tmp_path, write):
    """Of an empty path, which is the folder here, and of a pipe, which would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("", tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(UsageError, match="no regular file; allowed: a file such as"):
            Store(path, write=write)
