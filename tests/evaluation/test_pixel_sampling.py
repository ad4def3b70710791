"""Which pixels are drawn: worked by hand, and counted."""

import numpy as np
import pytest

from mmseg_deeplab_study.evaluation.pixel_sampling import labels_at, sample_pixels

# Class 0: 6 pixels, class 1: 3, class 3: 1, ignored: 2.
MAPS = [np.array([[0, 0, 1], [255, 3, 0]], np.uint8), np.array([[1, 0], [0, 255], [1, 0]], np.uint8)]


def test_a_cell_has_the_label_at_its_centre():
    # 4 rows to 2: floor(0.5 * 2) = 1 and floor(1.5 * 2) = 3. 5 columns to 3: 0.83, 2.5 and 4.17.
    label_map = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert labels_at(label_map, (2, 3)).tolist() == [[5, 7, 9], [15, 17, 19]]
    assert labels_at(label_map, (4, 5)).tolist() == label_map.tolist()
    assert labels_at(np.array([[1, 2]]), (2, 4)).tolist() == [[1, 1, 2, 2]] * 2


def test_all_labelled_pixels_in_order():
    sample = sample_pixels(MAPS, 100, 4)
    assert sample.images.tolist() == [0] * 5 + [1] * 5
    assert sample.rows.tolist() == [0, 0, 0, 1, 1, 0, 0, 1, 2, 2]
    assert sample.columns.tolist() == [0, 1, 2, 1, 2, 0, 1, 0, 0, 1]
    assert sample.labels.tolist() == [0, 0, 1, 3, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize('balanced', [False, True])
def test_drawn_once_from_where_it_says(balanced):
    sample = sample_pixels(MAPS, 6, 4, balanced, seed=3)
    places = list(zip(sample.images, sample.rows, sample.columns, strict=True))
    assert places == sorted(set(places))
    assert [MAPS[i][row, column] for i, row, column in places] == sample.labels.tolist()
    again, other = (sample_pixels(MAPS, 6, 4, balanced, seed=seed) for seed in (3, 4))
    assert all(np.array_equal(*pair) for pair in zip(sample, again, strict=True))
    assert not np.array_equal(np.stack(sample), np.stack(other))


def test_equal_numbers_of_each_class_and_all_of_a_rare_one():
    # 7 pixels // 3 classes = 2, and of class 3 the only one.
    assert np.bincount(sample_pixels(MAPS, 7, 4, balanced=True).labels).tolist() == [2, 2, 0, 1]
    # 12 // 3 = 4: of class 1 all 3.
    assert np.bincount(sample_pixels(MAPS, 12, 4, balanced=True).labels).tolist() == [4, 3, 0, 1]


def test_as_they_come_by_their_shares():
    label_map = np.repeat(np.uint8([0, 1]), [9000, 1000]).reshape(100, 100)
    counts = np.bincount(sample_pixels([label_map], 1000, 2).labels)
    # Hypergeometric: 900 with a standard deviation of sqrt(1000 * 0.9 * 0.1 * 0.9) = 9.
    assert counts.sum() == 1000 and abs(counts[0] - 900) < 36


@pytest.mark.parametrize(
    ('maps', 'options', 'message'),
    [
        ([], {}, 'no labelled pixel in 0 label maps; check ignore_index=255'),
        ([MAPS[0][:, :0]], {}, 'no labelled pixel in 1 label maps'),
        ([np.full((2, 2), 255)], {}, 'no labelled pixel in 1 label maps'),
        (MAPS, dict(num_classes=3), r'label map 0 ids must be in \[0, 2\] or 255, but got 0 to 3'),
        ([MAPS[0], -MAPS[1].astype(int)], {}, 'label map 1 has ids from -255 to 0; expected 8-bit labels'),
        ([MAPS[0].astype(float)], {}, r'label map 0 is float64 \(2, 3\); expected integers \(h, w\)'),
        ([MAPS[0][0]], {}, r'label map 0 is uint8 \(3,\); expected integers \(h, w\)'),
        (MAPS, dict(count=0), 'count=0; expected at least 1: a pixel'),
        (
            MAPS,
            dict(count=2, balanced=True),
            'count=2; expected at least 3: a pixel, or one of each class if',
        ),
        (MAPS, dict(ignore_index=-1), 'ignore_index must be in'),
    ],
)
def test_errors(maps, options, message):
    with pytest.raises(ValueError, match=message):
        sample_pixels(maps, **{'count': 5, 'num_classes': 4, **options})


@pytest.mark.parametrize(('shape', 'size'), [((2, 2, 3), (1, 1)), ((0, 2), (1, 1)), ((2, 2), (0, 1))])
def test_errors_of_a_size(shape, size):
    with pytest.raises(ValueError, match=r'cannot take labels of shape .* expected \(H, W\) and \(h, w\)'):
        labels_at(np.zeros(shape), size)
