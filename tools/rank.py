"""Rank sources by how well they would transfer, before any of them is trained.

Runs each source model once over training images of the target and scores its features there: LEEP, H-score,
regularised H-score, LogME, and the mIoU of a linear classifier. Whether these predict which source adapts
best is not established: docs/rank/validate.py checks it against observed adaptations. A source without a
classifier of its own, such as ImageNet's backbone, has no LEEP and no view.
"""

import argparse
from pathlib import Path

from _arguments import DictAction, Parser, add_device_argument, at_least, run

SCORES = ('leep', 'h_score', 'regularised_h_score', 'log_me', 'linear_miou')


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SOURCE',
        help='CONFIG, CONFIG=LOAD_FROM (a path, or scheme and path such as tflite://FILE), or a study file',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of every config, or parts of the study file, as key=value pairs',
    )
    parser.add_argument(
        '--images',
        type=at_least(3),
        default=100,
        help='of the training split, evenly spaced (default: %(default)s)',
    )
    parser.add_argument(
        '--pixels', type=at_least(100), default=20000, help='sampled of them, at most (default: %(default)s)'
    )
    parser.add_argument('--seed', type=at_least(0), default=0, help='of the sample (default: %(default)s)')
    parser.add_argument(
        '--by', choices=SCORES, default='linear_miou', help='score to rank by (default: %(default)s)'
    )
    parser.add_argument(
        '--layer',
        choices=('backbone', 'classifier'),
        default='backbone',
        help="features to rank by: the backbone's last map, or the classifier's input; LEEP has the latter\n"
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--sample',
        choices=('as they come', 'balanced'),
        default='as they come',
        help='pixels to rank by: drawn alike, or as many of each class (default: %(default)s)',
    )
    parser.add_argument('-o', '--out', type=Path, help='also write all scores to this file, as JSON')
    add_device_argument(parser)
    args = parser.parse_args()
    if args.by == 'leep':
        args.layer = 'classifier'
    return args


def main() -> None:
    """Score the sources and print their tables."""
    args = parse_args()

    from mmseg_deeplab_study.studies.ranking import run

    run(args)


if __name__ == '__main__':
    run(main)
