"""Samplers, augmentation and normalisation."""

from itertools import islice

import pytest
import torch

from kdbench.data import Sampler, augment, normalise, pixel_range


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(sampler: Sampler, batches: int) -> list[list[int]]:
    return [batch.tolist() for batch in islice(sampler, batches)]


def test_a_pass_shows_every_sample_once_and_the_next_in_another_order():
    batches = draw(Sampler(12, 4, generator()), 6)
    first, second = sum(batches[:3], []), sum(batches[3:], [])
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_batches_straddle_passes_and_keep_their_size():
    flat = sum(draw(Sampler(10, 4, generator()), 5), [])
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert {len(batch) for batch in draw(Sampler(10, 4, generator()), 9)} == {4}
    assert {len(batch) for batch in draw(Sampler(3, 100, generator()), 9)} == {3}


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0, 2, 3, 1, 1, 1, 0, 1, 1])])
@pytest.mark.parametrize("done", [0, 1, 2, 5, 7, 23])
def test_skipping_resumes_exactly(weights, done):
    whole = draw(Sampler(10, 4, generator(), weights), 30)
    resumed = Sampler(10, 4, generator(), weights)
    resumed.skip(done)
    assert draw(resumed, 30 - done) == whole[done:]
    assert resumed.updates == 30


def test_skipping_in_the_middle():
    whole = draw(Sampler(10, 3, generator()), 12)
    sampler = Sampler(10, 3, generator())
    assert draw(sampler, 2) == whole[:2]
    sampler.skip(3)
    assert draw(sampler, 7) == whole[5:]


def test_weights_are_frequencies():
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0, 4.0])
    drawn = torch.tensor(draw(Sampler(5, 5, generator(), weights), 4000)).flatten()
    shares = torch.bincount(drawn, minlength=5) / 20000
    assert shares[0] == shares[3] == 0
    # The standard deviation of a share is below 0.0036: five of them.
    assert torch.allclose(shares, weights / 8, atol=0.018)


@pytest.mark.parametrize(
    "weights",
    [
        torch.tensor([1.0, -1.0, 1.0]),
        torch.zeros(3),
        torch.ones(4),
        torch.tensor([1.0, float("nan"), 1.0]),
        torch.tensor([1.0, float("inf"), 1.0]),
    ],
)
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        Sampler(3, 2, generator(), weights)


@pytest.mark.parametrize(("n", "batch_size"), [(0, 2), (5, 0), (-1, 2)])
def test_nothing_to_sample_is_refused(n, batch_size):
    with pytest.raises(ValueError, match="at least 1"):
        Sampler(n, batch_size, generator())


IMAGES = (
    torch.arange(1, 5 * 3 * 9 * 7 + 1).remainder(251).add(1).to(torch.uint8).view(5, 3, 9, 7)
)  # none is black


def moved_by(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """The image rolled down and right, what came round blackened."""
    moved = image.roll((down, right), (1, 2))
    moved[:, : max(down, 0)] = 0
    moved[:, :, : max(right, 0)] = 0
    if down < 0:
        moved[:, down:] = 0
    if right < 0:
        moved[:, :, right:] = 0
    return moved


def places(augmented: torch.Tensor, image: torch.Tensor, most: int) -> list[tuple[int, int]]:
    around = range(-most, most + 1)
    return [(d, r) for d in around for r in around if torch.equal(augmented, moved_by(image, d, r))]


@pytest.mark.parametrize("shift", [1, 2])
def test_shift_moves_each_image_by_whole_pixels(shift):
    seen = set()
    for seed in range(30):
        for image, result in zip(IMAGES, augment(IMAGES, "shift", shift, generator(seed)), strict=True):
            found = places(result, image, shift)
            assert len(found) == 1
            seen.update(found)
    assert len(seen) == (2 * shift + 1) ** 2


def test_crop_moves_by_an_eighth_of_the_side():
    images = torch.randint(1, 256, (200, 1, 32, 32), generator=generator(), dtype=torch.uint8)
    seen = {
        places(r, i, 5)[0]
        for i, r in zip(images[:40], augment(images, "crop", 9, generator())[:40], strict=True)
    }
    assert {abs(step) for place in seen for step in place} == {0, 1, 2, 3, 4}


def test_crop_flip_mirrors_every_other_image():
    images = torch.randint(1, 256, (200, 2, 8, 8), generator=generator(), dtype=torch.uint8)
    mirrored = 0
    for image, result in zip(images, augment(images, "crop-flip", 0, generator(1)), strict=True):
        straight, turned = places(result, image, 1), places(result, image.flip(-1), 1)
        assert len(straight) + len(turned) == 1
        mirrored += len(turned)
    assert 65 < mirrored < 135  # five standard deviations of a fair coin


def test_augmentation_is_its_generators():
    for kind in ("shift", "crop", "crop-flip"):
        first, same = (augment(IMAGES, kind, 1, generator(4)) for _ in range(2))
        assert torch.equal(first, same)
        assert first.dtype == torch.uint8 and first.shape == IMAGES.shape
        assert not torch.equal(first, augment(IMAGES, kind, 1, generator(5)))
    assert augment(IMAGES, "none", 1, generator()) is IMAGES


def test_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match="'auto'"):
        augment(IMAGES, "auto", 1, generator())


@pytest.mark.parametrize("as_tensor", [False, True])
def test_normalise_by_hand(as_tensor):
    mean, std = (0.5, 0.25, 0.0), (0.5, 0.1, 2.0)
    given = (torch.tensor(mean), torch.tensor(std)) if as_tensor else (mean, std)
    normalised = normalise(IMAGES, *given)
    for channel in range(3):
        expected = (IMAGES[:, channel].double() / 255 - mean[channel]) / std[channel]
        assert torch.allclose(normalised[:, channel].double(), expected, atol=1e-5)
    black, white = (
        torch.zeros(1, 3, 2, 2, dtype=torch.uint8),
        torch.full((1, 3, 2, 2), 255, dtype=torch.uint8),
    )
    low, high = pixel_range(*given)
    assert low.shape == high.shape == (1, 3, 1, 1)
    assert torch.allclose(normalise(black, *given), low.expand(1, 3, 2, 2), atol=1e-5)
    assert torch.allclose(normalise(white, *given), high.expand(1, 3, 2, 2), atol=1e-5)
