from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmseg.datasets import BaseSegDataset, CityscapesDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from mmseg.utils import register_all_modules
from PIL import Image
from torch.utils.data import TensorDataset

from mmseg_deeplab_study.datasets import label_maps
from mmseg_deeplab_study.datasets.decoded_cache import keep_decoded
from mmseg_deeplab_study.datasets.label_maps import (
    LabelPixels,
    check_headers,
    count_label_pixels,
    pixel_warnings,
    write_label_map,
)
from mmseg_deeplab_study.datasets.subsets import NamedSubset

CITYSCAPES = CityscapesDataset.METAINFO


@pytest.fixture(autouse=True, scope='module')
def registered() -> None:
    register_all_modules()


@pytest.fixture
def cityscapes(tiny_cityscapes: Callable[..., Path]) -> Path:
    return tiny_cityscapes(train=5, val=2)


def split(root: Path, name: str = 'train', dataset: type = CityscapesDataset, **options) -> BaseSegDataset:
    # Serialising makes MMEngine collect garbage, which takes longer than the tests.
    options.setdefault('serialize_data', False)
    return dataset(
        data_root=str(root),
        data_prefix=dict(img_path=f'leftImg8bit/{name}', seg_map_path=f'gtFine/{name}'),
        **options,
    )


def label_file(root: Path, name: str = 'train/tiny/tiny_000004') -> Path:
    return root / 'gtFine' / f'{name}_gtFine_labelTrainIds.png'


def photograph_file(root: Path, number: int = 4) -> Path:
    return root / f'leftImg8bit/train/tiny/tiny_{number:06d}_leftImg8bit.png'


def paint(path: Path, *ids: int) -> None:
    """Write a label map of the size of the photographs, of these ids alone."""
    Image.fromarray(np.resize(np.array(ids, np.uint8), (64, 64))).save(path)


@pytest.mark.slow
def test_bad_label_map_is_named_with_its_ids(cityscapes: Path):
    path = label_file(cityscapes)
    paint(path, 0, 7, 19, 33, 255)
    part = dict(
        type='CityscapesDataset',
        data_root=str(cityscapes),
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
    )
    message = rf'^{path}: label ids \[19, 33\] lie outside .* 19 classes \(0 to 18, 255 ignored\)'
    for dataset in (
        split(cityscapes),
        NamedSubset(part, 'all', 1.0),
        ConcatDataset([split(cityscapes, 'val'), split(cityscapes)]),
    ):
        with pytest.raises(ValueError, match=message):
            count_label_pixels(dataset, 19)
    count_label_pixels(NamedSubset(part, 'without the last', 0.8), 19)


@pytest.mark.parametrize(
    ('ids', 'options', 'arguments', 'message'),
    [
        (range(19, 40), {}, (19,), r'\[19, 20, 21, 22, 23, 24, 25, 26, 27, 28\] lie'),
        ((0, 200), {}, (19, 200), r'\[255\] .*200 ignored'),
        ((0, 18, 255), {}, (19,), None),
        # Counted from 1, with 0 for "ignore": 1 to 19 become 0 to 18.
        ((0, 1, 19, 255), dict(reduce_zero_label=True), (19,), None),
        # Of 19 classes only road (0) and car (13) stay, as 0 and 1; the others are ignored.
        ((0, 13, 18), dict(metainfo=dict(classes=['road', 'car'])), (2,), None),
        ((0, 13, 18), dict(metainfo=dict(classes=['road', 'car'])), (1,), r'\[1\] lie outside .* 1 classes'),
    ],
)
def test_ids_are_those_that_the_dataset_gives(cityscapes: Path, ids, options, arguments, message):
    paint(label_file(cityscapes), *ids)
    if message is None:
        count_label_pixels(split(cityscapes, **options), *arguments)
    else:
        with pytest.raises(ValueError, match=f'label ids {message}'):
            count_label_pixels(split(cityscapes, **options), *arguments)


def test_empty_dataset(cityscapes: Path):
    folder = cityscapes / 'leftImg8bit' / 'test'
    folder.mkdir()
    empty = split(cityscapes, 'test')
    with pytest.raises(ValueError, match=rf'CityscapesDataset found no images in {folder}'):
        count_label_pixels(empty, 19)


