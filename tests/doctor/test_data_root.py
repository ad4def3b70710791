"""Data roots: real ones, and ones with a fault made on purpose."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab_study.doctor.data_root import check_data_root
from mmseg_deeplab_study.doctor.findings import Finding


def texts(found: list[Finding], level: str) -> list[str]:
    return [finding.text for finding in found if finding.level == level]


def label_of(root: Path, split: str = 'val', number: int = 0) -> Path:
    return root / f'gtFine/{split}/tiny/tiny_{number:06d}_gtFine_labelTrainIds.png'


def write_ids(path: Path, *ids: int) -> None:
    Image.fromarray(np.resize(np.array(ids, np.uint8), (64, 64))).save(path)


def test_camvid(shared):
    root = shared / 'data/camvid_cityscapes'
    assert list(check_data_root(root)) == [
        Finding('ok', 'data', f'{root}: the layout of Cityscapes'),
        Finding('ok', 'data', 'train: 92 images, 92 label maps'),
        Finding('ok', 'data', 'train: all ids in 0 to 18 and 255'),
        Finding('ok', 'data', 'val: 26 images, 26 label maps'),
        Finding('ok', 'data', 'val: all ids in 0 to 18 and 255'),
    ]


@pytest.mark.parametrize('folder', ['VOCdevkit', 'VOCdevkit/VOC2012', '.'])
def test_pascal_voc_from_any_of_its_folders(shared, folder):
    found = list(check_data_root(shared / 'data/voc_samples' / folder))
    assert texts(found, 'ok')[1:] == ['val: 3 images, 3 label maps', 'val: all ids in 0 to 20 and 255']
    missing = texts(found, 'warning')
    assert 'no images of train' in missing[0] and 'aug.txt' in missing[1] and texts(found, 'error') == []


def test_label_ids_in_place_of_train_ids(shared, tmp_path):
    root = tmp_path / 'sample'
    shutil.copytree(shared / 'data/cityscapes_sample', root)
    [train_ids] = root.rglob('*_labelTrainIds.png')
    # What a real labelIds.png has in it.
    shutil.copy(str(train_ids).replace('labelTrainIds', 'labelIds'), train_ids)
    [finding] = [finding for finding in check_data_root(root) if finding.level == 'error']
    assert 'val: ids [' in finding.text and 'in 1 of 1 label maps, expected 0 to 18 and 255' in finding.text
    assert finding.text.endswith(f'first {train_ids}')
    assert 'these are labelIds' in finding.cure and 'tools/prepare_cityscapes.py' in finding.cure


def test_ids_outside_are_counted_and_the_first_file_is_named(tiny_cityscapes):
    root = tiny_cityscapes()
    write_ids(label_of(root, 'train', 1), 0, 19, 200)
    write_ids(label_of(root, 'train', 3), 18, 255, 200)
    found = list(check_data_root(root))
    [error] = texts(found, 'error')
    assert 'train: ids [19, 200] in 2 of 4 label maps' in error
    assert error.endswith(f'first {label_of(root, "train", 1)}')
    assert 'val: all ids in 0 to 18 and 255' in texts(found, 'ok')


def test_images_without_a_label_map(tiny_cityscapes):
    root = tiny_cityscapes()
    label_of(root).unlink()
    found = list(check_data_root(root))
    assert texts(found, 'error') == [f'val: 1 of 3 images have no label map, first {label_of(root)}']
    assert 'val: 3 images, 2 label maps' in texts(found, 'ok')


def test_a_test_split_needs_no_label_maps(tiny_cityscapes):
    root = tiny_cityscapes()
    shutil.copytree(root / 'leftImg8bit/val', root / 'leftImg8bit/test')
    found = list(check_data_root(root))
    assert texts(found, 'info') == ['test: 3 images, 0 label maps'] and texts(found, 'error') == []


def test_label_maps_that_are_pictures_or_damaged(tiny_cityscapes):
    root = tiny_cityscapes()
    Image.new('RGB', (4, 4)).save(label_of(root, number=0))
    Image.new('I;16', (4, 4)).save(label_of(root, number=1))
    whole = label_of(root, number=2).read_bytes()
    label_of(root, number=2).write_bytes(whole[: len(whole) // 2])
    errors = texts(list(check_data_root(root)), 'error')
    # Of one kind the first is named.
    assert errors[0].startswith(f'{label_of(root, number=0)}: a label map of mode RGB, expected ids in one')
    assert errors[0].endswith('(and 1 more of val)')
    assert errors[1].startswith(f'{label_of(root, number=2)}: damaged label map (image file is truncated')
    assert 'val: all ids in 0 to 18 and 255' not in texts(list(check_data_root(root)), 'ok')


def test_sizes_and_orientations(tiny_cityscapes):
    """The same as training says, which has the same check."""
    root = tiny_cityscapes(size=(48, 64))
    photographs = [root / f'leftImg8bit/val/tiny/tiny_{i:06d}_leftImg8bit.png' for i in range(3)]
    for path, orientation in zip(photographs[1:], (6, 3), strict=True):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(path).save(path, exif=exif)
    Image.new('L', (32, 24)).save(label_of(root))
    found = list(check_data_root(root))
    assert texts(found, 'error') == [
        f'{photographs[0]}: 64x48 pixels, but its label map {label_of(root)} has 32x24',
        f'{photographs[1]}: 48x64 pixels (EXIF orientation 6), but its label map {label_of(root, number=1)} '
        'has 64x48',
    ]
    (warning,) = texts(found, 'warning')
    assert warning.startswith(
        f'1 of 3 photographs have an EXIF orientation other than 1, first {photographs[2]} (3)'
    )


def test_a_label_map_of_which_a_chunk_is_broken(tiny_cityscapes):
    """Pillow raises SyntaxError for it; the others are checked all the same."""
    root = tiny_cityscapes(size=(512, 512))
    noise = np.random.default_rng(0).integers(0, 19, (512, 512), np.uint8)
    Image.fromarray(noise).save(label_of(root))
    content = label_of(root).read_bytes()
    second = content.index(b'IDAT', content.index(b'IDAT') + 4)
    label_of(root).write_bytes(content[:second] + bytes(4) + content[second + 4 :])
    Image.new('L', (512, 512), 19).save(label_of(root, number=1))
    errors = texts(list(check_data_root(root)), 'error')
    assert errors[0].startswith(f'{label_of(root)}: damaged label map (broken PNG')
    assert errors[1].startswith('val: ids [19] in 1 of 3 label maps')


def test_lists_of_pascal_voc(shared, tmp_path):
    root = tmp_path / 'VOC2012'
    shutil.copytree(shared / 'data/voc_samples/VOCdevkit/VOC2012', root)
    lists = root / 'ImageSets/Segmentation'
    (lists / 'train.txt').write_text('sample_000001\nabsent\n')
    (lists / 'aug.txt').write_text('sample_000023\n')
    found = list(check_data_root(root))
    assert texts(found, 'error') == [
        f'train: 1 of 2 images are not there, first {root}/JPEGImages/absent.jpg',
        f'train: 1 of 2 images have no label map, first {root}/SegmentationClass/absent.png',
        f'aug: 1 of 1 images have no label map, first {root}/SegmentationClassAug/sample_000023.png',
    ]
    assert 'voc_aug.py' in next(finding.cure for finding in found if finding.text.startswith('aug: 1 of'))


def test_no_data_root(tmp_path):
    for root, cure in ((tmp_path, 'give the folder'), (tmp_path / 'absent', 'the folder does not exist')):
        [finding] = check_data_root(root)
        assert finding.level == 'error' and finding.cure.startswith(cure)
