import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmseg.datasets import BaseSegDataset, CityscapesDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image
from torch.utils.data import TensorDataset

from mmseg_deeplab_study.datasets import label_maps
from mmseg_deeplab_study.datasets.decoded_cache import keep_decoded
from mmseg_deeplab_study.datasets.label_maps import check_headers, count_label_pixels, write_label_map
from mmseg_deeplab_study.datasets.subsets import NamedSubset

CITYSCAPES = CityscapesDataset.METAINFO


@pytest.fixture
def cityscapes(tiny_cityscapes: Callable[..., Path]) -> Path:
    return tiny_cityscapes(train=5, val=2)


def part(root: Path, name: str = 'train', **options) -> dict:
    prefix = dict(img_path=f'leftImg8bit/{name}', seg_map_path=f'gtFine/{name}')
    # Serialising makes MMEngine collect garbage, which takes longer than the tests.
    return dict(data_root=str(root), data_prefix=prefix, serialize_data=False) | options


def split(root: Path, name: str = 'train', **options) -> BaseSegDataset:
    return CityscapesDataset(**part(root, name, **options))


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
    train = dict(type='CityscapesDataset', **part(cityscapes))
    message = rf'^{path}: label ids \[19, 33\] lie outside .* 19 classes \(0 to 18, 255 ignored\)'
    both = ConcatDataset([split(cityscapes, 'val'), split(cityscapes)])
    for dataset in (split(cityscapes), NamedSubset(train, 'all', 1.0), both):
        with pytest.raises(ValueError, match=message):
            count_label_pixels(dataset, 19)
    count_label_pixels(NamedSubset(train, 'without the last', 0.8), 19)


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
    folder = cityscapes / 'leftImg8bit/test'
    folder.mkdir()
    with pytest.raises(ValueError, match=rf'CityscapesDataset found no images in {folder}'):
        count_label_pixels(split(cityscapes, 'test'), 19)


def test_dataset_without_label_maps_has_none_to_check(cityscapes: Path):
    images = split(cityscapes, data_prefix=dict(img_path='leftImg8bit/train'), test_mode=True)
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


LOADERS = IMAGE, LABELS = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
INSTANCES, FAR = dict(type='LoadInstances'), dict(backend_args=dict(backend='lmdb'))
OPENCV, TIFFFILE = (dict(imdecode_backend=name) for name in ('cv2', 'tifffile'))


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
    larger(path)
    message = rf'tiny_000004_leftImg8bit.png: 64x64 pixels, but its label map {path} has 128x64'
    with pytest.raises(ValueError, match=message):
        check(split(cityscapes))


def larger(path: Path) -> None:
    Image.new('L', (128, 64)).save(path)


def with_palette(path: Path) -> None:
    write_label_map(path, np.zeros((64, 64)), CITYSCAPES['palette'])


def one_bit(path: Path) -> None:
    Image.fromarray(np.resize(np.array([False, True]), (64, 64))).save(path)


def views(load: dict) -> list[dict]:
    """Loaders inside of test-time augmentation."""
    return [IMAGE, dict(type='TestTimeAug', transforms=[[load], [dict(type='PackSegInputs')]])]


@pytest.mark.parametrize(
    ('spoil', 'pipeline', 'message'),
    [
        # A loader of the user's own may read other label maps.
        (sixteen_bits, [IMAGE, INSTANCES], None),
        (sixteen_bits, views(INSTANCES), None),
        (sixteen_bits, views(LABELS), 'mode I;16'),
        # And other photographs: then sizes are not compared.
        (sixteen_bits, [LABELS], 'mode I;16'),
        (larger, [LABELS], None),
        # OpenCV would read the colours of a palette.
        (with_palette, LOADERS, None),
        (with_palette, [IMAGE, LABELS | OPENCV], r'mode P, expected ids in one channel of 8 bits \(mode L\)'),
        # Of 1 bit it reads 0 and 255; tifffile reads no PNG.
        (one_bit, [IMAGE, LABELS | OPENCV], 'a label map of mode 1, expected'),
        (one_bit, [IMAGE, LABELS | TIFFFILE], 'a label map of mode 1, expected'),
        # Files of another backend are left out.
        (Path.unlink, [IMAGE, LABELS | FAR], None),
    ],
)
def test_what_a_label_map_may_be_is_up_to_its_loader(cityscapes: Path, spoil, pipeline, message):
    spoil(label_file(cityscapes))
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        check_headers(split(cityscapes, pipeline=pipeline))


