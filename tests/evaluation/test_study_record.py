"""Records of the original study: what is read from them, and what is refused."""

import functools
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.evaluation import study_record
from mmseg_deeplab_study.evaluation.history import FILE_NAME, History, HistoryWriter, read_history
from mmseg_deeplab_study.evaluation.study_record import read_study_record, write_study_record

CLASSES = ('road', 'person', 'motorcycle', 'bus')
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def study(*ious, mean=None, accuracy=None) -> dict:
    """A record as StreamSegMetrics leaves it, one argument per validation."""
    ious = [np.array(iou, np.float64) for iou in ious]
    return {
        'Class IoU': [dict(zip(range(len(iou)), iou, strict=True)) for iou in ious],
        'Mean IoU': [np.float64(0.25)] * len(ious) if mean is None else mean,
        'Overall Acc': [np.float64(0.5)] * len(ious) if accuracy is None else accuracy,
    }


def save(folder: Path, record, protocol: int | None = None) -> Path:
    path = folder / 'snapshot.pickle'
    path.write_bytes(record if isinstance(record, bytes) else pickle.dumps(record, protocol))
    return path


def refused(path: Path, message: str, **kwargs) -> None:
    with pytest.raises(ValueError, match=re.escape(f'{path}: ') + message):
        read_study_record(path, CLASSES, **kwargs)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_reads_what_the_study_pickled(tmp_path, protocol):
    first, second = (0.5, 0.25, np.nan, 0.125), (1.0, 0.0, 0.5, np.nan)
    record = study(first, second, mean=[np.nanmean(first), np.float64(0.5)])
    assert type(record['Class IoU'][0][0]) is np.float64 is type(record['Mean IoU'][0])
    history = read_study_record(save(tmp_path, record, protocol), CLASSES)

    assert history.header == {
        'source_classes': list(study_record.resolve_classes('voc')),
        'target_classes': list(CLASSES),
        'seen_classes': ['person', 'motorcycle', 'bus'],  # motorbike in VOC
        'imported_from': 'snapshot.pickle',
        'seed': None,
    }
    assert history.rows == history.validations
    assert history.rows == [
        {
            'iter': 5,
            'kind': 'validation',
            'subset': 'full',
            'mIoU': pytest.approx(100 * (0.5 + 0.25 + 0.125) / 3),
            'aAcc': 50.0,
            'mAcc': None,
            'mIoU.seen': 18.75,  # (25 + 12.5) / 2, motorcycle is absent
            'mIoU.unseen': 50.0,
            'class_iou': {'road': 50.0, 'person': 25.0, 'motorcycle': None, 'bus': 12.5},
        },
        {
            'iter': 10,
            'kind': 'validation',
            'subset': 'full',
            'mIoU': 50.0,
            'aAcc': 50.0,
            'mAcc': None,
            'mIoU.seen': 25.0,  # (0 + 50) / 2
            'mIoU.unseen': 100.0,
            'class_iou': {'road': 100.0, 'person': 0.0, 'motorcycle': 50.0, 'bus': None},
        },
    ]
    values = [*history.rows[0]['class_iou'].values(), history.rows[0]['mIoU']]
    assert {type(value) for value in values} == {float, type(None)}


def test_means_over_no_class_are_none(tmp_path):
    record = study([np.nan] * 4, mean=[np.float64(np.nan)], accuracy=[np.float64(np.nan)])
    (row,) = read_study_record(save(tmp_path, record), CLASSES).rows
    assert [row[key] for key in ('mIoU', 'aAcc', 'mIoU.seen', 'mIoU.unseen')] == [None] * 4


def test_cityscapes_against_voc_is_the_default(tmp_path):
    history = read_study_record(save(tmp_path, study([0.5] * 19)))
    assert len(history.header['target_classes']) == 19
    assert history.header['seen_classes'] == ['person', 'car', 'bus', 'train', 'motorcycle', 'bicycle']


