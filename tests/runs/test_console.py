"""What of a run's log the console shows: no noise, no lost warning, lines of 100 columns."""

import logging
from pathlib import Path

import mmengine
import pytest

from mmseg_deeplab_study.runs.console import COLUMNS, ConsoleFormatter, is_shown

# From where print_log logs, MMEngine's messages and our own.
OF_MMENGINE = str(Path(mmengine.__file__).parent / 'logging/logger.py')


def record(message: str, level: int = logging.INFO, path: str = OF_MMENGINE) -> logging.LogRecord:
    return logging.LogRecord('mmengine', level, path, 1, message, None, None)


@pytest.mark.parametrize(
    ('message', 'level'),
    [
        ('paramwise_options -- decode_head.conv_seg.weight:lr=0.001', logging.INFO),
        ('Using env variable `CAMVID_ROOT` with value of /data to replace item in config.', logging.INFO),
        (f'\n{"-" * 60}\nSystem environment:\n    sys.platform: linux', logging.INFO),
        ('Config:\nmodel = dict()', logging.INFO),
        ('Hooks will be executed in the following order:\nbefore_run:', logging.INFO),
        ('Distributed training is not used, all SyncBatchNorm (SyncBN) layers', logging.INFO),
        ('Exp name: run_20261127_120219', logging.INFO),
        ('resumed key: val/IoU.traffic light is not defined in message_hub, just skip', logging.WARNING),
    ],
)
def test_noise_of_mmengine_is_for_the_file_alone(message, level):
    assert not is_shown(record(message, level))
    # A hook of a user's own may say the same.
    assert is_shown(record(message, level, '/home/someone/hooks.py'))


@pytest.mark.parametrize('level', [logging.INFO, logging.WARNING, logging.ERROR])
@pytest.mark.parametrize('message', ['Load checkpoint from a.pth', 'The config: Config:\n', 'resumed key: a'])
def test_everything_else_is_shown(message, level):
    assert is_shown(record(message, level))


CLASSES = '  '.join(f'IoU.{name}: 40.7621  BIoU.{name}: 3.1' for name in ('road', 'traffic sign'))


def test_a_validation_keeps_its_means():
    means = 'mIoU: 13.4300  aAcc: 49.0982  mAcc: 31.3810  mIoU.seen: 15.1226  mine/score: 1.0  BIoU: 8.1'
    text = f'Iter(val) [26/26]    {means}  {CLASSES}  probe/IoU.road: 3.0  data_time: 0.0108  time: 0.3519'
    lines = ConsoleFormatter().format(record(text)).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    date, time, *words = ' '.join(lines).split()
    assert ' '.join(words) == f'Iter(val) [26/26] {" ".join(means.split())} time: 0.3519'


def test_a_training_line_keeps_rate_time_left_and_loss():
    text = (
        'Iter(train) [    5/20000]  base_lr: 5.8919e-04 lr: 5.8919e-05  eta: 1 day, 0:00:22  time: 4.4169  '
        'data_time: 0.0455  loss: 2.3657  decode.loss_ce: 2.3657  decode.acc_seg: 20.1'
    )
    first, second = ConsoleFormatter().format(record(text)).splitlines()
    assert first[15:] == ('Iter(train) [    5/20000]  lr: 5.8919e-05  eta: 1 day, 0:00:22  time: 4.4169')
    assert second.split() == ['loss:', '2.3657']


def test_other_lines_are_as_they_are():
    table = '+---+\n| a  IoU.road: 3 |\n+---+'
    assert ConsoleFormatter().format(record(table))[15:] == table
    warning = ConsoleFormatter().format(record('Iter(val) [1/2]  IoU.road: 3', logging.WARNING))
    assert 'WARNING' in warning and warning.endswith(' Iter(val) [1/2]  IoU.road: 3')
