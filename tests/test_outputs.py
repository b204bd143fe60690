"""No verb removes or replaces a file that it did not write itself: every place of output, every kind of such a file."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tempograd import outputs
from tempograd.data.store import Store
from tempograd.errors import StoreError, TempogradError, UsageError
from tempograd.farm.agent.command import agent as run_agent
from tempograd.farm.agent.command import run as agent_command
from tempograd.farm.agent.command import settings_of
from tempograd.verbs.collect import collect
from tempograd.verbs.export import export
from tempograd.verbs.farm import init
from tempograd.verbs.fit import fit
from tempograd.verbs.outcome import exact, target_folder
from tempograd.verbs.quickstart import quickstart
from tempograd.verbs.report import report
from tempograd.verbs.search import search

SPACE = "nasbench201:cells=1,width=4,size=8,channels=1"
DEVICE = "simulated:seed=1,slow=1.0"
RESULT = ("result.json", "architecture.json", "network.onnx", "weights.safetensors")


def searched(out, **given):
    """A search that would need a predictor: whatever refuses it comes before that is looked for."""
    return search(SPACE, Path("absent"), out, target_ms=1.0, device=DEVICE, task="synthetic", **given)


# Where each verb writes, under the folder given: the call, and its files. Inputs are absent: refusals come before.
PLACES = {
    "fit": (lambda out: fit(Path("absent.db"), out), ("predictor.json", "README.md")),
    "search": (searched, (*RESULT, "search.safetensors", "cost.json", "supernet.safetensors")),
    "search of several targets": (
        lambda out: search(
            SPACE, Path("absent"), out, target_ms=[1.0, 2.0], device=DEVICE, task="synthetic", method="la_darts"
        ),
        ("1-ms/result.json",),
    ),
    "search on a table": (
        lambda out: search(
            SPACE, None, out, target_ms=1.0, task="table:a.csv:a", latency="table:a.csv:a", method="random_search"
        ),
        ("result.json", "architecture.json"),
    ),
    "search --supernet": (
        lambda out: searched(out / "result", method="ofa", supernet=out / "net.safetensors"),
        ("net.safetensors",),
    ),
    "report": (lambda out: report(Path("absent"), out / "report.html"), ("report.html",)),
    "collect --plot": (
        lambda out: collect(SPACE, out / "new" / "run.db", device=DEVICE, plot=out / "drift.svg"),
        ("drift.svg",),
    ),
    "quickstart": (
        lambda out: quickstart(out, device=DEVICE),
        ("report.html", "predictor/predictor.json", "predictor/README.md", *(f"result/{name}" for name in RESULT)),
    ),
}  # fmt: skip
FILES = [(verb, name) for verb, (_, names) in PLACES.items() for name in names]


def write_store(path):
    Store(path, write=True).close()


def write_tensors(path):
    save_file({"a": np.zeros(3)}, path)


def link_to_text(path):
    path.with_name("thesis.tex").write_text("years of work")
    path.symlink_to("thesis.tex")


def folder_there(path):
    path.mkdir()
    (path / "chapter.tex").write_text("years of work")


KINDS = {
    "store": write_store,
    "text": lambda path: path.write_text("tempograd: years of work with <dc:title>tempograd</dc:title>"),
    "empty": lambda path: path.touch(),
    "json": lambda path: path.write_text('{"schema": 1, "space": "mine", "choices": []}'),
    "page": lambda path: path.write_text("<!doctype html><p>written by tempograd"),
    "tensors": write_tensors,
    "link to a foreign file": link_to_text,
    "folder": folder_there,
    "pipe": lambda path: os.mkfifo(path),
}


def snapshot(folder):
    """Everything below a folder, byte for byte."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = path.readlink() if path.is_symlink() else path.read_bytes() if stat.S_ISREG(mode) else None
        found[path.relative_to(folder)] = (mode, content)
    return found


def refused(verb, folder, code, name):
    """Run a verb that must refuse a place, by its name, and leave everything as it is."""
    before = snapshot(folder)
    with pytest.raises(TempogradError) as caught:
        PLACES[verb][0](folder / "out")
    assert caught.value.exit_code == code, caught.value
    assert name in str(caught.value)
    assert snapshot(folder) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("verb", "name"), FILES)
def test_a_foreign_file_is_refused_by_name_before_any_work(tmp_path, verb, name, kind):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    KINDS[kind](path)
    refused(verb, tmp_path, 7 if kind == "folder" else 2, str(path))


@pytest.mark.parametrize("verb", PLACES)
def test_a_file_where_a_folder_is_wanted_is_refused(tmp_path, verb):
    (tmp_path / "out").write_text("years of work")
    refused(verb, tmp_path, 7, str(tmp_path / "out"))


