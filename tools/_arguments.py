"""How every tool starts and ends, and the flags that several share.

Imports the standard library alone, torch or MMEngine only for a flag that needs it. Found beside the tool, so
not with `python -P`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TextIO


class Parser(argparse.ArgumentParser):
    """The parser of a tool, with the flag that all have."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument('--debug', action='store_true', help='show the traceback of an error')


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call a tool's ``main`` and end with its exit code, as ``exit_code`` says.

    Where an output is closed, or a pipe without a reader, what is written to it is dropped and the tool
    finishes its work.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened would take its number.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _open_stream(1, sys.stdout), _open_stream(2, sys.stderr)
    # Else a log that cannot be written shows a traceback for each line.
    logging.raiseExceptions = False
    status = exit_code(main)
    if launch := sys.modules.get('mmseg_deeplab_study.runs.launch'):
        launch.leave_ranks(status)
    sys.exit(status)


class _Stream(io.FileIO):
    """An output that drops all after an error; a closed pipe is no error."""

    failed = False

    def write(self, content: Any) -> int:
        try:
            return len(content) if self.failed else super().write(content)
        except OSError as error:
            self.failed = True
            if not isinstance(error, BrokenPipeError):
                raise
            return len(content)


def _open_stream(number: int, stream: TextIO | None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(number, 'w', closefd=False)),
        stream.encoding if stream else 'utf-8',
        'backslashreplace',
        line_buffering=stream is None or stream.line_buffering or stream.write_through,
    )


def exit_code(main: Callable[[], int | None]) -> int:
    """Call a tool's ``main``; an error becomes one line on standard error, and code 1.

    Ctrl-C is code 130, with a line if it says what to do next. SystemExit passes, such as argparse's for
    usage (2). ``--debug`` shows the traceback, and the run's log file has it too.
    """
    try:
        status = main() or 0
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            print(f'interrupted: {interrupt}', file=sys.stderr)
        return 130
    except Exception as error:
        log = _log_traceback()
        message = _describe(error, log)
        if '--debug' in sys.argv:
            traceback.print_exc()
        else:
            print(f'error: {message}', file=sys.stderr)
        work_dir = sys.modules.get('mmseg_deeplab_study.runs.work_dir')
        if work_dir and not (log and log in message):
            work_dir.remove_unbegun()
        return 1
    return status


def _log_traceback() -> str | None:
    """Write the traceback into the log file of the run; returns its path, None if there is none."""
    if (logging := sys.modules.get('mmengine.logging')) is None:
        return None
    for handler in logging.MMLogger.get_current_instance().handlers:
        if path := getattr(handler, 'baseFilename', None):
            with contextlib.suppress(OSError), open(path, 'a', encoding='utf-8') as log:
                log.write(traceback.format_exc())
                return path
    return None


_CURES = {
    errno.ENOSPC: '; make room, or give another place',
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM), '; give another place, or the right to write there'
    ),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), '; a folder was expected, but a file is there'),
    errno.EISDIR: '; a file was expected',
}


def _describe(error: Exception, log: str | None) -> str:
    """Describe an error in one line, with its type and its traceback's place if it was not for a user."""
    # KeyError shows its message as it would be typed.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    before, caught, worker = text.rpartition('Traceback (most recent call last):')
    if caught:
        # An error of a data loader's worker comes with its traceback; frames are indented.
        text = '\n'.join(line for line in worker.splitlines() if not line.startswith(' '))
    text = ' '.join(line.strip() for line in text.splitlines() if line.strip())
    # The object of MMEngine's that called it says nothing to a user.
    text = re.sub(r' in <[\w.]+ object at 0x[0-9a-f]+>$', '', text)
    rank = f'rank {os.environ.get("RANK")}: ' if int(os.environ.get('WORLD_SIZE') or 1) > 1 else ''
    if isinstance(error, OSError) and error.strerror:
        place = f'{error.filename}: ' if error.filename else ''
        # Our own say what to do.
        cure = _CURES.get(error.errno, '') if error.strerror == os.strerror(error.errno or 0) else ''
        text = f'{place}{error.strerror}{cure}'
    parts = sys.modules.get('mmseg_deeplab_study.runs.parts')
    named = parts and not caught and parts.name_part(error)
    if named:
        text = ' '.join(named.split())
    # Of a kind by which code says that it does not take what it was given.
    refused = isinstance(error, (ValueError, TypeError, KeyError, AssertionError, ImportError))
    if text and (isinstance(error, OSError) or caught or _raised_by_us(error) or (named and refused)):
        return rank + text
    where = f'traceback in {log}' if log else '--debug shows the traceback'
    if parts and not (caught or named) and (running := parts.name_running_part(error)):
        return f'{rank}{" ".join(running.split())} ({where})'
    return f'{rank}{": ".join(filter(None, (type(error).__name__, text)))} ({where})'


