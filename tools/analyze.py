"""Measure how runs adapted: tables on the screen, analysis.json, analysis.csv.

Takes the work_dirs of runs with AdaptationHook, or their records, or a snapshot.pickle of the original study,
of which only numbers are read (Cityscapes' classes, a validation every 5 iterations). Runs that differ only
in the seed are also averaged, with a 95 % interval of the mean by Student's t. Experiments of one task are
compared: mIoU, recovery, seen and unseen classes, Boundary IoU, forgetting. Classes are listed in the order
in which they reached half their best IoU. With the default head transfer, the class that inherits the
background's row (road) has an IoU at iteration 0 that it has not learnt.
"""

import argparse
from pathlib import Path

from _arguments import Parser, run

REGISTERS_NOTHING = True


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='or its adaptation.jsonl')
    parser.add_argument('--iou', type=float, default=20, help='iterations to this IoU, in %% (default: 20)')
    parser.add_argument(
        '--share', type=float, default=0.5, help='iterations to this share of the best IoU (default: 0.5)'
    )
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        help='where analysis.json and analysis.csv go (default: WORK_DIR, or the folder that holds them all)',
    )
    parser.add_argument('--figure', type=Path, help='also draw the curves; PNG, PDF or SVG by the suffix')
    parser.add_argument(
        '--export', type=Path, help="also write the record of one run in the layout of the study's pickle"
    )
    return parser.parse_args()


def main() -> int:
    """Analyse the runs, write files and figures, and print the tables."""
    args = parse_args()

    from mmseg_deeplab_study.atomic_file import write_atomically
    from mmseg_deeplab_study.report.analysis import analyse, as_csv, as_json
    from mmseg_deeplab_study.report.analysis_text import as_text
    from mmseg_deeplab_study.report.comparisons import SIDE_BY_SIDE, compare
    from mmseg_deeplab_study.report.runs import common_folder, read_runs
    from mmseg_deeplab_study.runs.study_record import write_study_record

    runs = read_runs(args.work_dirs)
    if args.export and len(runs) != 1:
        raise ValueError(f'--export takes the record of one run, but got {len(runs)}')
    out = args.out or common_folder(runs.values())
    analysis = analyse(runs, args.iou, args.share)
    files = {'analysis.json': as_json(analysis), 'analysis.csv': as_csv(analysis)}
    text, compared = as_text(analysis), compare(analysis.groups)
    # Files first: the reader of the text may close the pipe.
    for name, content in files.items():
        write_atomically(out / name, content.encode())
    written = [out / name for name in files]
    if args.figure:
        from mmseg_deeplab_study.report.paper import draw_adaptation

        written.append(draw_adaptation(analysis, args.figure))
    if args.export:
        write_study_record(analysis.runs[0].history, args.export)
        written.append(args.export)
    print(text)
    if compared:
        print('', SIDE_BY_SIDE, *compared, sep='\n')
    for path in written:
        print(f'Wrote {path}')
    return 0


if __name__ == '__main__':
    run(main)
