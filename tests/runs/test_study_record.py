"""Records of the original study: what is read from them, and what is refused."""

import os
import pickle
import re
import reprlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.runs import study_record
from mmseg_deeplab_study.runs.history import FILE_NAME, History, HistoryWriter, read_history
from mmseg_deeplab_study.runs.study_record import read_study_record, write_study_record

CLASSES = ('road', 'person', 'motorcycle', 'bus')
each_protocol = pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))


def study(*ious, **columns) -> dict:
    """A record as StreamSegMetrics leaves it, one argument per validation."""
    return {
        'Class IoU': [dict(enumerate(np.array(iou, np.float64))) for iou in ious],
        'Mean IoU': columns.get('mean', [np.float64(0.25)] * len(ious)),
        'Overall Acc': columns.get('accuracy', [np.float64(0.5)] * len(ious)),
    }


def save(folder: Path, record, protocol: int | None = None) -> Path:
    path = folder / 'snapshot.pickle'
    path.write_bytes(record if isinstance(record, bytes) else pickle.dumps(record, protocol))
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f'{path}: ') + message) as error:
        read_study_record(path, CLASSES)
    assert len(str(error.value)) < 1000 + len(str(path))


@each_protocol
def test_reads_what_the_study_pickled(tmp_path, protocol):
    first, second = (0.5, 0.25, np.nan, 0.125), (1.0, 0.0, 0.5, np.nan)
    mean = [np.nanmean(first), np.float64(0.5), np.float64(np.nan)]
    record = study(first, second, [np.nan] * 4, mean=mean)
    assert type(record['Class IoU'][0][0]) is np.float64 is type(record['Mean IoU'][0])
    header, (one, two, nothing) = read_study_record(save(tmp_path, record, protocol), CLASSES)

    assert header == {
        'source_classes': list(study_record.resolve_classes('voc')),
        'target_classes': list(CLASSES),
        'seen_classes': ['person', 'motorcycle', 'bus'],  # motorbike in VOC
        'imported_from': 'snapshot.pickle',
        'seed': None,
    }
    assert one == {
        'iter': 5,
        'kind': 'validation',
        'subset': 'full',
        'aAcc': 50.0,
        'mAcc': None,
        'mIoU': pytest.approx(100 * (0.5 + 0.25 + 0.125) / 3),
        'mIoU.seen': 18.75,  # (25 + 12.5) / 2, motorcycle is absent
        'mIoU.unseen': 50.0,
        'class_iou': {'road': 50.0, 'person': 25.0, 'motorcycle': None, 'bus': 12.5},
    }
    assert (two['iter'], two['mIoU.seen'], two['mIoU.unseen']) == (10, 25.0, 100.0)
    assert [nothing[key] for key in ('mIoU', 'mIoU.seen', 'mIoU.unseen')] == [None] * 3
    # It can be kept as a record of ours: its numbers are plain ones.
    writer = HistoryWriter(tmp_path / FILE_NAME)
    writer.start(header)
    writer.append(one)
    assert read_history(tmp_path).rows == [one]


def test_label_spaces_and_interval(tmp_path):
    header = read_study_record(save(tmp_path, study([0.5] * 19))).header
    assert len(header['target_classes']) == 19
    assert header['seen_classes'] == ['person', 'car', 'bus', 'train', 'motorcycle', 'bicycle']
    path = save(tmp_path, study(*[(0.5, 0.25, 0.0, 0.0)] * 2))
    history = read_study_record(str(path), CLASSES, seen=['road', 'person'], interval=20)
    assert [row['iter'] for row in history.rows] == [20, 40]
    assert history.header['source_classes'] == history.header['seen_classes'] == ['road', 'person']
    assert (history.rows[0]['mIoU.seen'], history.rows[0]['mIoU.unseen']) == (37.5, 0.0)
    with pytest.raises(ValueError, match='interval must be at least 1 iteration, but got 0'):
        read_study_record(path, CLASSES, interval=0)


@each_protocol
@pytest.mark.parametrize('number', [float, np.float16, np.float32], ids=str)
def test_other_numbers(tmp_path, protocol, number):
    """By any class index; True and 1 are numbers too."""
    iou = {np.int64(3): True, 2: 0, 1: number(0.25), 0: number(0.5)}
    record = {'Class IoU': [iou], 'Mean IoU': [number(0.25)], 'Overall Acc': [np.bool_(True)]}
    (row,) = read_study_record(save(tmp_path, record, protocol), CLASSES).rows
    assert list(row['class_iou'].values()) == [50.0, 25.0, 0.0, 100.0]
    assert (row['mIoU'], row['aAcc']) == (25.0, 100.0)
    assert {type(value) for value in [*row['class_iou'].values(), row['mIoU'], row['aAcc']]} == {float}