def test_seen_classes_and_interval_can_be_given(tmp_path):
    path = save(tmp_path, study([0.5, 0.25, 0.0, 0.0], [0.5, 0.25, 0.0, 0.0]))
    history = read_study_record(str(path), CLASSES, seen=['road', 'person'], interval=20)
    assert [row['iter'] for row in history.rows] == [20, 40]
    assert history.header['source_classes'] == history.header['seen_classes'] == ['road', 'person']
    assert (history.rows[0]['mIoU.seen'], history.rows[0]['mIoU.unseen']) == (37.5, 0.0)
    with pytest.raises(ValueError, match='interval must be at least 1 iteration, but got 0'):
        read_study_record(path, CLASSES, interval=0)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
    'entry',
    [
        [0.5, 0.25, 0, True],
        (0.5, 0.25, 0, 1),
        {3: 1, 2: 0, 1: 0.25, 0: 0.5},
        {np.int64(i): np.float32(v) for i, v in enumerate([0.5, 0.25, 0, 1])},
        np.array([0.5, 0.25, 0, 1]),
        np.array([0.5, 0, 0.25, 0, 0, 0, 1, 0], '>f8')[::2],  # of the other byte order, with gaps
        np.array([0.5, 0.25, 0, 1], np.float16),
    ],
    ids=['list', 'tuple', 'unsorted', 'numpy keys', 'array', 'big endian', 'half'],
)
def test_other_ways_to_write_numbers(tmp_path, protocol, entry):
    record = {'Class IoU': [entry], 'Mean IoU': np.array([0.25]), 'Overall Acc': (np.bool_(True),)}
    (row,) = read_study_record(save(tmp_path, record, protocol), CLASSES).rows
    assert list(row['class_iou'].values()) == [50.0, 25.0, 0.0, 100.0]
    assert (row['mIoU'], row['aAcc']) == (25.0, 100.0)
    assert {type(value) for value in [*row['class_iou'].values(), row['mIoU'], row['aAcc']]} == {float}


@pytest.mark.parametrize('core', [b'numpy.core', b'numpy._core'])
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_numpy_1_and_2_name_their_modules_differently(tmp_path, protocol, core):
    data = pickle.dumps({**study([0.5, 0.25, 0, 0.125]), 'Mean IoU': np.array([0.25])}, protocol)
    if protocol >= 4:
        data = data[:2] + data[11:]  # without the frame, which says how long all is
    # A name is followed by a blank, or, from protocol 4 on, preceded by its length.
    named, count = re.subn(
        rb'(?:(?<=\x8c).)?numpy\._?core\.(multiarray|numeric)',
        lambda m: bytes([len(core) + 1 + len(m[1])] * (protocol >= 4)) + core + b'.' + m[1],
        data,
        flags=re.DOTALL,
    )
    assert count > 0
    (row,) = read_study_record(save(tmp_path, named), CLASSES).rows
    assert list(row['class_iou'].values()) == [50.0, 25.0, 0.0, 12.5]
    assert row['mIoU'] == 25.0


def test_import_can_be_kept_as_a_record_of_ours(tmp_path):
    history = read_study_record(save(tmp_path, study([0.5, 0.25, np.nan, 0.125])), CLASSES)
    writer = HistoryWriter(tmp_path / FILE_NAME)
    writer.start(history.header)
    for row in history.rows:
        writer.append(row)
    assert read_history(tmp_path).rows == history.rows


# Writing


def history_of_ours(*iterations: int) -> History:
    rows = [
        {
            'iter': i,
            'kind': 'validation',
            'subset': 'full',
            'mIoU': 100 / 3 + i,
            'aAcc': None if i == 5 else 90.0,
            'mAcc': None,
            'mIoU.seen': None,
            'mIoU.unseen': 20.0,
            # Not in the order of the classes.
            'class_iou': {'bus': None, 'road': 20.0 + i, 'person': None, 'motorcycle': None},
        }
        for i in iterations
    ]
    return History({'target_classes': list(CLASSES), 'seen_classes': list(CLASSES[1:])}, rows)


