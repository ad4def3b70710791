"""Which images are kept as pictures."""

import pytest

from mmseg_deeplab_study.runs.snapshots import choose_images


def test_choose_images():
    paths = [f'/data/{name}.png' for name in 'abcdefghi']
    # evenly spaced over 0..8, both ends included
    assert choose_images(paths, 3) == ['/data/a.png', '/data/e.png', '/data/i.png']
    # 0, 8/3, 16/3, 8 rounded: 0, 3, 5, 8
    assert choose_images(paths, 4) == ['/data/a.png', '/data/d.png', '/data/f.png', '/data/i.png']
    assert choose_images(paths, 1) == ['/data/a.png']
    assert choose_images(paths, 0) == []
    assert choose_images(paths, 20) == paths
    assert choose_images(paths, ['c', 'a']) == ['/data/c.png', '/data/a.png']
    assert choose_images([], 4) == []


def test_images_that_cannot_be_told_by_name():
    paths = ['/data/day/a.png', '/data/night/a.png', '/data/night/b.png']
    with pytest.raises(ValueError, match=r"snapshots: 'a' is the name of several of the images"):
        choose_images(paths, 3)
    assert choose_images(paths, ['b']) == ['/data/night/b.png']
    message = r"no validation image is called 'z'; there are 2, first \['a', 'b'\]"
    with pytest.raises(ValueError, match=message):
        choose_images(['a.png', 'b.png'], ['a', 'z'])
