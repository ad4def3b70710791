"""What is read and what is written: no file twice, none over another, none by mistake."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab_study.inference.files import (
    find_inputs,
    plan_jobs,
    read_photograph,
    refuse_existing,
    write_picture,
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A function that makes empty files, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> list[Path]:
        for path in map(Path, names):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return list(map(Path, names))

    return make


def names(paths) -> list[str]:
    return [str(path) for path in paths]


def test_folders_give_photographs_and_videos_by_name(files):
    files('a/2.PNG', 'a/1.jpg', 'a/notes.txt', 'a/inside/3.jpg', 'a/clip.mp4', 'own')
    # Each once.
    given = [Path('a'), Path('own'), Path('a/1.jpg'), Path('a/../a/1.jpg')]
    assert names(find_inputs(given, Path('out'))) == ['a/1.jpg', 'a/2.PNG', 'a/clip.mp4', 'own']


def test_what_is_no_photograph_in_spite_of_its_name(files):
    """Companions of macOS, folders, links to nothing: training would not read them either."""
    files('a/x.png', 'a/._x.png', 'a/.hidden.jpg', 'a/folder.png/y.png', 'c/._x.png')
    Path('a/gone.png').symlink_to('nowhere.png')
    Path('a/link.png').symlink_to('x.png')
    Path('b').symlink_to('a')
    assert names(find_inputs([Path('b')], Path('out'))) == ['b/link.png']
    Path('a/link.png').unlink()
    assert names(find_inputs([Path('b')], Path('out'))) == ['b/x.png']
    with pytest.raises(FileNotFoundError, match='c: no photograph or video'):
        find_inputs([Path('c')], Path('out'))
    # Whoever names one means it.
    assert names(find_inputs([Path('a/._x.png')], Path('out'))) == ['a/._x.png']


@pytest.mark.parametrize(
    ('path', 'out', 'error', 'message'),
    [
        ('nowhere.jpg', 'out', FileNotFoundError, 'nowhere.jpg: no such file or folder'),
        ('b', 'out', FileNotFoundError, r'b: no photograph or video .*not searched, such as inside'),
        ('a', './a', ValueError, '-o a is also a folder to read from'),
    ],
)
def test_wrong_inputs(files, path, out, error, message):
    files('a/1.jpg', 'b/inside/1.jpg')
    with pytest.raises(error, match=message):
        find_inputs([Path(path)], Path(out))


def test_names_of_outputs(files):
    street, drive = plan_jobs(files('x/street.png', 'x/drive.mp4'), Path('out'))
    assert names(street.outputs) == ['out/street_overlay.jpg', 'out/street_labels.png']
    assert names(drive.outputs) == ['out/drive_overlay.mp4']
    (alone,) = plan_jobs([Path('x/street.png')], Path('out'), False)
    assert names(alone.outputs) == ['out/street_overlay.jpg']


def test_inputs_of_one_stem(files):
    inputs = files('x/a/1.jpg', 'x/b/1.jpg', 'x/b/1.PNG', 'x/2.jpg', 'y/3.jpg', 'y/3.png')
    stems = ('a_1.jpg', 'b_1.jpg', 'b_1.PNG', '2', '3.jpg', '3.png')
    expected = [f'{stem}_overlay.jpg' for stem in stems]
    assert [job.overlay.name for job in plan_jobs(inputs, Path('out'))] == expected


MEETING = ('a/1.jpg', 'b/1.jpg', 'c/a_1.jpg.png')


@pytest.mark.parametrize(
    ('inputs', 'out', 'message'),
    [
        (MEETING, 'out', r'c/a_1.jpg.png and a/1.jpg would both be written to out/a_1.jpg_o'),
        (('1.jpg', '1_overlay.jpg'), '.', '1_overlay.jpg is an input, and a prediction would overwrite it'),
    ],
)
def test_names_that_meet_all_the_same_are_refused(files, inputs, out, message):
    with pytest.raises(ValueError, match=message):
        plan_jobs(files(*inputs), Path(out))


def test_existing_outputs(files):
    jobs = plan_jobs(files('1.jpg', '2.jpg'), Path('out'))
    refuse_existing(jobs)
    files('out/1_labels.png')
    with pytest.raises(FileExistsError, match='^out/1_labels.png exists; give --overwrite'):
        refuse_existing(jobs)
    files('out/2_overlay.jpg')
    with pytest.raises(FileExistsError, match='^out/1_labels.png and 1 more exist; give'):
        refuse_existing(jobs)


def test_photographs_of_any_kind(tmp_path):
    image = Image.new('RGB', (6, 4), (200, 0, 0))
    for mode in ('RGBA', 'L', 'P', '1', 'RGB'):
        image.convert(mode).save(tmp_path / 'a.png')
        assert read_photograph(tmp_path / 'a.png').shape == (4, 6, 3)
    assert read_photograph(tmp_path / 'a.png')[0, 0].tolist() == [0, 0, 200]  # BGR
    exif = image.getexif()
    exif[0x0112] = 6  # held sideways
    image.save(tmp_path / 'a.jpg', exif=exif)
    assert read_photograph(tmp_path / 'a.jpg').shape == (6, 4, 3)


@pytest.mark.parametrize('content', [b'', b'no image', 'cut'])
def test_what_is_no_image(tmp_path, content):
    if content == 'cut':
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        content = cv2.imencode('.png', noise)[1].tobytes()[:4000]
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(ValueError, match='a.png: cannot be read as an image'):
        read_photograph(tmp_path / 'a.png')


def test_pictures_are_written_in_rgb(tmp_path):
    write_picture(tmp_path / 'new/a.jpg', np.full((16, 16, 3), (250, 10, 10), np.uint8))
    red, green, blue = np.asarray(Image.open(tmp_path / 'new/a.jpg'))[8, 8].astype(int)
    assert red > 240 and max(green, blue) < 20


def test_a_picture_larger_than_jpeg_takes(tmp_path):
    message = 'a.jpg: a picture of 65501x1 pixels, but JPEG takes at most 65500 a side'
    with pytest.raises(ValueError, match=message):
        write_picture(tmp_path / 'a.jpg', np.zeros((1, 65501, 3), np.uint8))
    write_picture(tmp_path / 'a.jpg', np.zeros((1, 65500, 3), np.uint8))