def test_written_record_has_the_layout_of_the_study_in_plain_numbers(tmp_path):
    history = history_of_ours(0, 5, 10)
    history.rows.insert(0, {'iter': 0, 'kind': 'forgetting', 'subset': 'full'})
    history.rows.insert(0, {'iter': 0, 'kind': 'validation', 'subset': 'probe'})
    path = tmp_path / 'snapshot.pickle'
    write_study_record(history, str(path))

    record = pickle.loads(path.read_bytes())
    assert list(record) == ['Class IoU', 'Mean IoU', 'Overall Acc']
    absent = pytest.approx(np.nan, nan_ok=True)
    # The layout has no iteration 0.
    assert record['Class IoU'] == [
        {0: 0.25, 1: absent, 2: absent, 3: absent},
        {0: 0.3, 1: absent, 2: absent, 3: absent},
    ]
    assert record['Mean IoU'] == [(100 / 3 + 5) / 100, (100 / 3 + 10) / 100]
    assert record['Overall Acc'] == [absent, 0.9]
    assert {type(k) for iou in record['Class IoU'] for k in iou} == {int}
    assert {type(v) for iou in record['Class IoU'] for v in iou.values()} == {float}
    assert b'numpy' not in path.read_bytes()


def test_what_was_written_is_read_back(tmp_path):
    history = history_of_ours(5, 10, 15)
    write_study_record(history, tmp_path / 'snapshot.pickle')
    read = read_study_record(tmp_path / 'snapshot.pickle', CLASSES)
    assert read.header['seen_classes'] == history.header['seen_classes']
    assert len(read.rows) == 3
    for row, expected in zip(read.rows, history.rows, strict=True):
        expected = {**expected, 'mIoU.unseen': expected['class_iou']['road']}  # computed anew
        class_iou = row.pop('class_iou')
        assert class_iou == pytest.approx(expected.pop('class_iou'))
        assert {k: row.pop(k) for k in ('kind', 'subset')} == {k: expected.pop(k) for k in ('kind', 'subset')}
        assert row == pytest.approx(expected)


def test_iteration_0_is_left_out_so_that_the_others_keep_their_iterations(tmp_path):
    write_study_record(history_of_ours(0, 5, 10), tmp_path / 'snapshot.pickle')
    rows = read_study_record(tmp_path / 'snapshot.pickle', CLASSES).rows
    assert [(row['iter'], row['class_iou']['road']) for row in rows] == [(5, 25.0), (10, 30.0)]


@pytest.mark.parametrize('iterations', [(0,), (0, 5, 15), (5, 10, 50), (10, 15)])
def test_what_the_layout_cannot_say_is_not_written(tmp_path, iterations):
    with pytest.raises(ValueError, match="the study's layout takes validations at one interval .* but got"):
        write_study_record(history_of_ours(*iterations), tmp_path / 'snapshot.pickle')
    assert not (tmp_path / 'snapshot.pickle').exists()


# Refusing


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args, state=None) -> None:
        self.reduced = (function, args) if state is None else (function, args, state)

    def __call__(self):
        raise AssertionError('only so that pickle takes it for a function')

    def __reduce__(self):
        return self.reduced


def attacks(trace: str) -> dict:
    touch = f'open({trace!r}, "w").close()'
    shout = f'touch {trace}'
    return {
        'system': (Call(os.system, shout), r'\w+\.system'),
        'eval': (Call(eval, touch), r'(builtins|__builtin__)\.eval'),
        'getattr': (Call(getattr, 'text', 'upper'), r'(builtins|__builtin__)\.getattr'),
        # The call of what another call returns.
        'chain': (Call(Call(getattr, Call(__import__, 'os'), 'system'), shout), r'\w+\.getattr'),
        'partial': (Call(functools.partial, os.system, shout), r'functools\.partial'),
        'numpy load': (Call(np.load, trace), r'numpy\.load'),
        'numpy function': (Call(np.testing.assert_equal, 1, 1), r'numpy\.testing[\w.]*\.assert_equal'),
        'our own': (Call(write_atomically, trace, b''), r'mmseg_\w+\.[\w.]+'),
    }


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('name', attacks(''))
def test_code_is_refused_by_name_and_not_run(tmp_path, name, protocol):
    trace = tmp_path / 'trace'
    attack, refused_name = attacks(str(trace))[name]
    record = study([0.5, 0.25, 0, 0])
    record['Class IoU'][0][3] = attack
    path = save(tmp_path, record, protocol)
    refused(path, rf'.*it carries code \(({refused_name})\), which is refused and was not run$')
    assert not trace.exists()


