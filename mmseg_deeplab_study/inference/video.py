"""Videos, a frame at a time."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ..atomic_file import explain

# Some files only guess the number of their frames; one with far fewer is cut.
_CUT = 0.9


class Video:
    """A video to read once, from its first frame on.

    OpenCV's own reader, not mmcv's, which seeks before each frame whose number OpenCV cannot tell.

    Attributes:
        rate: frames per second.
        length: number of frames as the file says, 0 if it does not.

    Raises:
        ValueError: OpenCV cannot read it as a video, or it has no frame rate.
    """

    def __init__(self, path: Path) -> None:
        self._capture = cv2.VideoCapture(str(path))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.length = max(0, round(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if not self._capture.isOpened() or not self.rate > 0:
            raise ValueError(
                f'{path}: cannot be read as a video: damaged, or of a format that OpenCV does not read. Copy '
                'it again, or convert it: ffmpeg -i VIDEO NEW.mp4'
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames ``(H, W, 3)`` in uint8 and BGR."""
        while True:
            there, frame = self._capture.read()
            if not there:
                return
            yield frame


def paint_video(
    path: Path,
    out: Path,
    draw: Callable[[np.ndarray], np.ndarray],
    track: Callable[[Iterable[np.ndarray], int], Iterable[np.ndarray]] = lambda frames, length: frames,
) -> None:
    """Write ``draw(frame)``, in RGB, of every frame to an MP4, whole or not at all.

    At the video's frame rate. ``track(frames, length)`` sees the frames go by, for a progress bar.

    Raises:
        ValueError: as ``Video``; also if it ends before its last frame, or its frames are too large.
        OSError: the result cannot be written.
    """
    video, count = Video(path), 0
    with _whole_file(out) as temporary:
        writer = None
        try:
            for frame in track(video, video.length):
                painted = _even(draw(frame))
                if writer is None:
                    writer = _open_writer(temporary, video.rate, painted)
                writer.write(cv2.cvtColor(painted, cv2.COLOR_RGB2BGR))
                count += 1
        finally:
            if writer is not None:
                writer.release()
        if not count or count < _CUT * video.length:
            raise ValueError(f'{path}: damaged; only {count} of its {video.length} frames can be read')
        if not cv2.VideoCapture(str(temporary)).isOpened():  # of a full disk OpenCV says nothing
            raise OSError(f'{out}: could not be written whole; make room on the disk')


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    # OpenCV writes only to names, and takes the format from the suffix.
    temporary = path.with_name(f'.{path.stem}.tmp{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise explain(error, path) from error
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _open_writer(path: Path, rate: float, frame: np.ndarray) -> cv2.VideoWriter:
    # MPEG-4: every build of OpenCV has its encoder.
    size = (frame.shape[1], frame.shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, size)
    if not writer.isOpened():
        raise ValueError(
            f'frames of {size[0]}x{size[1]} pixels are too large for MPEG-4; make the video smaller'
        )
    return writer


def _even(frame: np.ndarray) -> np.ndarray:
    """Make the sides of a frame even: OpenCV drops the last row or column of odd ones."""
    rows, columns = frame.shape[0] % 2, frame.shape[1] % 2
    return np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode='edge')