def test_dataset_without_label_maps_has_none_to_check(cityscapes: Path):
    images = CityscapesDataset(
        data_root=str(cityscapes), data_prefix=dict(img_path='leftImg8bit/train'), test_mode=True
    )
    assert 'seg_map_path' not in images.get_data_info(0)
    count_label_pixels(images, 19)


def test_written_label_map_keeps_ids_and_shows_colours(tmp_path: Path):
    labels = np.array([[0, 1, 13], [18, 255, 13]], np.int64)
    path = tmp_path / 'snapshots' / '000005' / 'image.png'
    write_label_map(path, labels, CITYSCAPES['palette'])
    with Image.open(path) as image:
        assert image.mode == 'P'
        np.testing.assert_array_equal(np.asarray(image), labels)
        colours = np.asarray(image.convert('RGB'))
    assert colours[0, 0].tolist() == [128, 64, 128]  # road
    assert colours[0, 2].tolist() == [0, 0, 142]  # car
    assert colours[1, 0].tolist() == [119, 11, 32]  # bicycle


# Headers: in what a pipeline loads, and as training reaches it


LOADERS = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 256 + 3).save(path)


@TRANSFORMS.register_module()
class LoadInstances(LoadAnnotations):
    """A user's own, of class * 256 + instance."""


both_checks = pytest.mark.parametrize(
    'check', [check_headers, lambda dataset: count_label_pixels(dataset, 19)], ids=['headers', 'pixels']
)


@both_checks
@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dataset,
        lambda dataset: ConcatDataset([dataset, dataset]),
        lambda dataset: RepeatDataset(dataset, 3),
        lambda dataset: keep_decoded(dataset, 2**20) and dataset,
    ],
    ids=['plain', 'concatenated', 'repeated', 'decoded'],
)
@pytest.mark.parametrize('pipeline', [[], LOADERS], ids=['no pipeline', 'pipeline'])
def test_16_bits_are_refused_behind_every_wrapper(cityscapes: Path, check, wrap, pipeline):
    sixteen_bits(label_file(cityscapes))
    message = rf'^{label_file(cityscapes)}: a label map of mode I;16, expected ids in one channel of 8 bits'
    with pytest.raises(ValueError, match=message):
        check(wrap(split(cityscapes, pipeline=pipeline)))


@both_checks
def test_another_size_is_refused_with_both(cityscapes: Path, check):
    path = label_file(cityscapes)
    Image.new('L', (128, 64)).save(path)
    message = rf'tiny_000004_leftImg8bit.png: 64x64 pixels, but its label map {path} has 128x64'
    with pytest.raises(ValueError, match=message):
        check(split(cityscapes))


def test_a_loader_of_the_users_own_may_read_other_label_maps(cityscapes: Path):
    sixteen_bits(label_file(cityscapes))
    check_headers(split(cityscapes, pipeline=[LOADERS[0], dict(type='LoadInstances')]))
    # And other photographs: then sizes are not compared.
    own = [LOADERS[1]]
    with pytest.raises(ValueError, match='mode I;16'):
        check_headers(split(cityscapes, pipeline=own))
    Image.new('L', (128, 64)).save(label_file(cityscapes))
    check_headers(split(cityscapes, pipeline=own))


def test_loaders_are_found_inside_of_test_time_augmentation(cityscapes: Path):
    views = [[dict(type='LoadInstances')], [dict(type='PackSegInputs')]]
    pipeline = [LOADERS[0], dict(type='TestTimeAug', transforms=views)]
    sixteen_bits(label_file(cityscapes))
    check_headers(split(cityscapes, pipeline=pipeline))
    views[0][0] = LOADERS[1]
    with pytest.raises(ValueError, match='mode I;16'):
        check_headers(split(cityscapes, pipeline=pipeline))