def test_the_attack_would_work(tmp_path):
    # Else the test above proves nothing.
    trace = tmp_path / 'trace'
    pickle.loads(pickle.dumps(attacks(str(trace))['chain'][0]))
    assert trace.exists()


def object_array(trace: Path) -> np.ndarray:
    return np.array([Call(os.system, f'touch {trace}')] * 4, object)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_object_arrays_are_refused(tmp_path, protocol):
    path = save(tmp_path, {**study([0.5] * 4), 'Class IoU': [object_array(tmp_path / 'trace')]}, protocol)
    refused(path, ".*(numpy type 'O8' refused, expected one of b1, i1, .*f8$|code .*system.*)")
    # The type alone, before any object.
    empty = {**study([0.5] * 4), 'Mean IoU': np.empty(0, object)}
    refused(save(tmp_path, empty, protocol), ".*numpy type 'O8' refused, expected one of b1, i1, .*f8$")
    assert not (tmp_path / 'trace').exists()


def test_objects_smuggled_in_as_bytes_are_refused(tmp_path):
    # numpy's own scalar constructor unpickles the bytes of an object type.
    scalar = np.float64(0).__reduce__()[0]
    trace = tmp_path / 'trace'
    inner = pickle.dumps(Call(os.system, f'touch {trace}'))
    path = save(tmp_path, {**study([0.5] * 4), 'Mean IoU': [Call(scalar, np.dtype(object), inner)]})
    refused(path, ".*numpy type 'O8' refused")
    assert not trace.exists()


@pytest.mark.parametrize(
    ('dtype', 'message'),
    [
        ('U4', "numpy type 'U4' refused"),
        ('M8[s]', "numpy type 'M8' refused"),
        ('c16', "numpy type 'c16' refused"),
        ([('a', 'f8')], "numpy type 'V8' refused"),
        ('longdouble', "numpy type 'f16' refused"),
    ],
)
def test_types_that_are_no_numbers_are_refused(tmp_path, dtype, message):
    refused(save(tmp_path, {**study([0.5] * 4), 'Mean IoU': np.zeros(1, dtype)}), f'.*{message}')


def test_a_number_type_with_a_structure_is_refused(tmp_path):
    state = (3, '|', (np.dtype('f8'), (2,)), None, None, -1, -1, 0)
    record = {**study([0.5] * 4), 'Mean IoU': Call(np.dtype, 'f8', False, True, state=state)}
    refused(save(tmp_path, record), '.*numpy type with state .* refused, expected a plain number')


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (np.zeros((2, 2)), r'numpy array of shape \(2, 2\) refused, expected \(4,\)'),
        (np.float64(1).__reduce__()[0], r'must be a list with an entry per validation, got <function'),
        (Call(np.float64(1).__reduce__()[0], 'f8', bytes(8)), "expected a numpy type of numbers, got 'f8'"),
        (Call(np.float64(1).__reduce__()[0], np.dtype('f8'), bytes(16)), r'shape \(1,\) refused, .*\(2,\)'),
    ],
)
def test_misuse_of_the_allowed_names(tmp_path, value, message):
    for protocol in PROTOCOLS:
        refused(save(tmp_path, {**study([0.5] * 4), 'Mean IoU': value}, protocol), f'.*{message}')


def test_no_codec_but_latin1_runs(tmp_path):
    data = b'c_codecs\nencode\n(Vtext\nVrot13\ntR.'
    refused(save(tmp_path, data), ".*encoding 'rot13' refused, expected latin1")


@pytest.mark.parametrize(
    'name', ['numpy dtype', 'numpy ndarray', '_codecs encode', 'numpy.core.multiarray scalar']
)
def test_a_pickle_cannot_change_the_reader(tmp_path, name):
    # BUILD with the pair (None, {'__defaults__': ('x',), 'mark': 1}) sets attributes.
    module, function = name.split()
    build = b'(N(V__defaults__\n(Vx\ntVmark\nI1\ndtb.'
    stand_in = study_record._STAND_INS[f'{module}.{function}']
    before = dict(vars(stand_in))
    refused(save(tmp_path, f'c{module}\n{function}\n'.encode() + build), '.*')
    assert dict(vars(stand_in)) == before
    assert getattr(stand_in, '__defaults__', None) is None