@pytest.mark.parametrize('core', [b'numpy.core', b'numpy._core'])
def test_numpy_1_and_2_name_their_modules_differently(tmp_path, core):
    # In protocol 3 a name ends with its line; it was the study's default.
    named, count = re.subn(rb'numpy\._?core', core, pickle.dumps(study([0.5, 0.25, 0, 0.125]), 3))
    assert count == 1
    (row,) = read_study_record(save(tmp_path, named), CLASSES).rows
    assert list(row['class_iou'].values()) == [50.0, 25.0, 0.0, 12.5]


# Writing


def history_of_ours(*iterations: int) -> History:
    rows = [
        {
            'iter': i,
            'kind': 'validation',
            'subset': 'full',
            'mIoU': 100 / 3 + i,
            'aAcc': None if i == 5 else 90.0,
            # Not in the order of the classes.
            'class_iou': {'bus': None, 'road': 20.0 + i, 'person': None, 'motorcycle': None},
        }
        for i in iterations
    ]
    return History({'target_classes': list(CLASSES), 'seen_classes': list(CLASSES[1:])}, rows)


def test_written_record_has_the_layout_of_the_study_in_plain_numbers(tmp_path):
    history = history_of_ours(0, 5, 10)
    history.rows.insert(0, {'iter': 0, 'kind': 'forgetting', 'subset': 'full'})
    history.rows.insert(0, {'iter': 5, 'kind': 'validation', 'subset': 'probe'})
    path = tmp_path / 'snapshot.pickle'
    write_study_record(history, str(path))

    record = pickle.loads(path.read_bytes())
    absent = pytest.approx(np.nan, nan_ok=True)
    # The layout has no iteration 0.
    ious = [{0: share, 1: absent, 2: absent, 3: absent} for share in (0.25, 0.3)]
    means = [(100 / 3 + 5) / 100, (100 / 3 + 10) / 100]
    assert record == {'Class IoU': ious, 'Mean IoU': means, 'Overall Acc': [absent, 0.9]}
    assert b'numpy' not in path.read_bytes()

    read = read_study_record(path, CLASSES)
    assert [row['iter'] for row in read.rows] == [5, 10]
    for row, expected in zip(read.rows, history_of_ours(5, 10).rows, strict=True):
        assert row['class_iou'] == pytest.approx(expected['class_iou'])
        assert (row['mIoU'], row['aAcc']) == pytest.approx((expected['mIoU'], expected['aAcc']))


@pytest.mark.parametrize('iterations', [(0,), (0, 5, 15), (5, 10, 50), (10, 15)])
def test_what_the_layout_cannot_say_is_not_written(tmp_path, iterations):
    with pytest.raises(ValueError, match=r'iterations \[.*\], but the layout .* one interval and its multi'):
        write_study_record(history_of_ours(*iterations), tmp_path / 'snapshot.pickle')
    assert not (tmp_path / 'snapshot.pickle').exists()


# Refusing


class Call:
    """Pickles as a call of a function."""

    def __init__(self, *reduced) -> None:
        self.reduced = reduced

    def __call__(self):
        raise AssertionError('only so that pickle takes it for a function')

    def __reduce__(self):
        return self.reduced[0], self.reduced[1:]


SCALAR, DTYPE = np.float64(1).__reduce__()[0], np.dtype('f8')


def attacks(trace: str) -> dict:
    shout = f'touch {trace}'
    return {
        'system': (Call(os.system, shout), r'\w+\.system'),
        # The call of what another call returns.
        'chain': (Call(Call(getattr, Call(__import__, 'os'), 'system'), shout), r'\w+\.getattr'),
        'our own': (Call(write_atomically, trace, b''), r'mmseg_\w+\.[\w.]+'),
        'array': (np.array([Call(os.system, shout)], object), r'numpy\.\w+\.multiarray\._reconstruct'),
    }


@each_protocol
@pytest.mark.parametrize('name', attacks(''))
def test_code_is_refused_by_name_and_not_run(tmp_path, name, protocol):
    trace = tmp_path / 'trace'
    attack, refused_name = attacks(str(trace))[name]
    path = save(tmp_path, study([0.5, 0.25, 0, 0], mean=[attack]), protocol)
    refused(path, rf'.*it carries code \(({refused_name})\), which is refused and was not run$')
    assert not trace.exists()


def test_the_attack_would_work(tmp_path):
    # Else the test above proves nothing.
    trace = tmp_path / 'trace'
    pickle.loads(pickle.dumps(attacks(str(trace))['chain'][0]))
    assert trace.exists()


