"""Data roots: real ones, and ones with a fault made on purpose."""

import shutil
import sys
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


@pytest.fixture
def root(tiny_cityscapes) -> Path:
    return tiny_cityscapes()


def photograph_of(root: Path, number: int = 0, split: str = 'val') -> Path:
    return root / f'leftImg8bit/{split}/tiny/tiny_{number:06d}_leftImg8bit.png'


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


def test_ids_outside_are_one_finding(root):
    write_ids(label_of(root, 'train', 1), 0, 19, 200)
    write_ids(label_of(root, 'train', 3), 18, 255, 200)
    found = list(check_data_root(root))
    first, second = (label_of(root, 'train', number) for number in (1, 3))
    [error] = texts(found, 'error')
    assert error == (
        f'{first}: label ids [19, 200] lie outside the label space of 19 classes (0 to 18, 255 ignored); '
        f'likewise {second}'
    )
    assert 'train: all ids in 0 to 18 and 255' not in texts(found, 'ok')
    assert 'val: all ids in 0 to 18 and 255' in texts(found, 'ok')


def test_images_without_a_label_map(root):
    label_of(root).unlink()
    found = list(check_data_root(root))
    [error] = [finding for finding in found if finding.level == 'error']
    assert error.text == f'{label_of(root)}: no label map for {photograph_of(root)}'
    assert error.cure == f'make them with python tools/prepare_cityscapes.py {root} -o {root}'
    assert 'val: 3 images, 2 label maps' in texts(found, 'ok')


def test_a_test_split_needs_no_label_maps(root):
    shutil.copytree(root / 'leftImg8bit/val', root / 'leftImg8bit/test')
    found = list(check_data_root(root))
    assert texts(found, 'info') == ['test: 3 images, 0 label maps'] and texts(found, 'error') == []


def test_faults_are_listed_by_kind(root):
    """Also of a split that has no label maps."""
    shutil.copytree(root / 'leftImg8bit/val', root / 'leftImg8bit/test')
    Image.new('RGB', (4, 4)).save(label_of(root, number=0))
    Image.new('I;16', (4, 4)).save(label_of(root, number=1))
    cut = [photograph_of(root, 1, split) for split in ('test', 'train')] + [label_of(root, number=2)]
    for path in cut:
        path.write_bytes(path.read_bytes()[:-5])
    found = list(check_data_root(root))
    damaged, wrong = (finding for finding in found if finding.level == 'error')
    # Of one kind the first is described.
    reason = 'damaged photograph (cut short: a PNG without its end)'
    assert damaged.text == f'{cut[0]}: {reason}; likewise {cut[1]}, {cut[2]}'
    assert damaged.cure == 'copy, unpack or download it again'
    assert wrong.text.startswith(f'{label_of(root, number=0)}: a label map of mode RGB, expected ids in one')
    assert wrong.text.endswith(f'; likewise {label_of(root, number=1)}')
    assert not [text for text in texts(found, 'ok') if 'all ids' in text]


def test_sizes_and_orientations(tiny_cityscapes):
    """The same as training says, which has the same check."""
    root = tiny_cityscapes(size=(48, 64))
    for number, orientation in ((1, 6), (2, 3)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(photograph_of(root, number)).save(photograph_of(root, number), exif=exif)
    found = list(check_data_root(root))
    (error,), (warning,) = texts(found, 'error'), texts(found, 'warning')
    assert error.startswith(f'{photograph_of(root, 1)}: 48x64 pixels (EXIF orientation 6), but its label map')
    start = '1 of 7 photographs have an EXIF orientation other than 1, first'
    assert warning.startswith(f'{start} {photograph_of(root, 2)} (3)')


def test_lists_of_pascal_voc(shared, tmp_path):
    root = tmp_path / 'VOC2012'
    shutil.copytree(shared / 'data/voc_samples/VOCdevkit/VOC2012', root)
    lists = root / 'ImageSets/Segmentation'
    (lists / 'train.txt').write_text('sample_000001\nabsent\n\n')
    (lists / 'aug.txt').write_text('sample_000023\n')
    found = list(check_data_root(root))
    assert texts(found, 'error') == [
        f'{root}/JPEGImages/absent.jpg: no such photograph; likewise {root}/JPEGImages/.jpg',
        f'{root}/SegmentationClassAug/sample_000023.png: no label map for '
        f'{root}/JPEGImages/sample_000023.jpg',
    ]
    assert 'voc_aug.py' in [finding.cure for finding in found if finding.level == 'error'][1]
    (lists / 'aug.txt').write_text('')
    assert f'{lists}/aug.txt: names no photograph' in texts(list(check_data_root(root)), 'error')


def test_no_data_root(tmp_path):
    for root, cure in ((tmp_path, 'give the folder'), (tmp_path / 'absent', 'the folder does not exist')):
        [finding] = check_data_root(root)
        assert finding.level == 'error' and finding.cure.startswith(cure)


def test_companions_of_macos_and_links(root, tmp_path):
    for path in [*root.rglob('*.png')]:
        path.with_name(f'._{path.name}').write_bytes(b'\0\5\x16\7')
    for folder in (root / 'leftImg8bit/val/tiny', root / 'gtFine/train'):
        folder.symlink_to(folder.rename(tmp_path / folder.name))
    found = list(check_data_root(root))
    assert texts(found, 'error') == texts(found, 'warning') == []
    assert 'train: 4 images, 4 label maps' in texts(found, 'ok')
    assert 'val: 3 images, 3 label maps' in texts(found, 'ok')


def test_deep_decodes_photographs(root):
    content = bytearray(photograph_of(root).read_bytes())
    content[len(content) // 2] ^= 1
    photograph_of(root).write_bytes(content)
    assert texts(list(check_data_root(root)), 'error') == []
    [error] = texts(list(check_data_root(root, deep=True)), 'error')
    assert error.startswith(f'{photograph_of(root)}: damaged photograph (broken PNG')


def test_photographs_of_another_name(root):
    for path in (root / 'leftImg8bit/val').rglob('*.png'):
        path.rename(path.with_suffix('.jpg'))
    found = list(check_data_root(root))
    [error] = [finding for finding in found if finding.level == 'error']
    assert error.text == (
        f'{root}/leftImg8bit/val: no photograph whose name ends in _leftImg8bit.png; 3 other files are '
        'there, such as tiny_000000_leftImg8bit.jpg'
    )
    assert 'img_suffix' in error.cure and 'val: 0 images, 0 label maps' in texts(found, 'ok')
    assert texts(found, 'warning') == []


@pytest.mark.parametrize(('split', 'level'), [('train', 'warning'), ('val', 'error')])
def test_a_split_that_is_not_there(root, split, level):
    shutil.rmtree(root / 'leftImg8bit' / split)
    found = list(check_data_root(root))
    assert texts(found, level) == [f'{root}: no images of {split}']


def test_without_pillow_files_are_counted(root, monkeypatch):
    label_of(root).unlink()
    monkeypatch.setitem(sys.modules, 'PIL', None)
    found = list(check_data_root(root))
    assert texts(found, 'ok')[1:] == ['train: 4 images, 4 label maps', 'val: 3 images, 2 label maps']
    [finding] = [finding for finding in found if finding.level == 'warning']
    assert finding.text == 'photographs and label maps not checked' and finding.cure == 'pip install pillow'
