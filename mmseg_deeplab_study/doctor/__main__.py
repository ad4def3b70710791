"""Check an environment, and say what is wrong and how to cure it.

Runs where MMSegmentation or this package cannot be imported. --data-root, --checkpoint and --config check
these too; each can be given several times.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from . import machine, packages
from .checkpoint import check_checkpoint, check_config
from .data_root import check_data_root
from .findings import Finding, as_json, as_text, exit_code, run_check, summary


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, prog='doctor')

    def add(option: str, kind: type, metavar: str, what: str) -> None:
        parser.add_argument(option, type=kind, metavar=metavar, action='append', default=[], help=what)

    add('--data-root', Path, 'DIR', 'a data root in the layout of Cityscapes or VOC: files and label ids')
    # Not a Path, which would drop a slash of a scheme.
    add('--checkpoint', str, 'FILE', 'what it is, and the load_from that takes it; runs no code in it')
    add('--config', Path, 'FILE', 'whether its data and checkpoint exist; a config is code, which is run')
    parser.add_argument(
        '--work-dir',
        type=Path,
        metavar='DIR',
        default=Path('work_dirs'),
        help='where runs will write (default: %(default)s)',
    )
    parser.add_argument('--deep', action='store_true', help='also decode the photographs of a data root')
    parser.add_argument('--strict', action='store_true', help='exit with code 1 for warnings, too')
    parser.add_argument('--json', action='store_true', help='print a list of objects instead of lines')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args()


def findings(args: argparse.Namespace) -> Iterator[Finding]:
    """Run the checks that are asked for; yields findings as they come."""
    for check in (*packages.CHECKS, *machine.CHECKS):
        yield from run_check(check)
    yield from run_check(machine.check_disk, args.work_dir)
    for root in args.data_root:
        yield from run_check(check_data_root, root, args.deep)
    for path in args.checkpoint:
        yield from run_check(check_checkpoint, path)
    for path in args.config:
        yield from run_check(check_config, path)


def say(text: str, output: TextIO | None) -> None:
    """Write to standard output; where nobody reads it, the exit code still counts."""
    if output is None:
        return
    try:
        output.write(text)
        output.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> int:
    """Check what the flags name; returns an exit code."""
    args = parse_args()
    found, output = [], sys.stdout
    # MMEngine logs on standard output, which is for findings alone.
    with contextlib.redirect_stdout(sys.stderr):
        for finding in findings(args):
            found.append(finding)
            if not args.json:
                say(as_text(finding), output)
    say(as_json(found) if args.json else summary(found), output)
    return exit_code(found, args.strict)


if __name__ == '__main__':
    sys.exit(main())