@pytest.mark.parametrize("verb", PLACES)
def test_a_read_only_folder_is_refused(tmp_path, verb, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "chapter.tex").write_text("years of work")
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root every folder can be written
    refused(verb, tmp_path, 7, str(tmp_path / "out"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", [False, True])
def test_export_writes_into_nothing_that_is_there(tmp_path, kind, inside):
    out = tmp_path / "out"
    if inside:
        out.mkdir()
    KINDS[kind](out / "data.parquet" if inside else out)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        export(Path("absent.db"), out)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", ["text", "json", "page", "tensors", "link to a foreign file", "folder"])
def test_collect_measures_into_nothing_that_is_no_store(tmp_path, kind):
    KINDS[kind](tmp_path / "run.db")
    before = snapshot(tmp_path)
    with pytest.raises(TempogradError) as caught:
        collect(SPACE, tmp_path / "run.db", device=DEVICE, count=1)
    assert caught.value.exit_code in (2, 5)
    left = snapshot(tmp_path)
    assert {path: left.get(path) for path in before} == before


@pytest.mark.parametrize("name", ["run.db.lock", "run.db.holder", "run.db-wal", "run.db-journal"])
def test_what_stands_where_a_new_store_keeps_its_own_is_refused(tmp_path, name):
    (tmp_path / name).write_text("years of work")
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match=name):
        collect(SPACE, tmp_path / "run.db", device=DEVICE, count=1)
    left = snapshot(tmp_path)
    assert left[Path(name)] == before[Path(name)]
    assert not (tmp_path / "run.db").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", [False, True])
def test_a_farm_and_a_spool_want_a_folder_of_their_own(tmp_path, kind, inside):
    out = tmp_path / "out"
    if inside:
        out.mkdir()
    KINDS[kind](out / "models" if inside else out)
    before = snapshot(tmp_path)
    if kind != "folder" or inside:
        with pytest.raises(TempogradError) as caught:
            init(out, plain=True)
        assert caught.value.exit_code in (2, 7)
        settings = settings_of(
            config=None, device_class="c", queue=f"embedded:{tmp_path / 'q.db'}", device=DEVICE, spool=out
        )
        with pytest.raises(TempogradError) as caught:
            run_agent(settings, idle_exit_s=0)
        assert caught.value.exit_code in (2, 7)
    assert snapshot(tmp_path) == before


def test_a_new_key_takes_no_name_that_is_taken(tmp_path):
    (tmp_path / "agent.nk").write_text("years of work")
    before = snapshot(tmp_path)
    assert agent_command(["--new-key", str(tmp_path / "agent.nk")]) == 2
    assert snapshot(tmp_path) == before


# -- the room itself ---------------------------------------------------------------------------------------------

ours = outputs.json_with("made_by")


def document(number):
    return json.dumps({"made_by": "us", "number": number}).encode()


def test_our_own_is_replaced_and_the_rest_stays(tmp_path):
    (tmp_path / "chapter.tex").write_text("years of work")
    for number in range(2):
        outputs.write({tmp_path / "new" / "a.json": document(number), tmp_path / "b.json": document(number)}, ours)
    assert (tmp_path / "new" / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes() == document(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "chapter.tex", "new"]
    assert stat.S_IMODE((tmp_path / "b.json").stat().st_mode) & 0o444 == 0o444 & ~os.umask(os.umask(0o022))


@pytest.mark.parametrize(("names", "told"), [((), False), (("notes.txt", "x"), True), (("notes.txt", "a.db"), False)])
def test_a_folder_that_somebody_else_filled_is_told_of(tmp_path, names, told):
    out = tmp_path / "out"
    assert outputs.foreign(out, ["*.db"]) == ""
    out.mkdir()
    for name in names:
        (out / name).write_text("mine")
    said = outputs.foreign(out, ["*.db"])
    assert ("2 files or folders that tempograd did not write, kept as they are (notes.txt, x)" in said) == told
    (out / "1.5ms").mkdir()
    (out / "1.5ms" / "b.db").write_text("ours")  # several targets have a folder each
    assert outputs.foreign(out, ["*.db"]) == ""


@pytest.mark.parametrize("verb", [fit, search])
def test_what_is_written_beside_foreign_files_is_said_first(tmp_path, verb):
    (tmp_path / "notes.txt").write_text("mine")
    said = []
    asked = {fit: (tmp_path / "no.db", tmp_path), search: (SPACE, tmp_path / "no", tmp_path)}[verb]
    how = {} if verb is fit else {"target_ms": 1.0}
    with pytest.raises(TempogradError):  # there is no store and no predictor
        verb(*asked, **how, progress=lambda *told: said.append(told[0]))
    assert "1 file or folder that tempograd did not write, kept as they are (notes.txt)" in said[0]


def test_a_link_to_our_own_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    outputs.write({tmp_path / "disk" / "a.json": document(0)}, ours)
    (tmp_path / "a.json").symlink_to("disk/a.json")
    outputs.write({tmp_path / "a.json": document(1)}, ours)
    assert (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "disk" / "a.json").read_bytes() == document(1)


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a.json").symlink_to("b.json")
    (tmp_path / "b.json").symlink_to("a.json")
    before = snapshot(tmp_path)
    with pytest.raises(TempogradError):
        outputs.write({tmp_path / "a.json": document(0)}, ours)
    assert snapshot(tmp_path) == before


def test_what_came_meanwhile_is_not_replaced(tmp_path):
    outputs.check([tmp_path / "a.json"], ours)
    (tmp_path / "a.json").write_text("years of work")
    with pytest.raises(UsageError, match=r"a\.json is there already"):
        outputs.write({tmp_path / "a.json": document(0)}, ours)
    assert (tmp_path / "a.json").read_text() == "years of work"


@pytest.mark.fault(4)
def test_a_full_disk_leaves_every_older_file(tmp_path, monkeypatch):
    both = [tmp_path / "a.json", tmp_path / "b.json"]
    outputs.write({path: document(0) for path in both}, ours)
    before, synced = snapshot(tmp_path), []

    def full_at_the_second(_):
        synced.append(1)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(StoreError, match="No space left"):
        outputs.write({path: document(1) for path in both}, ours)
    assert snapshot(tmp_path) == before


def test_a_place_that_no_one_can_write_is_a_store_error():
    with pytest.raises(StoreError, match="/proc/tempograd/a"):
        outputs.write({Path("/proc/tempograd/a.json"): document(0)}, ours)


@pytest.mark.parametrize("first", [0.1, 12.0, 1e-5, 123456.0, 1 / 3])
def test_different_targets_have_different_folders(tmp_path, first):
    near = [first, np.nextafter(first, 1e9), np.nextafter(first, 0), first * 1.000001]
    assert len({target_folder(tmp_path, target_ms) for target_ms in near}) == 4
    assert all(float(exact(target_ms)) == target_ms for target_ms in near)
    assert target_folder(tmp_path, 12.0) == tmp_path / "12-ms"


@pytest.mark.fault(1)
@pytest.mark.promise(1)
@pytest.mark.parametrize("moves", range(4))
def test_a_kill_between_two_files_that_belong_together_leaves_all_of_one_write_or_no_document(
    moves, tmp_path, monkeypatch
):
    paths = [tmp_path / name for name in ("network.onnx", "weights.bin", "result.json")]
    outputs.write(dict.fromkeys(paths, b"old"), lambda path: True, together=True)
    left, move = [moves], Path.replace

    def dying(self, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return move(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with suppress(KeyboardInterrupt):
            outputs.write(dict.fromkeys(paths, b"new"), lambda path: True, together=True)
    assert {path.read_bytes() for path in paths} == {b"new"} if moves == 3 else not paths[-1].exists()
    outputs.write(dict.fromkeys(paths, b"new"), lambda path: True, together=True)
    assert {path.read_bytes() for path in paths} == {b"new"}
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.fault(1)
def test_what_a_killed_writer_left_is_removed_by_the_next_write_to_that_place(tmp_path, monkeypatch):
    path = tmp_path / "predictor.json"
    dying = (
        "import os, signal, sys; from pathlib import Path; from tempograd import outputs\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "outputs.write({Path(sys.argv[1]): b'{}'}, outputs.never)"
    )
    assert subprocess.run([sys.executable, "-c", dying, str(path)], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    kept = [tmp_path / name for name in (".predictor.json.part", ".other.json.0123abcd.part", "predictor.json.part")]
    for each in kept:
        each.write_bytes(b"somebody else's")
    (tmp_path / ".predictor.json.00000000.part").mkdir()
    living, sync = [], os.fsync

    def meanwhile(descriptor):
        sync(descriptor)
        if not living:
            living.extend(tmp_path.glob(".predictor.json.*.part"))
            outputs.write({path: b"another writer's"}, lambda _: True)
            assert all(part.exists() for part in living)

    monkeypatch.setattr(os, "fsync", meanwhile)
    outputs.write({path: b"new"}, lambda _: True)
    assert path.read_bytes() == b"new"
    assert left not in living
    assert len(living) == 2  # the folder, and the part of the writer that was at work
    assert sorted(tmp_path.iterdir()) == sorted([path, *kept, tmp_path / ".predictor.json.00000000.part"])
