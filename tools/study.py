"""Carry out a study: every run of a study file, then one analysis and one report over all.

A study (configs/studies) names leaf configs, seeds and what overrides them. Each run is tools/train.py in a
folder of its own. Runs that are done are not run again; runs that were cut short or failed are resumed;
those that fail are reported, and the others go on. Ctrl-C ends the runs so that the same command goes on with
them; with --cluster the jobs go on without this command, and the same command looks at them again.
"""

import argparse
import sys
import warnings
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console

from mmseg_deeplab_study.studies.command import (
    add_study_arguments,
    analyse_and_report,
    check_arguments,
    report_failures,
    run_study,
    show_plan,
)
from mmseg_deeplab_study.studies.plan import check_study, read_study

console = Console(highlight=False, markup=False, soft_wrap=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
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
    args = parser.parse_args()
    check_arguments(parser, args)
    return args


def main() -> int:
    args = parse_args()
    # mmengine 0.10.7 says so at every `mmseg::` base of a config; no user can do anything about it.
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    try:
        study = read_study(args.study, args.work_dir, args.cfg_options)
        check_study(study)
        if args.dry_run:
            show_plan(study, args, console)
            return 0
        states = run_study(study, args, console)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        console.print(f'error: {error}', style='red')
        return 1
    except KeyboardInterrupt:
        console.print('Interrupted: the same command goes on')
        return 130
    done = report_failures(study, states, console)
    if not done:
        console.print('No adaptation has ended: no report')
        return 1
    code = analyse_and_report(study, done, console)
    return code or int(any(state.status != 'done' for state in states.values()))


if __name__ == '__main__':
    sys.exit(main())