def test_opencv_would_read_the_colours_of_a_palette(cityscapes: Path):
    write_label_map(label_file(cityscapes), np.zeros((64, 64)), CITYSCAPES['palette'])
    check_headers(split(cityscapes, pipeline=LOADERS))
    opencv = [LOADERS[0], dict(type='LoadAnnotations', imdecode_backend='cv2')]
    with pytest.raises(ValueError, match=r'mode P, expected ids in one channel of 8 bits \(mode L\)'):
        check_headers(split(cityscapes, pipeline=opencv))


def test_files_of_another_backend_are_left_out(cityscapes: Path):
    label_file(cityscapes).unlink()
    with pytest.raises(FileNotFoundError, match=f'^{label_file(cityscapes)}: no label map for '):
        check_headers(split(cityscapes, pipeline=LOADERS))
    with pytest.raises(FileNotFoundError):
        check_headers(split(cityscapes, backend_args=dict(backend='local')))
    far = dict(backend_args=dict(backend='lmdb'))
    check_headers(split(cityscapes, pipeline=[LOADERS[0], LOADERS[1] | far]))
    dataset = split(cityscapes)
    dataset.backend_args = far['backend_args']
    check_headers(dataset)


@pytest.mark.parametrize('pipeline', [LOADERS, LOADERS[:1]], ids=['with label maps', 'without'])
@pytest.mark.parametrize('length', [0, 20, -5])
def test_a_photograph_that_was_cut_is_named(cityscapes: Path, length: int, pipeline: list):
    path = photograph_file(cityscapes)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf'^{path}: damaged photograph \(.*\); copy, unpack or download it'):
        check_headers(split(cityscapes, pipeline=pipeline))


@pytest.mark.parametrize(
    'load',
    [dict(ignore_empty=True), dict(imdecode_backend='tifffile'), dict(backend_args=dict(backend='lmdb'))],
)
def test_photographs_that_a_loader_may_do_without_or_reads_otherwise(cityscapes: Path, load: dict):
    photograph_file(cityscapes).write_bytes(b'')
    check_headers(split(cityscapes, pipeline=[LOADERS[0] | load, LOADERS[1]]))


def test_a_repeated_photograph_is_listed_once(cityscapes: Path):
    for number in (2, 4):
        photograph_file(cityscapes, number).write_bytes(b'')
    dataset = ConcatDataset([split(cityscapes), split(cityscapes)])
    with pytest.raises(ValueError, match=f'likewise {photograph_file(cityscapes)}; copy'):
        check_headers(dataset)


def test_a_photograph_that_is_resized_before_its_label_map_is_loaded(cityscapes: Path):
    """In training both must fit after it; what is evaluated is compared in the photograph's own size."""
    resized = [LOADERS[0], dict(type='Resize', scale=(32, 32)), LOADERS[1]]
    for number in range(5):
        Image.new('L', (32, 32)).save(label_file(cityscapes, f'train/tiny/tiny_{number:06d}'))
    dataset = split(cityscapes, pipeline=resized)
    assert dataset[0]['img'].shape[:2] == dataset[0]['gt_seg_map'].shape
    check_headers(dataset, trained=True)
    count_label_pixels(dataset, 19, trained=True)
    for other, trained in ((resized, False), (LOADERS, True), (LOADERS[::-1], True)):
        with pytest.raises(ValueError, match='64x64 pixels, but its label map .* has 32x32; .*likewise'):
            check_headers(split(cityscapes, pipeline=other), trained)


def test_a_label_map_of_1_bit(cityscapes: Path):
    ids = np.resize(np.array([False, True]), (64, 64))
    Image.fromarray(ids).save(label_file(cityscapes))
    pixels = count_label_pixels(split(cityscapes, pipeline=LOADERS), 19)
    assert pixels.labelled[4, :3].tolist() == [2048, 2048, 0]
    # OpenCV reads 0 and 255, tifffile no PNG.
    for backend in ('cv2', 'tifffile'):
        other = [LOADERS[0], LOADERS[1] | dict(imdecode_backend=backend)]
        with pytest.raises(ValueError, match='a label map of mode 1, expected'):
            check_headers(split(cityscapes, pipeline=other))


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found = []
    monkeypatch.setattr(label_maps, 'warn', found.append)
    return found


