"""Compare our logits with the peers' golden logits, and with torchvision's."""

import argparse
import os
from pathlib import Path

from _arguments import Parser, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    beside = Path(__file__).resolve().parents[2] / 'shared'
    parser = Parser(description=__doc__)
    parser.add_argument(
        '--golden',
        type=Path,
        default=Path(os.environ.get('STUDY_SHARED') or beside) / 'golden',
        help='folder of golden logits: PEER_MODEL[_osN].npz and .keys.json, reference_weights.py '
        '(default: $STUDY_SHARED/golden, else ../shared/golden beside the checkout)',
    )
    return parser.parse_args()


def main() -> int:
    """Compare, and print the table; returns an exit code."""
    args = parse_args()

    from mmseg_deeplab_study.checkpoints.parity import compare_all

    return compare_all(args.golden)


if __name__ == '__main__':
    run(main)
