"""What of a run's log is also shown on the console, in lines of 100 columns."""

import logging
import re
from pathlib import Path

import mmengine
from mmengine.logging.logger import MMFormatter

COLUMNS = 100
_MMENGINE = f'{Path(mmengine.__file__).parent}/'
# How messages of MMEngine's begin that say nothing to a user; all but the last are of level INFO.
_NOISE = re.compile(
    r'paramwise_options -- |Using env variable `|Config:\n|Hooks will be executed in the following order:'
    r'|\n-+\nSystem environment:|Distributed training is not used, all SyncBatchNorm|Exp name: '
    # Of a class that has had no score yet.
    r'|resumed key: .* is not defined in message_hub'
)
_PROGRESS = re.compile(r'(.{14} (?:Iter|Epoch)\((?:train|val)\)(?: *\[[^\]]*\])+)(.*)')
# Scores of single classes, parts of the loss, and times that the time of an iteration includes.
_IN_THE_FILE = re.compile(r'(\w+/)?B?IoU\.|\w+\.(loss|acc)_|data_time: ')


def is_shown(record: logging.LogRecord) -> bool:
    """Whether a message is for the console too: all but MMEngine's noise."""
    return not (record.pathname.startswith(_MMENGINE) and _NOISE.match(record.getMessage()))


class ConsoleFormatter(MMFormatter):
    """MMEngine's, with a short prefix; lines of training and validation keep what a user follows.

    These leave single classes, parts of the loss and ``data_time`` to the log file, and are wrapped.
    """

    def __init__(self) -> None:
        super().__init__(color=True, datefmt='%m/%d %H:%M:%S')
        self.info_format = '%(asctime)s %(message)s'
        self.warn_format = self.warn_format.replace(' - %(name)s - ', ' ').replace(
            ' - %(message)s', ' %(message)s'
        )

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as a line, or as more where it has more to say."""
        text = super().format(record)
        line = _PROGRESS.fullmatch(text) if record.levelno == logging.INFO else None
        return text if line is None else _wrap(*line.groups())


def _wrap(head: str, values: str) -> str:
    lines = [head]
    for value in re.split(' {2,}', re.sub(r'\bbase_lr: \S+ (?=lr: )', '', values).strip()):
        if _IN_THE_FILE.match(value):
            continue
        if len(lines[-1]) + 2 + len(value) > COLUMNS:
            lines.append(' ' * 13)
        lines[-1] += f'  {value}'
    return '\n'.join(lines)
