"""A pass is shuffled, whole but for what fills no batch, and goes on where it was left, whatever the part holds."""

import numpy as np
import torch

from tempograd.tasks.images import Images
from tempograd.tasks.parts import NumberedPart, in_one, mean_and_deviation, moved, normalised


class Doubled(NumberedPart[torch.Tensor]):
    """Its examples are their own numbers; augmented ones are told what was drawn for them."""

    def __init__(self, n, broken=()):
        self.n, self.broken, self.was_read = n, broken, []

    def __len__(self):
        return self.n

    def read(self, order):
        for index in order:
            kept = torch.tensor([i for i in index.tolist() if i not in self.broken])
            self.was_read += kept.tolist()
            yield kept, 2 * kept

    def drawn(self, count, generator):
        return torch.rand(count, generator=generator)

    def changed(self, example, drawn):
        return drawn[: len(example[0])], example[1]


def seeded():
    return torch.Generator().manual_seed(3)


def test_a_pass_is_shuffled_and_leaves_out_what_fills_no_batch():
    batches = [inputs.tolist() for inputs, _ in Doubled(10).batches(4, seeded())]
    assert [len(batch) for batch in batches] == [4, 4]
    assert len({number for batch in batches for number in batch}) == 8
    (few,) = Doubled(3).batches(4, seeded())
    assert sorted(few[0].tolist()) == [0, 1, 2]


def test_a_pass_goes_on_where_it_was_left_and_reads_nothing_before():
    whole, rest = Doubled(12), Doubled(12)
    left = list(rest.batches(4, seeded(), augment=True, start=2))
    every = list(whole.batches(4, seeded(), augment=True))
    assert len(every) == 3
    assert all(torch.equal(a, b) for a, b in zip(left[0], every[2], strict=True))
    assert rest.was_read == whole.was_read[8:]


def test_the_order_of_their_own_is_whole_and_broken_ones_are_left_out():
    assert [targets.tolist() for _, targets in Doubled(5, broken={1}).ordered(2)] == [[0], [4, 6], [8]]
    assert Doubled(5).take(torch.tensor([4, 0]))[0].tolist() == [4, 0]


def test_images_come_out_with_mean_0_and_deviation_1_and_shifted_with_their_labels():
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), np.uint8)
    mean, std = mean_and_deviation(images)
    ready = normalised(torch.from_numpy(images), mean, std)
    assert ready.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (ready.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3
    part = Images(torch.from_numpy(images), torch.arange(64), mean, std, flip=True)
    shifted, labels = next(part.batches(32, seeded(), augment=True))
    plain, _ = part.take(labels)
    assert shifted.shape == plain.shape
    assert not torch.equal(shifted, plain)


def test_large_images_are_normalised_one_by_one_to_the_same_bits_and_in_one_operation_up_to_rounding():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 80, 64, 3), np.uint8)).permute(0, 3, 1, 2)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    one_by_one = normalised(images, mean, std)
    assert torch.equal(one_by_one, normalised(images.contiguous(), mean, std))
    assert one_by_one.stride() == images.stride()
    fused = in_one(images, mean, std)
    assert fused.dtype == torch.float32
    assert fused.stride() == images.stride()
    assert torch.allclose(fused, one_by_one, atol=1e-5)


def test_an_image_is_moved_on_a_frame_of_zeros_and_mirrored():
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8)
    down, right = torch.tensor([[0]]), torch.tensor([[1]])  # 1 is the middle: a frame of one pixel
    (found,) = moved(image, down, right, None)[0]
    assert found[0].tolist() == [0] * 8
    assert torch.equal(found[1:], image[0, 0, :-1])
    assert torch.equal(moved(image, torch.tensor([[1]]), right, torch.tensor([[True]])), image.flip(-1))
