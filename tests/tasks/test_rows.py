"""Rows of a batch for several processes: together they are the batch, each reads its own only, shares stay equal."""

import numpy as np
import pytest
import torch

from tempograd.tasks import pictures
from tempograd.tasks.load import load_task
from tempograd.tasks.rows import Turn, ordered, own_rows

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two hundred images of one grey each, told apart by it, of which one is broken."""
    path = tmp_path_factory.mktemp("rows")
    for i in range(200):
        (path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path / "ab"[i % 2] / f"{i:03}.png")
    (path / "a" / "002.png").write_bytes(b"broken")
    return path


@pytest.fixture
def parts(folder, monkeypatch):
    monkeypatch.setattr(pictures, "MEMORY_BYTES", 0)
    streamed = load_task(f"imagefolder:{folder}")
    return [load_task("digits,limit=200").weights, streamed.weights, streamed.law, streamed.test]


def batches(part, **kwargs):
    return list(part.batches(12, torch.Generator().manual_seed(0), augment=True, **kwargs))


@pytest.mark.parametrize("pieces", [1, 2])
def test_rows_of_all_processes_are_the_batch_and_a_process_alone_has_all(parts, pieces):
    for part in parts:
        assert own_rows(part, Turn(0, 1)) is part
        whole = batches(part, start=1)
        shares = [batches(own_rows(part, Turn(number, 2, pieces)), start=1) for number in range(2)]
        assert len(whole) == len(shares[0]) == part.steps(12) - 1
        for (inputs, targets), *own in zip(whole, *shares, strict=True):
            rows = torch.cat([Turn(number, 2, pieces).rows(12) for number in range(2)])
            assert [len(found) for _, found in own] == [6, 6]
            assert torch.equal(torch.cat([x for x, _ in own]), inputs[rows])
            assert torch.equal(torch.cat([y for _, y in own]), targets[rows])


def test_each_piece_of_a_batch_is_shared_so_that_pieces_are_those_of_one_process():
    assert Turn(1, 2, pieces=2).rows(12).tolist() == [3, 4, 5, 9, 10, 11]
    assert Turn(0, 3, pieces=2).rows(7).tolist() == [0, 4]  # of a last batch what has no equal shares is left out


@pytest.mark.parametrize("turn", [Turn(0, 1), Turn(1, 2)])
def test_images_travel_as_bytes_and_are_made_ready_on_the_device_that_computes(parts, monkeypatch, turn):
    for part in parts:
        seen, ready = list[tuple[str, torch.dtype]](), type(part).ready
        monkeypatch.setattr(
            type(part),
            "ready",
            lambda self, found, seen=seen, ready=ready: (
                seen.append((found[0].device.type, found[0].dtype)),
                ready(self, found),
            )[1],
        )
        placed = own_rows(part, turn, "meta")
        found = [*batches(placed), *placed.ordered(20)]
        assert set(seen) == {("meta", torch.uint8)}
        assert {(x.device.type, x.dtype) for x, _ in found} == {("meta", torch.float32)}
        assert torch.equal(found[0][1], batches(own_rows(part, turn))[0][1])  # targets stay where they are
        assert placed.take(torch.arange(2))[0].device.type == "meta"
        monkeypatch.undo()


def test_parts_of_a_users_own_are_cut_and_moved_as_they_are_given():
    class Plain:
        def batches(self, batch, generator, *, augment=False, start=0):
            yield from [(torch.arange(8.0), torch.arange(8))]

        def ordered(self, batch):
            yield torch.zeros(2), torch.zeros(2)

    ((inputs, targets),) = own_rows(Plain(), Turn(1, 2)).batches(8, torch.Generator())
    assert inputs.tolist() == targets.tolist() == [4, 5, 6, 7]
    ((inputs, _),) = ordered(Plain(), 2, "meta")
    assert inputs.device.type == "meta"


def test_a_process_reads_its_own_rows_and_no_others(parts, monkeypatch):
    part, read = parts[1], list[int]()
    one = pictures.Decoder.one
    monkeypatch.setattr(pictures.Decoder, "one", lambda self, source, i: (read.append(i), one(self, source, i))[1])
    for number in range(2):
        batches(own_rows(part, Turn(number, 2)))
    assert len(read) < 2 * (len(part) // 12 * 6) + 4  # one that is broken is asked again, and stood in for
    assert len(set(read)) >= len(part) // 12 * 12 - 1


def test_one_that_cannot_be_read_is_stood_in_for_with_its_own_label(parts):
    for part in parts[1:]:
        for inputs, labels in part.batches(12, torch.Generator().manual_seed(1)):
            assert len(inputs) == 12
            greys = (inputs * part.std[:, None, None] + part.mean[:, None, None])[:, 0, 0, 0] * 255
            assert (greys.round().long() % 2).tolist() == labels.tolist()
    assert [name[-7:] for name in parts[1].decoder.broken.places] == ["002.png"]