@each_protocol
@pytest.mark.parametrize(
    ('value', 'message'),
    [
        # numpy's own scalar constructor unpickles the bytes of an object type.
        (Call(SCALAR, np.dtype(object), pickle.dumps(1)), r"numpy type '\|O8' refused, expected one of num"),
        (np.str_('abcd'), "numpy type '<U4' refused"),
        (np.datetime64(0, 's'), "numpy type '<M8' refused"),
        (np.complex128(0), "numpy type '<c16' refused"),
        (np.zeros(1, [('a', 'f8')])[0], r"numpy type '\|V8' refused"),
        (np.longdouble(0), "numpy type '<f16' refused"),
        (SCALAR, r'scores must be numbers in 0\.\.1 or NaN, got <function'),
        (Call(SCALAR, 'f8', bytes(8)), "not a pickle of numbers.*'code'"),
        (Call(SCALAR, DTYPE, bytes(16)), 'can only convert an array of size 1'),
    ],
)
def test_values_of_numpy_that_are_no_numbers(tmp_path, value, message, protocol):
    refused(save(tmp_path, study([0.5] * 4, mean=[value]), protocol), f'.*{message}')


@pytest.mark.parametrize('name', study_record._ALLOWED)
def test_a_pickle_cannot_change_the_reader(tmp_path, name):
    # BUILD with the pair (None, {'__defaults__': ('x',), 'mark': 1}) sets attributes.
    module, _, function = name.rpartition('.')
    ours = study_record._ALLOWED[name]
    before = dict(vars(ours))
    build = f'c{module}\n{function}\n'.encode() + b'(N(V__defaults__\n(Vx\ntVmark\nI1\ndtb.'
    refused(save(tmp_path, build), '.*')
    assert dict(vars(ours)) == before
    assert getattr(ours, '__defaults__', None) is None


def nested(levels: int = 100) -> list:
    """2 ** levels items, were they written out."""
    return [nested(levels - 1)] * 2 if levels else [0.5]


PICKLE = pickle.dumps(study([0.5] * 4))
DAMAGED = 'not a pickle of numbers, or a damaged one: '


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        *((data, DAMAGED) for data in (b'', PICKLE[:-1], PICKLE[: len(PICKLE) // 2])),
        *((data, DAMAGED) for data in (b'<html>Not found</html>', b'PK\3\4' + bytes(100))),
        (b'Pfile\n.', '.*persistent'),
        (bytes(2**24 + 1), '16777217 bytes are too many for a record of scores; the limit is 16777216'),
        ([1], r"expected a dict with the keys \['Class IoU', 'Mean IoU', 'Overall Acc'\], got \[1\]"),
        ({'Class IoU': []}, r"expected a dict .*, got \['Class IoU'\]"),
        ({**study(), 'Mean Acc': []}, r"expected a dict with .*, got \['Class IoU', .*'Mean Acc'\]"),
        ({'Class IoU': nested()}, 'expected a dict with the keys'),
        (study(*[[]] * 100_001), '100001 validations; the limit is 100000'),
    ],
    ids=reprlib.repr,
)
def test_other_files(tmp_path, data, message):
    refused(save(tmp_path, data), message)


@pytest.mark.parametrize('data', [b']r\xff\xff\xff\x00.', b']p16777215\n.'])
def test_no_room_is_made_for_a_memo_of_a_few_bytes(tmp_path, data):
    tracemalloc.start()
    refused(save(tmp_path, data), 'expected a dict with the keys')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'Class IoU': 0.5}, "'Class IoU' must be a list with an entry per validation, got 0.5"),
        ({'Mean IoU': 0.5}, "'Mean IoU' must be a list with an entry per validation, got 0.5"),
        ({'Mean IoU': [0.5] * 2}, r"'Mean IoU' must be a list with an entry .*, got \[0.5, 0.5\]"),
        ({'Class IoU': [0.5]}, 'validation 1: IoU must be a dict from 0, got 0.5'),
        ({'Class IoU': [dict.fromkeys(range(21), 0)]}, 'validation 1: IoU of 21 classes, expected 4'),
        ({'Class IoU': [dict.fromkeys(range(1, 5), 0)]}, r'.*must be a dict from 0, got \{1: 0, 2: 0'),
        ({'Class IoU': [dict.fromkeys('abcd', 0)]}, r".*must be a dict from 0, got \{'a': 0"),
        ({'Class IoU': [{0: 0, 1: 0, 2: 1.5, 3: 0}]}, r'validation 1: scores must be numbers .*, got 1\.5'),
        ({'Mean IoU': ['0.5']}, r".*scores must be numbers in 0\.\.1 or NaN, got '0\.5'"),
        ({'Mean IoU': [-0.1]}, r'.*scores must be numbers in 0\.\.1 or NaN, got -0\.1'),
        ({'Mean IoU': [nested()]}, r'.*scores must be numbers in 0\.\.1 or NaN, got \[\[\['),
        ({'Overall Acc': [float('inf')]}, r'.*scores must be numbers in 0\.\.1 or NaN, got inf'),
    ],
    ids=reprlib.repr,
)
def test_another_layout(tmp_path, change, message):
    refused(save(tmp_path, {**study([0.5] * 4), **change}), message)


def test_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / 'none.pickle'):
        expected = re.escape(f'{path}: no such file; expected the snapshot.p')
        with pytest.raises(FileNotFoundError, match=expected):
            read_study_record(path)
