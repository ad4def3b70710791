"""Choosing probe images, by hand where it is small enough."""

from fractions import Fraction

import numpy as np
import pytest

from mmseg_deeplab_study.datasets.probe import choose_probe


def random_pixels(images: int, classes: int, seed: int) -> np.ndarray:
    """Few classes per image, so that a cover takes several."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 1000, (images, classes)) * (rng.random((images, classes)) < 0.15)


def distance(pixels, chosen) -> Fraction:
    """L1 distance of class frequencies between a choice and the set, exact."""

    def frequencies(rows):
        sums = [sum(int(row[c]) for row in rows) for c in range(len(pixels[0]))]
        return [Fraction(s, max(sum(sums), 1)) for s in sums]

    mine, all_ = frequencies([pixels[i] for i in chosen]), frequencies(pixels)
    return sum((abs(a - b) for a, b in zip(mine, all_, strict=True)), Fraction(0))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    ('pixels', 'chosen'),
    [
        (
            [
                [9, 9, 0, 0, 0],
                [1, 1, 1, 0, 0],  # first: three classes, however few their pixels
                [0, 0, 9, 9, 0],  # second: one new class
                [0, 0, 0, 9, 0],  # one new class too, but a higher index
                [0, 0, 0, 0, 1],  # third
            ],
            [[1, 2, 4]],
        ),
        # Image 0 shows 0, 1, 2. Image 1 has three classes but one new, image 2 has two and both are new.
        ([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 1, 1]], [[0, 2]]),
        # Totals 250, 150: frequencies 0.625, 0.375. The cover is image 0. With it
        #   image 1: 140/200, 60/200 = 0.7, 0.3     distance 0.15
        #   image 2:  60/200, 140/200               distance 0.65
        #   image 3: 150/200, 50/200 = 0.75, 0.25   distance 0.25
        # Then image 2: 150/300, 150/300, distance 0.25; image 3: 240/300, 60/300 = 0.8, 0.2, distance 0.35.
        ([[50, 50], [90, 10], [10, 90], [100, 0]], [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]),
        # Frequencies of pixels, not of images: totals 1001, 8, so 0.992, 0.008. With the cover, image 0:
        # image 1 gives 1001/1002, 1/1002, image 2 gives 1/5, 4/5, image 3 gives 1/6, 5/6.
        ([[1, 1], [1000, 0], [0, 3], [0, 4]], [[0, 1]]),
        # Ties go to the lower index.
        ([[5, 5]] * 6, [[0, 1, 2]]),
        ([[0, 1], [1, 0], [0, 1], [1, 0]], [[0, 1, 2]]),
        # Class 2 is nowhere and need not be shown; image 0 shows nothing and changes nothing.
        ([[0, 0, 0], [0, 4, 0], [4, 0, 0]], [[1, 2], [0, 1, 2]]),
        ([[0, 0]] * 3, [[0, 1]]),
    ],
)
def test_by_hand(pixels, chosen):
    for expected in chosen:
        assert choose_probe(np.array(pixels), len(expected)) == expected


@pytest.mark.parametrize('seed', range(5))
def test_each_step_is_the_best_one(seed):
    pixels = random_pixels(30, 12, seed)
    for images in range(14, 22):
        before, after = choose_probe(pixels, images), choose_probe(pixels, images + 1)
        (added,) = set(after) - set(before)
        assert len(after) == len(before) + 1
        rest = [i for i in range(30) if i not in before]
        assert added == min(rest, key=lambda i: (distance(pixels, [*before, i]), i))


@pytest.mark.parametrize('seed', range(5))
def test_every_class_is_shown_and_indices_ascend(seed):
    pixels = random_pixels(60, 19, seed)
    before = pixels.copy()
    chosen = choose_probe(pixels, 20)
    assert len(chosen) == 20 and chosen == sorted(set(chosen))
    assert all(type(i) is int and 0 <= i < 60 for i in chosen)
    assert np.array_equal(pixels[chosen].any(axis=0), pixels.any(axis=0))
    assert chosen == choose_probe(pixels, 20)
    assert np.array_equal(pixels, before)


def test_too_few_images_for_the_cover():
    pixels = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    message = (
        r'^a probe of 1 images does not show every class: classes \[2, 4\] are missing, '
        'and with them it takes 3 images$'
    )
    with pytest.raises(ValueError, match=message):
        choose_probe(pixels, 1)
    with pytest.raises(ValueError, match=r'of 2 images .* classes \[4\] are missing, .* takes 3 images'):
        choose_probe(pixels, 2)
    assert choose_probe(pixels, 3) == [0, 1, 2]


@pytest.mark.parametrize('images', [-1, 0, 4])
def test_arguments_out_of_range(images):
    with pytest.raises(ValueError, match=f'a probe of {images} images cannot be chosen from 3'):
        choose_probe(np.ones((3, 2), int), images)
    with pytest.raises(ValueError, match=r'pixels must be \(images, classes\), but got shape \(3,\)'):
        choose_probe(np.ones(3, int), images)
