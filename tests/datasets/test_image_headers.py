"""Headers beside what Pillow, OpenCV and MMCV make of the same files."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import mmcv
import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab_study.datasets.image_headers import (
    AbsentFileError,
    UnfitImageError,
    by_kind,
    check_pair,
    damaged,
    decode_photograph,
    find_faults,
    ids_outside,
    label_ids,
    label_size,
    orientation_warning,
    photograph_size,
    refuse,
)

IDS = np.resize(np.array([0, 1, 18, 255], np.uint8), (6, 8))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def grey_png(bits: int) -> bytes:
    """8x6 pixels of value 1 in grey of so many bits, which Pillow does not write."""
    row = {2: b'\x55\x55', 4: b'\x11\x11\x11\x11'}[bits]
    header = struct.pack('>IIBBBBB', 8, 6, bits, 0, 0, 0, 0)
    pixels = zlib.compress((b'\0' + row) * 6)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')


def palette(bits: int = 8, **options) -> bytes:
    image = Image.fromarray(IDS if bits == 8 else IDS % 2)
    image.putpalette([value % 256 for value in range(3 * 2**bits)])
    return encoded(image, bits=bits, **options)


def encoded(image: Image.Image | np.ndarray, form: str = 'PNG', **options) -> bytes:
    content = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(content, form, **options)
    return content.getvalue()


GREY = Image.fromarray(IDS)


def noise(form: str, **options) -> bytes:
    return encoded(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), form, **options)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


ONE_CHANNEL = {
    'grey': encoded(GREY),
    'transparent': encoded(GREY, transparency=0),
    'palette': palette(),
    'transparent palette': palette(transparency=0),
    **{f'palette of {bits} bits': palette(bits=bits) for bits in (1, 2, 4)},
    '1 bit': encoded(Image.fromarray(IDS % 2 == 1)),
    'tiff': encoded(GREY, 'TIFF'),
    'lzw': encoded(GREY, 'TIFF', compression='tiff_lzw'),
    'bmp': encoded(GREY, 'BMP'),
    'pgm': encoded(GREY, 'PPM'),
}


@pytest.mark.parametrize('content', ONE_CHANNEL.values(), ids=ONE_CHANNEL)
def test_one_channel_of_8_bits_passes_as_mmseg_reads_it(content: bytes, tmp_path: Path):
    (tmp_path / 'label').write_bytes(content)
    assert label_size(tmp_path / 'label') == (8, 6)
    read = mmcv.imfrombytes(content, flag='unchanged', backend='pillow').astype(np.uint8)
    np.testing.assert_array_equal(read, IDS if read.max() == 255 else IDS % 2)
    assert label_ids(tmp_path / 'label') == np.unique(read).tolist()


@pytest.mark.parametrize(
    ('content', 'mode'),
    [
        (encoded(IDS.astype(np.uint16) * 256 + 3), 'I;16'),
        (encoded(IDS.astype(np.int32) * 256, 'TIFF'), 'I'),
        (encoded(IDS.astype(np.float32), 'TIFF'), 'F'),
        *((encoded(GREY.convert(mode)), mode) for mode in ('RGB', 'RGBA', 'LA')),
        (encoded(GREY.convert('CMYK'), 'TIFF'), 'CMYK'),
        (encoded(GREY, 'WEBP', lossless=True), 'RGB'),
        (grey_png(2), 'L;2'),
        (grey_png(4), 'L;4'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_other_label_maps_are_refused_with_their_mode(content: bytes, mode: str, tmp_path: Path):
    path = write(tmp_path / 'label.png', content)
    with pytest.raises(UnfitImageError) as error:
        label_size(path)
    assert str(error.value) == (
        f'{path}: a label map of mode {mode}, expected ids in one channel of 8 bits (mode L or P); write the '
        'class ids as PNG of 8 bits, not colours, instances or other bits'
    )


@pytest.mark.parametrize(
    'content',
    [encoded(GREY, 'JPEG'), encoded(GREY, 'TIFF', compression='jpeg'), encoded(GREY, 'JPEG2000')],
    ids=['jpeg', 'tiff', 'jpeg 2000'],
)
def test_lossy_label_map(content: bytes, tmp_path: Path):
    path = write(tmp_path / 'label.jpg', content)
    with pytest.raises(UnfitImageError, match=f'^{path}: a label map in JPEG( ?2000)?, which'):
        label_size(path)


def write_photograph(path: Path, orientation: int, late: bool = False) -> None:
    """64x48 pixels; ``late``: a PNG whose EXIF stands after the pixels, as some tools write it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.new('RGB', (64, 48)), {'jpg': 'JPEG', 'tif': 'TIFF'}.get(path.suffix[1:], 'PNG'))
    if late:
        late_exif = chunk(b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0'))
        path.write_bytes(content[:-12] + late_exif + content[-12:])
    else:
        Image.open(io.BytesIO(content)).save(path, exif=exif)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
@pytest.mark.parametrize(('name', 'late'), [('a.jpg', 0), ('a.png', 0), ('a.png', 1), ('a.tif', 0)])
def test_size_is_that_of_the_pixels_loaded(tmp_path: Path, name, late, orientation, backend):
    path = tmp_path / name
    write_photograph(path, orientation, late)
    for flag in ('color', 'color_ignore_orientation'):
        height, width = mmcv.imread(path, flag, backend=backend).shape[:2]
        assert photograph_size(path, turns=flag == 'color') == ((width, height), orientation), flag


@pytest.mark.parametrize('exif', [b'Exif\0\0', b'Exif\0\0garbage', b'Exif\0\0MM\0*\0\0'])
def test_exif_that_says_nothing(tmp_path: Path, exif: bytes):
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.jpg', exif=exif)
    assert photograph_size(tmp_path / 'a.jpg') == ((64, 48), 1)


def test_pairs(tmp_path: Path):
    photograph, label = tmp_path / 'a.jpg', tmp_path / 'a.png'
    Image.new('L', (64, 48)).save(label)
    for orientation in (1, 3):
        write_photograph(photograph, orientation)
        assert check_pair(photograph, label) == orientation
    write_photograph(photograph, 6)
    assert check_pair(photograph, label, turns=False) == 6
    with pytest.raises(UnfitImageError) as error:
        check_pair(photograph, label)
    assert str(error.value) == (
        f'{photograph}: 48x64 pixels (EXIF orientation 6), but its label map {label} has 64x48; write the '
        'photograph without orientation (PIL.ImageOps.exif_transpose), and the label map to fit it'
    )
    # Made for the photograph as it is shown.
    Image.new('L', (48, 64)).save(label)
    assert check_pair(photograph, label) == 6


@pytest.mark.parametrize('size', [(65, 48), (64, 47), (32, 24), (128, 96), (48, 64)])
def test_label_map_of_another_size(tmp_path: Path, size: tuple[int, int]):
    photograph, label = tmp_path / 'a.jpg', tmp_path / 'a.png'
    write_photograph(photograph, 1)
    Image.new('L', size).save(label)
    message = rf'^{photograph}: 64x48 pixels, but its label map {label} has {size[0]}x{size[1]}; give it the'
    with pytest.raises(UnfitImageError, match=message):
        check_pair(photograph, label)


def test_warning_of_orientations():
    text, cure = orientation_warning({'b.jpg': 3, 'a.jpg': 6}, 5)
    assert text == (
        '2 of 5 photographs have an EXIF orientation other than 1, first b.jpg (3): a loader may turn them, '
        'but turns no label map'
    )
    assert cure.startswith('look whether their label maps fit')


@pytest.mark.parametrize(
    ('what', 'size_of', 'whole'),
    [
        ('label map', label_size, encoded(GREY)),
        ('photograph', photograph_size, noise('PNG')),
        ('photograph', photograph_size, noise('JPEG')),
        ('photograph', photograph_size, noise('JPEG', progressive=True)),
        ('photograph', photograph_size, noise('MPO')),
    ],
)
def test_a_file_that_was_cut_or_is_no_image(tmp_path: Path, what: str, size_of: Callable, whole: bytes):
    size_of(write(tmp_path / 'a', whole))
    cut = [whole[:length] for length in (0, 10, 30, len(whole) // 2, len(whole) - 20, len(whole) - 1)]
    message = rf'^{tmp_path}/a: damaged {what} \(.*\); copy, unpack or download it again'
    for content in (*cut, b'\x93NUMPY'):
        with pytest.raises(UnfitImageError, match=message):
            size_of(write(tmp_path / 'a', content))


@pytest.mark.parametrize('form', ['PNG', 'JPEG'])
@pytest.mark.parametrize('more', [2, 2**17], ids=['a little', 'a film'])
def test_more_after_the_end_is_no_fault(tmp_path: Path, form: str, more: int):
    path = write(tmp_path / 'a', noise(form) + bytes(more))
    assert mmcv.imread(path).shape == (48, 64, 3) and photograph_size(path) == ((64, 48), 1)


def test_a_small_picture_in_the_header_is_not_the_end(tmp_path: Path):
    exif = Image.Exif()
    exif[0x927C] = noise('JPEG')  # a maker's note
    whole = noise('JPEG', exif=exif)
    assert b'\xff\xd9' in whole[:-100]
    with pytest.raises(UnfitImageError, match=r'\(cut short: a JPEG without its end\)'):
        photograph_size(write(tmp_path / 'a.jpg', whole[:-100]))


def test_what_opencv_reads_and_pillow_does_not_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / 'a.png', noise('PNG'))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 64)  # a bomb to Pillow
    assert photograph_size(path) == (None, 1)
    decode_photograph(path)


def test_decoding_finds_what_headers_do_not_show(tmp_path: Path):
    content = bytearray(noise('PNG'))
    path = write(tmp_path / 'a.png', content)
    decode_photograph(path)
    content[len(content) // 2] ^= 1
    write(path, content)
    assert photograph_size(path) == ((64, 48), 1) and mmcv.imread(path) is None
    with pytest.raises(UnfitImageError, match=rf'^{path}: damaged photograph \(broken PNG'):
        decode_photograph(path)
    write(tmp_path / 'a.bmp', noise('BMP')[:-100])
    with pytest.raises(UnfitImageError, match=r'damaged photograph \(image file is truncated'):
        decode_photograph(tmp_path / 'a.bmp')
    # Pillow raises SyntaxError for a broken chunk.
    content = encoded(np.random.default_rng(0).integers(0, 19, (512, 512), np.uint8))
    second = content.index(b'IDAT', content.index(b'IDAT') + 4)
    write(path, content[:second] + bytes(4) + content[second + 4 :])
    assert label_size(path) == (512, 512)
    with pytest.raises(UnfitImageError, match=rf'^{path}: damaged label map \(broken PNG'):
        label_ids(path)


def test_a_file_that_is_not_there(tmp_path: Path):
    photograph = write(tmp_path / 'a_leftImg8bit.png', noise('PNG'))
    label = '/gtFine/val/a/a_gtFine_labelTrainIds.png'
    for name, cure in (
        (f'{tmp_path}{label}', f'python tools/prepare_cityscapes.py {tmp_path} -o {tmp_path}'),
        (tmp_path / 'SegmentationClassAug/a.png', 'voc_aug.py makes it'),
        (tmp_path / 'a.png', 'complete the folder'),
    ):
        with pytest.raises(AbsentFileError, match=rf'^{name}: no label map for {photograph}; .*{cure}'):
            check_pair(photograph, name)
    with pytest.raises(AbsentFileError, match=rf'^{tmp_path}/b.jpg: no such photograph; complete the folder'):
        check_pair(tmp_path / 'b.jpg', None)


def test_what_is_not_looked_at_may_be_anything(tmp_path: Path):
    photograph, label = write(tmp_path / 'a.png', noise('PNG')), write(tmp_path / 'b.png', encoded(GREY))
    assert check_pair(photograph, None) == check_pair(None, label) == check_pair(None, None) == 1
    assert check_pair(photograph, label, same_size=False) == 1


PREPARE = 'python tools/prepare_cityscapes.py /d -o /d'
OTHER_IDS = 'write the class ids, with 255 for what is to be ignored; a palette only shows them'


@pytest.mark.parametrize(
    ('name', 'ids', 'cure'),
    [
        ('a_gtFine_labelIds.png', [0, 26], 'for Cityscapes use *_labelTrainIds.png, not *_labelIds.png'),
        (
            'gtFine/val/a_gtFine_labelTrainIds.png',
            [0, 33],
            f'these are labelIds: delete them and run {PREPARE}',
        ),
        ('a_gtFine_labelTrainIds.png', [200], OTHER_IDS),
        ('2007.png', [21], OTHER_IDS),
    ],
)
def test_ids_of_no_class(name: str, ids: list[int], cure: str):
    error = ids_outside(f'/d/{name}', [*ids, 255], 19)
    assert str(error) == (
        f'/d/{name}: label ids {ids[-1:]} lie outside the label space of 19 classes (0 to 18, 255 ignored); '
        f'{cure}'
    )
    assert ids_outside(f'/d/{name}', [0, 18, 255], 19) is None


@pytest.mark.parametrize(
    ('count', 'more'),
    [(1, ''), (2, '; likewise 1'), (10, '8, 9'), (11, '8, 9 and 1 more'), (118, ' and 108 more')],
)
def test_ten_files_of_a_kind_are_listed(count: int, more: str):
    errors = [damaged(i, 'empty', 'photograph' if i % 2 else 'label map') for i in range(count)]
    [error] = by_kind(errors)
    assert error.text.startswith('0: damaged label map (empty)') and error.text.endswith(more)
    assert len(error.text.partition('likewise ')[2].split(', ')) == max(1, min(count, 10) - 1)
    message = rf'^0: damaged label map \(empty\).*{more}; copy, unpack or download'
    with pytest.raises(ValueError, match=message):
        refuse(errors)


def test_each_kind_is_said(tmp_path: Path):
    content = [encoded(GREY), encoded(GREY)[:-5], b'', encoded(GREY.convert('RGB'))]
    labels = [write(tmp_path / f'{i}.png', part) for i, part in enumerate(content)]
    faults, turned = find_faults([(None, path) for path in [*labels, tmp_path / 'absent.png']])
    assert turned == {} and [error.name for error in faults] == [*labels[1:], tmp_path / 'absent.png']
    with pytest.raises(ValueError) as error:
        refuse(faults)
    assert str(error.value) == (
        f'{labels[1]}: damaged label map (cut short: a PNG without its end); likewise {labels[2]}; copy, '
        f'unpack or download it again. {labels[3]}: a label map of mode RGB, expected ids in one channel '
        'of 8 bits (mode L or P); write the class ids as PNG of 8 bits, not colours, instances or other bits'
        f'. {tmp_path}/absent.png: no such label map; complete the folder, or shorten the list'
    )
    with pytest.raises(FileNotFoundError, match='no such label map'):
        refuse(faults[-1:])
    refuse([])