def _raised_by_us(error: Exception) -> bool:
    """Whether our own code raised an error for a user, of a kind that has a message."""
    if not isinstance(error, (ValueError, RuntimeError, ImportError, KeyError, ArithmeticError)):
        return False
    module = [frame.f_globals.get('__name__', '') for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    return module == '__main__' or module.startswith('mmseg_deeplab_study')


# Keys whose values are paths, which stay as they are typed.
PATHS = ('load_from', 'work_dir', 'data_root', 'ann_file', 'out_dir', 'img_path', 'seg_map_path')


class DictAction(argparse.Action):
    """MMEngine's action of this name, imported only where the flag is given.

    MMEngine splits a value at commas, reads digits as a number and drops white space. Here a path stays as it
    is typed, and so does white space between words.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *args: Any
    ) -> None:
        from mmengine.config import DictAction as MMEngineDictAction

        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values:
            key, equals, value = pair.partition('=')
            path = value.strip('\'"')
            if not key or not equals:
                parser.error(f'argument {self.option_strings[0]}: expected key=value, but got {pair!r}')
            if (key.split('.')[-1] in PATHS or key.endswith('init_cfg.checkpoint')) and path != 'None':
                options[key] = path
                continue
            try:
                # Between words, and not beside a comma or bracket.
                kept = re.sub(r'(?<=[^\s,([]) +(?=[^\s,)\]])', lambda blanks: '\0' * len(blanks[0]), path)
                options[key] = _with_blanks(MMEngineDictAction._parse_iterable(kept))
            except AssertionError as error:
                parser.error(f'argument {self.option_strings[0]}: {pair!r}: {error}')
        setattr(namespace, self.dest, options)


def _with_blanks(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_blanks, value))
    return value.replace('\0', ' ') if isinstance(value, str) else value


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag: a whole number that is not less."""

    def parse(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f'must be at least {least}, but got {number}')
        return number

    parse.__name__ = 'int'  # a usage error says it of what is no number
    return parse


def add_run_arguments(parser: argparse.ArgumentParser, checkpoint: bool = False) -> None:
    """Add the flags that every MMSegmentation tool has."""
    add_config_arguments(parser, checkpoint)
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher (default: none)',
    )
    # torchrun passes --local-rank, its predecessor --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_config_arguments(parser: argparse.ArgumentParser, checkpoint: bool = False) -> None:
    """Add the config, the flag that overrides its settings, and what the model is loaded from."""
    parser.add_argument('config', help='config file path')
    if checkpoint:
        parser.add_argument('checkpoint', help='checkpoint file, or scheme and path such as tflite://FILE')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs: train_dataloader.batch_size=2 key="[a,b]"',
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add what the model runs on, None if it is not given."""
    parser.add_argument(
        '--device', type=_device, help='such as cpu or cuda:0 (default: a GPU if there is one)'
    )


def _device(name: str) -> str:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f'{name!r} cannot be used ({reason})') from None
    return name


def add_study_arguments(
    parser: argparse.ArgumentParser, jobs: str = 'as many as the GPUs take, on the CPU one'
) -> None:
    """Add the flags of a study; ``jobs`` describes the default of ``--jobs``."""
    parser.add_argument(
        '--jobs',
        type=at_least(1),
        help=f'runs at a time (default: {jobs}); not for --cluster slurm, where the study has resources',
    )
    parser.add_argument(
        '--cluster',
        choices=['local', 'slurm'],
        help='run by submitit: slurm as job arrays, local as jobs on this machine that outlive this command '
        '(default: child processes, which end with it)',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='only check everything, and print what would run and what is missing, with --cluster slurm also '
        'the scripts',
    )


def parse_study_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the flags of a study; a usage error where they do not fit together."""
    args = parser.parse_args()
    if args.jobs is not None and args.cluster == 'slurm':
        parser.error('--jobs is not for --cluster slurm; set resources.array_parallelism in the study')
    return args
