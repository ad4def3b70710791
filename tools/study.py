"""Carry out a study: every run of a study file, then one report over all.

A study (configs/studies) names leaf configs, seeds and overrides. Each run is tools/train.py in its own
folder. Complete runs are not run again; interrupted and failed ones are resumed; those that fail are
reported, and the others continue. Ctrl-C ends the runs, and the same command resumes them; with --cluster the
jobs continue without this command, and the same command follows them again.
"""

import argparse
from pathlib import Path

from _arguments import DictAction, Parser, add_study_arguments, parse_study_arguments, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        'study', type=Path, metavar='STUDY', help='study file, such as configs/studies/camvid.py'
    )
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/studies/<name of the study>')
    add_study_arguments(parser)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override parts of the study, as key=value pairs: seeds=[0,1] options.load_from=CHECKPOINT',
    )
    return parse_study_arguments(parser)


def main() -> int:
    """Carry the study out; returns an exit code."""
    args = parse_args()

    from mmseg_deeplab_study.studies.carry_out import analyse_and_report, carry_out_study
    from mmseg_deeplab_study.studies.plan import read_study

    return carry_out_study(
        lambda: read_study(args.study, args.work_dir, args.cfg_options), analyse_and_report, args
    )


if __name__ == '__main__':
    run(main)
