"""Colours mixed by hand, shares counted by hand, and legends that stay where they are."""

import numpy as np
import pytest

from mmseg_deeplab_study.datasets.palettes import UNLABELLED
from mmseg_deeplab_study.inference import overlay
from mmseg_deeplab_study.inference.overlay import PAPER, Entry, paint, with_legend

PALETTE = [(200, 0, 0), (0, 100, 0), (0, 0, 40)]
CLASSES = ['road', 'car', 'sky']


def test_paint_by_hand():
    image = np.full((1, 3, 3), 100, np.uint8)
    painted = paint(image, np.array([[0, 1, 7]], np.uint8), PALETTE, 0.25)
    # a quarter of the colour, three quarters of 100; id 7 is no class
    grey = round(0.25 * UNLABELLED[0] + 75)
    assert painted.tolist() == [[[125, 75, 75], [75, 100, 75], [grey] * 3]]
    assert np.array_equal(paint(image, np.zeros((1, 3), int), PALETTE, 0), image)
    assert paint(image, np.zeros((1, 3), int), PALETTE, 1)[0, 0].tolist() == [200, 0, 0]


def test_sizes_must_be_equal():
    with pytest.raises(ValueError, match=r'an image of \(2, 3\) pixels cannot take labels of \(3, 2\)'):
        paint(np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2), int), PALETTE, 0.5)


def test_shares_and_order():
    entries = overlay.legend_entries(np.array([[1, 1, 1, 0], [1, 1, 1, 255]], np.uint8), CLASSES, PALETTE)
    # of 8 pixels: 1 road, 6 cars, and one without a class
    assert entries == [Entry(*entry) for entry in zip(CLASSES, PALETTE, (0.125, 0.75, 0.0), strict=True)]
    assert [entry.name for entry in overlay.largest_first(entries)] == ['car', 'road']


def test_legend_is_below_and_shows_the_colours():
    image = np.full((90, 400, 3), 7, np.uint8)
    picture = with_legend(image, [Entry(name, c, 0.5) for name, c in zip(CLASSES, PALETTE, strict=True)])
    assert np.array_equal(picture[:90], image)
    assert picture.shape[1] == 400 and picture.shape[0] > 90
    assert {*PALETTE, PAPER} <= set(map(tuple, picture[90:].reshape(-1, 3).tolist()))
    assert with_legend(image, []).shape[1] == 400


def test_a_narrow_image_becomes_as_wide_as_a_name():
    image, colour = np.full((40, 8, 3), 7, np.uint8), (250, 170, 30)
    picture = with_legend(image, [Entry('traffic light', colour, 1.0)])
    assert np.array_equal(picture[:40, :8], image)
    assert picture.shape[1] > 8 and (picture[:40, 8:] == PAPER).all()
    # one below the other: three lines are higher than one
    assert len(with_legend(image, [Entry(name, colour, 0.3) for name in CLASSES])) > len(picture)


def test_the_legend_of_a_video_stays_in_its_place():
    image = np.full((120, 300, 3), 7, np.uint8)

    def picture(*shares: float) -> np.ndarray:
        return with_legend(image, [Entry(*e) for e in zip(CLASSES, PALETTE, shares, strict=True)])

    first, second = picture(1, 0, 0), picture(0.01, 0.0001, 0.9899)
    assert first.shape == second.shape
    for colour in PALETTE:
        # Where the frame's darkest colours are text, too, only the swatches are filled with a class's own.
        assert np.array_equal((first == colour).all(-1), (second == colour).all(-1))
        assert (first == colour).all(-1).sum() > 50
    assert not np.array_equal(first, second)


def test_large_images_have_larger_legends():
    entries, heights = [Entry('car', (0, 0, 142), 1.0)], []
    for side in (300, 2160):
        heights.append(len(with_legend(np.zeros((side, 2 * side, 3), np.uint8), entries)) - side)
    assert heights[1] > 3 * heights[0]
