"""Predict files of photographs and videos, for tools/predict.py."""

import argparse
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..datasets.label_maps import write_label_map
from ..memory import is_out_of_memory, keep_freed_memory
from ..runs.config import read_config
from .files import Job, find_inputs, is_video, plan_jobs, read_photograph, refuse_existing, write_picture
from .inferencer import TrainedInferencer
from .overlay import largest_first, legend_entries, paint, with_legend
from .video import paint_video

# An image LARGE times larger than those of the config is worth a note.
LARGE = 2


class Painter:
    """Turn images in BGR into labels, and into pictures in RGB painted with them."""

    def __init__(self, inferencer: TrainedInferencer, opacity: float, legend: bool) -> None:
        self.inferencer = inferencer
        self.classes = inferencer.model.dataset_meta['classes']
        self.palette = inferencer.model.dataset_meta['palette']
        self.opacity = opacity
        self.legend = legend
        self._usual_side = inferencer.usual_side

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Labels of an image; notes once that one is much larger than the config's."""
        if self._usual_side is not None and max(image.shape[:2]) > LARGE * self._usual_side:
            print(
                f'note: an image of {image.shape[1]}x{image.shape[0]} pixels, where the config has about '
                f'{self._usual_side}: --long-side {self._usual_side} is faster and may be more accurate',
                file=sys.stderr,
            )
            self._usual_side = None  # once is enough
        return self.inferencer.predict(image)

    def paint(self, image: np.ndarray, labels: np.ndarray, all_classes: bool = False) -> np.ndarray:
        """Paint labels over an image; ``all_classes`` puts absent ones into the legend."""
        painted = paint(image[..., ::-1], labels, self.palette, self.opacity)
        if not self.legend:
            return painted
        entries = legend_entries(labels, self.classes, self.palette)
        return with_legend(painted, entries if all_classes else largest_first(entries))


def predict_photograph(job: Job, painter: Painter) -> None:
    """Write the overlay of a photograph, and its label map where the job has one."""
    image = read_photograph(job.source)
    labels = painter.predict(image)
    write_picture(job.overlay, painter.paint(image, labels))
    if job.labels is not None:
        write_label_map(job.labels, labels, painter.palette)


def predict_video(job: Job, painter: Painter, progress: Progress) -> None:
    """Write the overlay of a video, with a bar of its frames."""

    def track(frames: Iterable[np.ndarray], length: int) -> Iterable[np.ndarray]:
        task = progress.add_task(job.source.name, total=length or None)
        try:
            yield from progress.track(frames, total=length or None, task_id=task)
        finally:
            progress.remove_task(task)

    def draw(frame: np.ndarray) -> np.ndarray:
        return painter.paint(frame, painter.predict(frame), all_classes=True)

    paint_video(job.source, job.overlay, draw, track)


def describe_failure(error: Exception, source: Path) -> str:
    """Say why an input could not be predicted, in one line that starts with its path."""
    text = ' '.join(str(getattr(error, 'strerror', None) or error).split())
    if is_out_of_memory(error):
        text = 'out of memory; give a smaller --long-side'
    elif not isinstance(error, (OSError, ValueError)):
        text = f'{type(error).__name__}: {text} (--debug shows the traceback)'
    return text if text.startswith(str(source)) else f'{source}: {text}'


def run(args: argparse.Namespace) -> int:
    """Predict all inputs that the flags name; returns 1 if some could not be, else 0.

    Raises:
        OSError, ValueError, ImportError: before any is predicted, for inputs, outputs, config or checkpoint.
        OSError: an output cannot be written; none after it could be.
    """
    keep_freed_memory()
    jobs = plan_jobs(find_inputs(args.inputs, args.out), args.out, args.labels)
    if not args.overwrite:
        refuse_existing(jobs)
    cfg = read_config(args.config, args.cfg_options)
    painter = Painter(
        TrainedInferencer(cfg, args.checkpoint, args.device, args.long_side), args.opacity, args.legend
    )
    failed = 0
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for job in progress.track(jobs, description='Predicting'):
            try:
                if is_video(job.source):
                    predict_video(job, painter, progress)
                else:
                    predict_photograph(job, painter)
            except Exception as error:
                if isinstance(error, OSError) and error.filename != str(job.source):
                    raise
                failed += 1
                print(f'error: {describe_failure(error, job.source)}', file=sys.stderr)
                if args.debug:
                    traceback.print_exc()
            else:
                print(f'Wrote {", ".join(map(str, job.outputs))}')
    if failed:
        print(f'error: {failed} of {len(jobs)} inputs could not be predicted', file=sys.stderr)
    return int(failed > 0)