def turn(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(path).save(path, exif=exif)


def test_orientations_are_warned_of_once(cityscapes: Path, warnings: list[str]):
    check_headers(split(cityscapes))
    assert warnings == []
    # Square: even a quarter turn leaves the size.
    first = photograph_file(cityscapes, 1)
    turn(first, 3)
    turn(photograph_file(cityscapes), 6)
    count_label_pixels(RepeatDataset(split(cityscapes), 2), 19)
    (warning,) = warnings
    assert warning.startswith(
        f'2 of 5 photographs have an EXIF orientation other than 1, first {first} (3): '
    )


def test_a_quarter_turn_fits_where_the_pipeline_ignores_it(tiny_cityscapes, warnings: list[str]):
    root = tiny_cityscapes(train=2, size=(48, 64), folder='wide')
    path = photograph_file(root, 1)
    turn(path, 6)
    with pytest.raises(ValueError, match=rf'^{path}: 48x64 pixels \(EXIF orientation 6\), but its label map'):
        check_headers(split(root, pipeline=LOADERS))
    stored = dict(type='LoadImageFromFile', color_type='color_ignore_orientation')
    check_headers(split(root, pipeline=[stored, LOADERS[1]]))
    assert len(warnings) == 1


def test_damaged_label_map_is_named(cityscapes: Path):
    path = label_file(cityscapes)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    message = rf'^{path}: damaged label map \(.*\); copy, unpack or download'
    with pytest.raises(ValueError, match=message):
        check_headers(split(cityscapes))
    # Only decoding shows this.
    path.write_bytes(whole[:60] + bytes(20) + whole[80:])
    with pytest.raises(ValueError, match=message):
        count_label_pixels(split(cityscapes), 19)


def test_every_label_map_of_a_kind_is_counted(cityscapes: Path):
    for number in range(5):
        paint(label_file(cityscapes, f'train/tiny/tiny_{number:06d}'), 0, 19 + number)
    first, last = (label_file(cityscapes, f'train/tiny/tiny_00000{number}') for number in (0, 4))
    with pytest.raises(
        ValueError, match=rf'^{first}: label ids \[19\] .*; likewise .*, {last}; these are labelIds'
    ):
        count_label_pixels(split(cityscapes), 19)


# Pixels


def test_pixels_of_each_image(cityscapes: Path):
    paint(label_file(cityscapes), 0, 13, 13, 255)
    labelled, ignored = count_label_pixels(split(cityscapes), 19)
    assert labelled.shape == (5, 19) and ignored.shape == (5,)
    # 64 * 64 pixels, a quarter each.
    assert labelled[4].tolist() == [1024, *[0] * 12, 2048, *[0] * 5] and ignored[4] == 1024


IGNORED = (
    'train: {} % of the pixels are ignored (label {}), expected less than half; look whether the label maps '
    'have the ids of these classes'
)
ONE_CLASS = (
    'train: no labelled pixel of car. Its label maps have one class, and 255, which is ignored: in a mask of '
    '0 and 255 write the second class as 1'
)


@pytest.mark.parametrize(
    ('labelled', 'ignored', 'ignore_index', 'expected'),
    [
        ([[5, 0], [0, 5]], [3, 3], 255, []),
        ([[5, 0], [5, 0]], [0, 0], 255, ['train: no labelled pixel of car']),
        ([[5, 5]], [10], 255, []),
        ([[5, 5]], [11], 255, [IGNORED.format(52, 255)]),
        ([[5, 0], [3, 0]], [3, 1], 255, [ONE_CLASS]),
        # A class that is ignored is not missed.
        ([[0, 10]], [90], 0, [IGNORED.format(90, 0)]),
    ],
)
def test_pixel_warnings(labelled, ignored, ignore_index, expected):
    pixels = LabelPixels(np.array(labelled), np.array(ignored))
    assert pixel_warnings('train', pixels, ['road', 'car'], ignore_index) == expected


def test_a_dataset_of_another_kind():
    """Its headers cannot be looked at, which a test of a model survives; a run that is recorded cannot."""
    plain = TensorDataset(torch.zeros(2, 3))
    check_headers(plain)
    with pytest.raises(ValueError, match='TensorDataset does not say which files it reads: derive it from'):
        count_label_pixels(plain, 19)
