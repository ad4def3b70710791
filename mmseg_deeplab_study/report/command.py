"""A report from records to a page, once or as they grow, for tools/report.py."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..atomic_file import write_atomically
from ..evaluation.score_curves import rows_with
from ..runs.history import FILE_NAME
from .analysis import analyse
from .page import render_page
from .runs import RunFolder, common_folder, read_runs


def make_report(args: argparse.Namespace) -> dict[str, RunFolder]:
    """Write the page, and figures if asked for; returns all runs.

    Without ``args.out`` the page is ``report.html`` in the run's folder, or in the one that holds all runs.

    A run without a validation is named and left out. Raises FileNotFoundError and ValueError as
    ``read_runs``, ValueError if no run has a validation, OSError if a file cannot be written.
    """
    runs = read_runs(args.work_dirs)
    shown = {name: run for name, run in runs.items() if rows_with(run.history.validations, 'mIoU')}
    for name in (name for name in runs if name not in shown):
        print(f'warning: {name} has no validation with an mIoU yet and is left out', file=sys.stderr)
    if not shown:
        raise ValueError(f'none of {", ".join(runs)} has a validation with an mIoU yet')
    analysis = analyse(shown)
    page = render_page(analysis, frames=args.frames, width=args.width)
    out = args.out or common_folder(runs.values()) / 'report.html'
    write_atomically(out, page.encode())
    print(f'Wrote {out} ({len(page.encode()) / 1e6:.1f} MB)')
    if args.figures:
        from .paper import write_figures

        for path in write_figures(analysis, args.figures):
            print(f'Wrote {path}')
    return runs


def sizes(paths: Sequence[Path]) -> list[int]:
    """Bytes of each record, 0 where there is none yet."""
    records = [path / FILE_NAME if path.is_dir() else path for path in paths]
    return [record.stat().st_size if record.is_file() else 0 for record in records]


def watch(args: argparse.Namespace) -> None:
    """Make the report again when a record has grown, until all runs are at their end."""
    while True:
        # Before they are read: what is written meanwhile is seen the next time.
        seen = sizes(args.work_dirs)
        try:
            runs = make_report(args)
        except (FileNotFoundError, ValueError) as error:
            # A run that has only just begun has no record, or no validation.
            print(f'waiting: {error}', file=sys.stderr)
        else:
            unfinished = [name for name, run in runs.items() if run.finished is False]
            if not unfinished:
                return
            print(
                f'watching {", ".join(unfinished)} to the end; Ctrl-C stops',
                file=sys.stderr,
            )
        while sizes(args.work_dirs) == seen:
            time.sleep(args.watch_interval)
