"""Predict photographs and videos: the classes painted over each, with a legend, and label maps.

Writes OUT/NAME_overlay.jpg and OUT/NAME_labels.png (a palette PNG of class ids) for a photograph,
OUT/NAME_overlay.mp4 for a video. Images go through the config's test pipeline, labels come back in the
image's own size. Classes and colours are the checkpoint's where it names them, else those of the config's
dataset.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

import mmseg_deeplab_study  # noqa: F401  (registers everything)
from mmseg_deeplab_study.allocator import keep_freed_memory
from mmseg_deeplab_study.datasets.label_maps import write_label_map
from mmseg_deeplab_study.engine.launch import add_config_arguments, add_device_argument, read_config
from mmseg_deeplab_study.inference.files import (
    Job,
    find_inputs,
    is_video,
    plan_jobs,
    read_photograph,
    refuse_existing,
    write_picture,
)
from mmseg_deeplab_study.inference.inferencer import TrainedInferencer
from mmseg_deeplab_study.inference.overlay import largest_first, legend_entries, paint, with_legend
from mmseg_deeplab_study.inference.video import paint_video

# Images so many times larger than those of the config are worth a note.
LARGE = 2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file, or scheme and path such as tflite://FILE')
    parser.add_argument(
        'inputs', nargs='+', type=Path, metavar='INPUT', help='a photograph, a video, or a folder of them'
    )
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder of the results')
    parser.add_argument(
        '--opacity',
        type=float,
        default=0.55,
        help='of the colours, 0 to 1 (default: %(default)s)',
    )
    parser.add_argument(
        '--long-side',
        type=int,
        metavar='PIXELS',
        help='longer side of what the network sees, in place of the resize in the config: near to that of\n'
        'the images it was trained on, and less where memory is short',
    )
    add_device_argument(parser)
    parser.add_argument('--no-legend', dest='legend', action='store_false', help='the picture alone')
    parser.add_argument(
        '--no-labels', dest='labels', action='store_false', help='write no label maps of photographs'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace results that are there already')
    args = parser.parse_args()
    if not 0 <= args.opacity <= 1:
        parser.error(f'--opacity must be between 0 and 1, but got {args.opacity:g}')
    if args.long_side is not None and args.long_side < 1:
        parser.error(f'--long-side must be at least 1, but got {args.long_side}')
    if args.out.exists() and not args.out.is_dir():
        parser.error(f'-o {args.out} is a file; give a folder')
    return args


class Painter:
    """From images in BGR to labels, and to pictures in RGB with those painted over."""

    def __init__(self, inferencer: TrainedInferencer, opacity: float, legend: bool) -> None:
        self.inferencer = inferencer
        self.classes = inferencer.model.dataset_meta['classes']
        self.palette = inferencer.model.dataset_meta['palette']
        self.opacity = opacity
        self.legend = legend
        self._usual_side = inferencer.usual_side

    def predict(self, image: np.ndarray) -> np.ndarray:
        if self._usual_side is not None and max(image.shape[:2]) > LARGE * self._usual_side:
            print(
                f'note: an image of {image.shape[1]}x{image.shape[0]} pixels, where the config has about '
                f'{self._usual_side}: --long-side {self._usual_side} is sooner, and may be more right',
                file=sys.stderr,
            )
            self._usual_side = None  # once is enough
        return self.inferencer.predict(image)

    def paint(self, image: np.ndarray, labels: np.ndarray, all_classes: bool = False) -> np.ndarray:
        """With ``all_classes`` the legend has also those that are not there, each in its place."""
        painted = paint(image[..., ::-1], labels, self.palette, self.opacity)
        if not self.legend:
            return painted
        entries = legend_entries(labels, self.classes, self.palette)
        return with_legend(painted, entries if all_classes else largest_first(entries))


def predict_photograph(job: Job, painter: Painter) -> None:
    image = read_photograph(job.source)
    labels = painter.predict(image)
    write_picture(job.overlay, painter.paint(image, labels))
    if job.labels is not None:
        write_label_map(job.labels, labels, painter.palette)


def predict_video(job: Job, painter: Painter, progress: Progress) -> None:
    def track(frames: Iterable[np.ndarray], length: int) -> Iterable[np.ndarray]:
        task = progress.add_task(job.source.name, total=length or None)
        try:
            yield from progress.track(frames, total=length or None, task_id=task)
        finally:
            progress.remove_task(task)

    def draw(frame: np.ndarray) -> np.ndarray:
        return painter.paint(frame, painter.predict(frame), all_classes=True)

    paint_video(job.source, job.overlay, draw, track)


def predict(args: argparse.Namespace) -> int:
    """Predict all inputs; returns how many could not be.

    Raises:
        OSError, ValueError, ImportError: before any is predicted, for inputs, outputs, config or checkpoint.
    """
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
            except (OSError, ValueError) as error:
                failed += 1
                print(f'error: {error}', file=sys.stderr)
            except torch.cuda.OutOfMemoryError:
                failed += 1
                print(f'error: {job.source}: too large for the GPU; give --long-side', file=sys.stderr)
            else:
                print(f'Wrote {", ".join(map(str, job.outputs))}')
    if failed:
        print(f'error: {failed} of {len(jobs)} inputs could not be predicted', file=sys.stderr)
    return failed


def main() -> int:
    args = parse_args()
    keep_freed_memory()
    try:
        return int(predict(args) > 0)
    except (OSError, ValueError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
