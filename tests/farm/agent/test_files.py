"""Models and weights on an agent's disk: fetched once, laid out by name, dropped when nobody needs them."""

import os
from dataclasses import replace
from hashlib import sha256

import pytest

from tempograd.farm.agent.files import KEPT_WEIGHTS, Files
from tempograd.farm.messages import Blob

from ..conftest import CONTENT, MODEL
from ..conftest import _job as job


def blob(content):
    digest = sha256(content).hexdigest()
    return Blob(f"weights-{digest[:12]}.bin", digest, len(content))


class Queue:
    """Holds contents; counts what was asked for."""

    def __init__(self, *contents):
        self.contents = {sha256(content).hexdigest(): content for content in contents}
        self.asked = []

    def get_models(self, blobs):
        self.asked += [one.sha256 for one in blobs]
        return {one.sha256: self.contents[one.sha256] for one in blobs if one.sha256 in self.contents}


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "files")


def test_a_file_is_fetched_once_whoever_needs_it(files):
    queue = Queue(CONTENT)
    assert files.fetch(queue, [job("a"), job("b")]) == set()
    assert files.fetch(queue, [job("c")]) == set()
    assert queue.asked == [MODEL.sha256]


def test_what_the_queue_does_not_have_is_told_and_asked_again(files):
    weights = blob(b"w")
    lacking = replace(job("a"), weights=(weights,))
    assert files.fetch(Queue(CONTENT), [lacking]) == {weights.sha256}
    assert files.fetch(Queue(b"w"), [lacking]) == set()


def test_a_job_is_laid_out_under_the_names_that_its_model_knows(files, tmp_path):
    weights = blob(b"w")
    wanted = replace(job("a"), weights=(weights,))
    files.fetch(Queue(CONTENT, b"w"), [wanted])
    folder = tmp_path / "work"
    folder.mkdir()
    path = files.lay_out(wanted, folder)
    assert path.read_bytes() == CONTENT
    assert (folder / weights.name).read_bytes() == b"w"


def test_a_model_goes_when_no_job_needs_it(files, tmp_path):
    files.fetch(Queue(CONTENT), [job("a"), job("b")])
    kept = tmp_path / "files" / "models" / MODEL.sha256
    files.drop([job("a")], still_needed=[job("b")])
    assert kept.exists()
    files.drop([job("b")], still_needed=[])
    assert not kept.exists()
    files.drop([job("b")], still_needed=[])


def test_models_of_an_earlier_life_go_and_what_is_not_ours_stays(tmp_path):
    folder = tmp_path / "files" / "models"
    folder.mkdir(parents=True)
    for name in ("a" * 64, "b" * 64 + ".part", "notes.txt"):
        (folder / name).touch()
    Files(tmp_path / "files")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_the_weights_used_last_are_kept(files, tmp_path):
    contents = [bytes([n]) for n in range(KEPT_WEIGHTS + 2)]
    folder = tmp_path / "files" / "weights"
    for age, content in enumerate(contents):
        files.fetch(Queue(CONTENT, content), [replace(job("a"), weights=(blob(content),))])
        os.utime(folder / blob(content).sha256, (age, age))
    files.fetch(Queue(CONTENT, b"new"), [replace(job("a"), weights=(blob(b"new"),))])
    assert {path.name for path in folder.iterdir()} == {
        blob(content).sha256 for content in [*contents[-KEPT_WEIGHTS + 1 :], b"new"]
    }
