"""Videos keep their frames, their rate and their order, and are there whole or not at all."""

import resource
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from mmseg_deeplab_study.inference.video import Video, paint_video

GREYS = (20, 90, 160, 230)


def write_video(path: Path, greys: Sequence[int] = GREYS, rate: float = 12.5) -> Path:
    codec = 'MJPG' if path.suffix == '.avi' else 'mp4v'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (48, 32))
    assert writer.isOpened()
    for grey in greys:
        writer.write(np.full((32, 48, 3), grey, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_frames_and_rate(tmp_path, suffix):
    source, out = write_video(tmp_path / f'a{suffix}'), tmp_path / 'new/b.mp4'
    track = Mock(side_effect=lambda frames, length: frames)

    def draw(frame: np.ndarray) -> np.ndarray:
        # RGB, of odd sides: what OpenCV would cut is a column of blue.
        picture = np.zeros((33, 49, 3), np.uint8)
        picture[..., 0] = frame[..., 0].mean()
        picture[:, -1] = (0, 0, 255)
        return picture

    paint_video(source, out, draw, track)
    assert [call.args[1] for call in track.call_args_list] == [4]
    video = Video(out)
    frames = list(video)
    assert (video.rate, len(frames)) == (12.5, 4)
    assert frames[0].shape == (34, 50, 3)
    for frame, grey in zip(frames, GREYS, strict=True):
        assert abs(int(frame[8, 8, 2]) - grey) < 12  # red
        assert frame[8, 8, 0] < 40
        assert frame[8, -1, 0] > 150  # the blue column, doubled
    assert [path.name for path in out.parent.iterdir()] == ['b.mp4']


@pytest.mark.parametrize(
    ('source', 'out', 'width', 'error', 'message'),
    [
        ('none.mp4', 'b.mp4', 48, ValueError, 'none.mp4: cannot be read as a video'),
        ('a.mp4', 'a.mp4/b.mp4', 48, OSError, 'a.mp4/b.mp4: could not be written'),
        ('a.mp4', 'b.mp4', 9000, ValueError, 'frames of 9000x32 pixels are too large for MPEG-4'),
    ],
)
def test_what_cannot_be_read_or_written(tmp_path, source, out, width, error, message):
    write_video(tmp_path / 'a.mp4')
    (tmp_path / 'none.mp4').write_bytes(b'no video')
    with pytest.raises(error, match=message):
        paint_video(tmp_path / source, tmp_path / out, lambda frame: np.zeros((32, width, 3), np.uint8))


def test_a_cut_video_is_refused(tmp_path, monkeypatch):
    source = write_video(tmp_path / 'a.mp4')
    monkeypatch.setattr(Video, '__iter__', lambda self: iter([np.zeros((32, 48, 3), np.uint8)]))
    with pytest.raises(ValueError, match='a.mp4: damaged; only 1 of its 4 frames can be read'):
        paint_video(source, tmp_path / 'new/b.mp4', lambda frame: frame)
    assert not list((tmp_path / 'new').iterdir())


def test_a_disk_that_is_full(tmp_path):
    """OpenCV would leave a cut file and say nothing."""
    source = write_video(tmp_path / 'a.mp4')
    noise = np.random.default_rng(0).integers(0, 256, (320, 480, 3), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match='b.mp4: could not be written whole; make room'):
            paint_video(source, tmp_path / 'b.mp4', lambda frame: noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']


def test_nothing_is_left_of_a_failure(tmp_path):
    source = write_video(tmp_path / 'a.mp4')
    (tmp_path / 'b.mp4').write_bytes(b'before')
    with pytest.raises(RuntimeError, match='out of memory'):
        paint_video(source, tmp_path / 'b.mp4', Mock(side_effect=RuntimeError('out of memory')))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.mp4', 'b.mp4']
    assert (tmp_path / 'b.mp4').read_bytes() == b'before'