@pytest.mark.parametrize('load', [dict(ignore_empty=True), TIFFFILE, FAR])
def test_photographs_that_a_loader_may_do_without_or_reads_otherwise(cityscapes: Path, load: dict):
    photograph_file(cityscapes).write_bytes(b'')
    check_headers(split(cityscapes, pipeline=[IMAGE | load, LABELS]))


def test_absent_label_maps_are_named_unless_of_another_backend(cityscapes: Path):
    label_file(cityscapes).unlink()
    for options in (dict(pipeline=LOADERS), dict(backend_args=dict(backend='local'))):
        with pytest.raises(FileNotFoundError, match=f'^{label_file(cityscapes)}: no label map for '):
            check_headers(split(cityscapes, **options))
    dataset = split(cityscapes)
    dataset.backend_args = FAR['backend_args']
    check_headers(dataset)


def test_a_label_map_of_1_bit_is_counted(cityscapes: Path):
    one_bit(label_file(cityscapes))
    pixels = count_label_pixels(split(cityscapes, pipeline=LOADERS), 19)
    assert pixels.labelled[4, :3].tolist() == [2048, 2048, 0]


@pytest.mark.parametrize('pipeline', [LOADERS, LOADERS[:1]], ids=['with label maps', 'without'])
@pytest.mark.parametrize('length', [0, 20, -5])
def test_a_photograph_that_was_cut_is_named(cityscapes: Path, length: int, pipeline: list):
    path = photograph_file(cityscapes)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf'^{path}: damaged photograph \(.*\); copy, unpack or download it'):
        check_headers(split(cityscapes, pipeline=pipeline))


def test_a_repeated_photograph_is_listed_once(cityscapes: Path):
    for number in (2, 4):
        photograph_file(cityscapes, number).write_bytes(b'')
    dataset = ConcatDataset([split(cityscapes), split(cityscapes)])
    with pytest.raises(ValueError, match=f'likewise {photograph_file(cityscapes)}; copy'):
        check_headers(dataset)


def test_a_photograph_that_is_resized_before_its_label_map_is_loaded(cityscapes: Path):
    """In training both must fit after it; what is evaluated is compared in the photograph's own size."""
    resized = [IMAGE, dict(type='Resize', scale=(32, 32)), LABELS]
    for number in range(5):
        Image.new('L', (32, 32)).save(label_file(cityscapes, f'train/tiny/tiny_{number:06d}'))
    dataset = split(cityscapes, pipeline=resized)
    assert dataset[0]['img'].shape[:2] == dataset[0]['gt_seg_map'].shape
    check_headers(dataset, trained=True)
    count_label_pixels(dataset, 19, trained=True)
    for other, trained in ((resized, False), (LOADERS, True), (LOADERS[::-1], True)):
        with pytest.raises(ValueError, match='64x64 pixels, but its label map .* has 32x32; .*likewise'):
            check_headers(split(cityscapes, pipeline=other), trained)


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
    said = f'2 of 5 photographs have an EXIF orientation other than 1, first {first} (3): '
    assert warning.startswith(said)


def test_a_quarter_turn_fits_where_the_pipeline_ignores_it(tiny_cityscapes, warnings: list[str]):
    root = tiny_cityscapes(train=2, size=(48, 64), folder='wide')
    path = photograph_file(root, 1)
    turn(path, 6)
    with pytest.raises(ValueError, match=rf'^{path}: 48x64 pixels \(EXIF orientation 6\), but its label map'):
        check_headers(split(root, pipeline=LOADERS))
    stored = dict(type='LoadImageFromFile', color_type='color_ignore_orientation')
    check_headers(split(root, pipeline=[stored, LABELS]))
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
    message = rf'^{first}: label ids \[19\] .*; likewise .*, {last}; these are labelIds'
    with pytest.raises(ValueError, match=message):
        count_label_pixels(split(cityscapes), 19)


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
    pixels = label_maps.LabelPixels(np.array(labelled), np.array(ignored))
    assert label_maps.pixel_warnings('train', pixels, ['road', 'car'], ignore_index) == expected


def test_a_dataset_of_another_kind():
    """Its headers cannot be looked at, which a test of a model survives; a run that is recorded cannot."""
    plain = TensorDataset(torch.zeros(2, 3))
    check_headers(plain)
    with pytest.raises(ValueError, match='TensorDataset does not say which files it reads: derive it from'):
        count_label_pixels(plain, 19)
