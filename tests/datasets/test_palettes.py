"""Colours of label maps."""

from mmseg.utils import get_palette

from mmseg_deeplab_study.datasets.palettes import colour_table, voc_palette


def test_voc_palette_is_pascal_s():
    assert [list(colour) for colour in voc_palette(21)] == get_palette('voc')
    assert voc_palette(256)[255] == (224, 224, 192)  # the border in VOC's own label maps
    assert len(set(voc_palette(150))) == 150


def test_colour_table():
    table = colour_table([(1, 2, 3), (4, 5, 6)], (7, 8, 9))
    assert table.tolist() == [[1, 2, 3], [4, 5, 6], *[[7, 8, 9]] * 254]
    assert table.dtype == 'uint8'