def test_damaged_and_foreign_files(tmp_path):
    data = pickle.dumps(study([0.5] * 4))
    for damaged in (
        b'',
        data[:-1],
        data[: len(data) // 2],
        b'<html>Not found</html>',
        b'PK\3\4' + bytes(100),
    ):
        refused(save(tmp_path, damaged), 'not a pickle of numbers, or a damaged one: ')


@pytest.mark.parametrize('put', [b'r\xff\xff\xff\x00', b'p16777215\n'])
def test_an_index_that_asks_for_memory_is_refused(tmp_path, put):
    data = b']' + put + b'.'
    refused(save(tmp_path, data), f'.*memo index 16777215 in {len(data)} bytes')


def test_persistent_ids_are_refused(tmp_path):
    refused(save(tmp_path, b'Pfile\n.'), '.*persistent')


def test_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / 'none.pickle'):
        with pytest.raises(
            FileNotFoundError, match=re.escape(f'{path}: no such file; expected the snapshot.p')
        ):
            read_study_record(path)


def test_large_file_is_not_read(tmp_path):
    path = tmp_path / 'snapshot.pickle'
    path.touch()
    os.truncate(path, 2**24 + 1)
    refused(path, '16777217 bytes are too many for a record of scores; the limit is 16777216')


def test_many_validations_in_a_small_file(tmp_path):
    record = {'Class IoU': [{}] * 100_001, 'Mean IoU': [0] * 100_001, 'Overall Acc': [0] * 100_001}
    refused(save(tmp_path, record), '100001 validations; the limit is 100000')


def test_messages_stay_short(tmp_path):
    nested = [0.5]
    for _ in range(100):
        nested = [nested, nested]  # 2 ** 100 items, were they written out
    for record in ([nested], {**study([0] * 4), 'Mean IoU': [nested]}, {'Class IoU': nested}):
        with pytest.raises(ValueError, match=r'snapshot\.pickle: ') as error:
            read_study_record(save(tmp_path, record), CLASSES)
        assert len(str(error.value)) < 1000 + len(str(tmp_path))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ([1], r"expected a dict with the keys \['Class IoU', 'Mean IoU', 'Overall Acc'\], got \[1\]"),
        ({'Mean Acc': []}, r"expected a dict with the keys .*, got \['Class IoU', .*'Mean Acc'\]"),
        ({'Mean IoU': 0.5}, "'Mean IoU' must be a list with an entry per validation, got 0.5"),
        ({'Mean IoU': [0.5, 0.5]}, r'\[.*\] must be of one length, but have \[1, 2, 1\] entries'),
        ({'Class IoU': [0.5]}, r'Class IoU\[0\] must be a dict or a list of numbers, got 0.5'),
        ({'Class IoU': [[0.5] * 21]}, r'Class IoU\[0\] has 21 classes, expected 4'),
        (
            {'Class IoU': [dict.fromkeys(range(1, 5), 0)]},
            r'Class IoU\[0\] must have the keys 0 to 3, got \[1, 2, 3, 4\]',
        ),
        ({'Class IoU': [dict.fromkeys('abcd', 0)]}, r"Class IoU\[0\] must have the keys 0 .*\['a', 'b'"),
        ({'Class IoU': [[0, 0, 1.5, 0]]}, r'Class IoU\[0\] must lie in 0\.\.1 or be NaN, got 1\.5'),
        ({'Class IoU': [[0, 0, '0.5', 0]]}, r"Class IoU\[0\] must hold numbers, got '0\.5'"),
        ({'Mean IoU': [-0.1]}, r'Mean IoU\[0\] must lie in 0\.\.1 or be NaN, got -0\.1'),
        ({'Overall Acc': [float('inf')]}, r'Overall Acc\[0\] must lie in 0\.\.1 or be NaN, got inf'),
        ({'Overall Acc': [None]}, r'Overall Acc\[0\] must hold numbers, got None'),
    ],
)
def test_another_layout(tmp_path, change, message):
    record = {**study([0.5] * 4), **change} if isinstance(change, dict) else change
    refused(save(tmp_path, record), message)


def test_a_key_is_missing(tmp_path):
    refused(save(tmp_path, {'Class IoU': []}), r"expected a dict .*, got \['Class IoU'\]")
