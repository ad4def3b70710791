"""Fetch public photographs and weights, checked, to where the configs look for them.

Without a name: what there is. Weights go into checkpoints/, CamVid's archive into data/downloads/ and what is
made of it, every fourth photograph, into data/camvid_cityscapes. Files that are there are checked and kept,
so the same command resumes where it stopped.
"""

import argparse

from _arguments import Parser, run

# Weights are fetched without torch.
REGISTERS_NOTHING = True


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help='such as camvid, or all; without one, what there is'
    )
    parser.add_argument(
        '--mirror',
        metavar='URL',
        help='fetch the files by their names from there, such as file:///mnt/mirror or an intranet server',
    )
    return parser.parse_args()


def main() -> int:
    """Fetch what is named, or say what there is; returns an exit code."""
    args = parse_args()

    from mmseg_deeplab_study.datasets.fetch import overview, run_command

    if args.names:
        return run_command(args.names, args.mirror)
    print(overview())
    return 0


if __name__ == '__main__':
    run(main)
