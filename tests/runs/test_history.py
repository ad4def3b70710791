"""The record: what it looks like on the disk, and what happens to a damaged one."""

import errno
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from mmseg_deeplab_study.runs.history import (
    FILE_NAME,
    SCHEMA_VERSION,
    History,
    HistoryWriter,
    Kind,
    SubsetName,
    make_row,
    read_history,
)

HEADER = {'target_classes': ['road', 'Straße'], 'seed': 3}


def row(iteration: int, **changes) -> dict:
    return {'iter': iteration, 'kind': 'validation', 'subset': 'full', 'mIoU': 10.0, **changes}


def write(folder, iterations=(0, 5, 10)) -> HistoryWriter:
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start(HEADER)
    for iteration in iterations:
        writer.append(row(iteration))
    return writer


def test_header_first_then_a_line_per_row(tmp_path):
    path = write(tmp_path).path
    assert path.name == 'adaptation.jsonl'
    lines = path.read_text(encoding='utf-8').splitlines()
    assert [json.loads(line) for line in lines] == [
        {'schema_version': SCHEMA_VERSION, **HEADER},
        row(0),
        row(5),
        row(10),
    ]
    assert list(tmp_path.iterdir()) == [path]  # no temporary file stays


def test_is_read_back_from_the_file_and_from_its_folder(tmp_path):
    path = write(tmp_path).path
    history = read_history(path)
    assert history == read_history(str(tmp_path))
    assert history.header == {'schema_version': SCHEMA_VERSION, **HEADER}
    assert history.rows == [row(0), row(5), row(10)]


def test_floats_are_not_rounded(tmp_path):
    writer = write(tmp_path, ())
    writer.append(row(0, mIoU=100 / 3, class_iou={'road': 0.1 + 0.2, 'Straße': None}))
    (read,) = read_history(tmp_path).rows
    assert read['mIoU'] == 100 / 3
    assert read['class_iou'] == {'road': 0.1 + 0.2, 'Straße': None}


def test_work_dir_is_made(tmp_path):
    assert write(tmp_path / 'a' / 'b').path.is_file()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_not_json_is_refused_and_nothing_is_written(tmp_path, value):
    writer = write(tmp_path)
    before = writer.path.read_bytes()
    with pytest.raises(ValueError, match='not JSON compliant'):
        writer.append(row(15, mIoU=value))
    assert writer.path.read_bytes() == before
    with pytest.raises(ValueError, match='not JSON compliant'):
        HistoryWriter(tmp_path / 'other.jsonl').start({'seed': value})
    assert not (tmp_path / 'other.jsonl').exists()


def test_validations_are_not_those_of_the_probe_and_in_the_order_of_iterations(tmp_path):
    writer = write(tmp_path, (5, 0))
    writer.append(row(0, subset='probe'))
    writer.append(row(0, kind='forgetting'))
    history = read_history(tmp_path)
    assert history.validations == [row(0), row(5)]
    assert len(history.rows) == 4


@pytest.mark.parametrize('kept', [1, 20])
def test_torn_last_line_is_dropped(tmp_path, kept):
    path = write(tmp_path).path
    with path.open('a') as file:
        file.write(json.dumps(row(15))[:kept])
    assert read_history(path).rows == [row(0), row(5), row(10)]


def test_a_last_line_without_its_end_is_torn_even_if_it_is_json(tmp_path):
    path = write(tmp_path).path
    path.write_bytes(path.read_bytes()[:-1])
    assert read_history(path).rows == [row(0), row(5)]


def test_last_line_torn_inside_a_character_is_dropped(tmp_path):
    path = write(tmp_path).path
    line = json.dumps(row(15, class_iou={'Straße': 1.0}), ensure_ascii=False).encode()
    with path.open('ab') as file:
        file.write(line[: line.index('ß'.encode()) + 1])
    assert read_history(path).rows == [row(0), row(5), row(10)]


@pytest.mark.parametrize(
    'bad', ['{"iter": 5, "kin', '{"iter": 5, "mIoU": NaN}', '{"iter": 5, "mIoU": -Infinity}', '', '[5]', '5']
)
def test_bad_line_in_the_middle_names_file_and_line(tmp_path, bad):
    path = write(tmp_path).path
    lines = path.read_text(encoding='utf-8').split('\n')
    lines[2] = bad
    path.write_text('\n'.join(lines), encoding='utf-8')
    with pytest.raises(ValueError, match=rf'{re.escape(str(path))}, line 3: not a JSON object: '):
        read_history(path)


def test_missing_record(tmp_path):
    for path in (tmp_path, tmp_path / FILE_NAME):
        with pytest.raises(FileNotFoundError, match=r'adaptation\.jsonl: no record .* AdaptationHook'):
            read_history(path)


@pytest.mark.parametrize('content', ['', '{"schema_version": 1'])
def test_record_without_a_header(tmp_path, content):
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(ValueError, match=r'adaptation\.jsonl: empty, expected a header in line 1'):
        read_history(tmp_path)


@pytest.mark.parametrize(('header', 'got'), [('{"schema_version": 2}', '2'), ('{"iter": 0}', 'None')])
def test_another_schema_is_refused(tmp_path, header, got):
    (tmp_path / FILE_NAME).write_text(header + '\n')
    with pytest.raises(ValueError, match=rf'adaptation\.jsonl, line 1: expected schema_version 1, got {got}'):
        read_history(tmp_path)


def test_start_replaces_what_is_there(tmp_path):
    path = write(tmp_path).path
    HistoryWriter(path).start({'seed': 4})
    assert read_history(path) == ({'schema_version': SCHEMA_VERSION, 'seed': 4}, [])
    assert list(tmp_path.iterdir()) == [path]


# Rows and their choice


def test_row_has_its_keys_in_order_and_plain_numbers():
    scores = {'mIoU': 50.0, 'class_iou': {'road': 50.0}}
    made = make_row(5, Kind.VALIDATION, SubsetName.FULL, scores, np.array([[3, 1]]), 2, 0.5)
    assert (type(made['kind']), type(made['subset'])) == (str, str)
    assert list(made) == ['iter', 'kind', 'subset', 'mIoU', 'class_iou', 'confusion', 'images', 'seconds']
    assert json.loads(json.dumps(made)) == {
        'iter': 5,
        'kind': 'validation',
        'subset': 'full',
        **scores,
        'confusion': [[3, 1]],
        'images': 2,
        'seconds': 0.5,
    }


@pytest.mark.parametrize(
    ('word', 'plain'),
    [
        (Kind.VALIDATION, 'validation'),
        (Kind.SOURCE, 'source'),
        (Kind.FORGETTING, 'forgetting'),
        (Kind.CRF, 'crf'),
        (SubsetName.FULL, 'full'),
        (SubsetName.PROBE, 'probe'),
    ],
)
def test_kinds_are_the_words_of_the_record(tmp_path, word, plain):
    assert word == plain and f'{word}/x' == f'{plain}/x' and json.dumps(word) == f'"{plain}"'
    assert (tmp_path / word).name == plain and {plain: 1}[word] == 1


def test_rows_are_selected_by_kind_and_subset_in_the_order_of_iterations():
    source, forgetting = row(0, kind='source'), row(5, kind='forgetting', subset='voc')
    probes = [row(iteration, subset='probe') for iteration in (0, 5)]
    history = History({}, [source, row(10), probes[1], forgetting, row(0), probes[0]])
    assert history.select('validation', 'full') == [row(0), row(10)]
    assert history.select('validation', 'probe') == probes
    # As they were written, where the iteration is the same.
    assert history.select('validation') == [row(0), probes[0], probes[1], row(10)]
    assert history.select('source') == [source]
    assert history.select('forgetting', 'voc') == [forgetting]
    assert history.select('forgetting', 'full') == history.select('test') == []


# Going on with a record


def test_resume_cuts_the_rows_after_the_iteration_and_the_torn_line(tmp_path):
    write(tmp_path)
    writer = HistoryWriter(tmp_path / FILE_NAME)
    with writer.path.open('a') as file:
        file.write('{"iter": 15')
    resumed = writer.resume(5, closing='full')
    assert resumed == read_history(tmp_path)
    assert resumed.header == {'schema_version': SCHEMA_VERSION, **HEADER}
    assert resumed.rows == [row(0), row(5)]
    writer.append(row(10, mIoU=20.0))
    assert read_history(tmp_path).rows == [row(0), row(5), row(10, mIoU=20.0)]
    assert list(tmp_path.iterdir()) == [writer.path]


SOURCE, FORGETTING = dict(kind='source'), dict(kind='forgetting', subset='probe')
FULL, PROBE = dict(subset='full'), dict(subset='probe')


@pytest.mark.parametrize(
    ('closing', 'at', 'complete'),
    [
        ('full', [], False),
        ('full', [SOURCE], False),
        ('full', [SOURCE, FORGETTING, FULL], True),
        ('subset_50', [SOURCE, FULL], False),
        ('probe', [SOURCE], False),
        # A forgetting pass on a set that happens to be called so is no validation on the probe.
        ('probe', [FORGETTING], False),
        ('probe', [FORGETTING, FULL], False),
        ('probe', [PROBE], True),
        ('probe', [SOURCE, FULL, PROBE], True),
    ],
)
def test_rows_of_the_iteration_itself_stay_only_if_the_last_of_them_is_there(tmp_path, closing, at, complete):
    writer, here = write(tmp_path, (0,)), [row(5, **changes) for changes in at]
    for one in (*here, row(10)):
        writer.append(one)
    assert writer.resume(5, closing).rows == [row(0), *(here if complete else [])]
    assert read_history(tmp_path).rows == [row(0), *(here if complete else [])]


def test_resume_at_0_can_leave_the_header_alone(tmp_path):
    writer = write(tmp_path, ())
    writer.append(row(0, **SOURCE))
    assert writer.resume(0, 'full') == ({'schema_version': SCHEMA_VERSION, **HEADER}, [])


# A disk that fills up (a real one is in test_atomic_file.py)


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class HalfALine(io.FileIO):
    def write(self, data: bytes) -> int:
        return super().write(data[: len(data) // 2])


def failing_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, 'fsync', disk_full)


def short_write(patch: pytest.MonkeyPatch) -> None:
    whole = Path.open

    def open_short(self: Path, mode: str, **kwargs):
        return HalfALine(self, mode) if mode == 'ab' else whole(self, mode, **kwargs)

    patch.setattr(Path, 'open', open_short)


@pytest.mark.parametrize('fail', [failing_fsync, short_write])
def test_a_disk_that_fills_up_within_a_line_leaves_the_record_as_it_was(tmp_path, monkeypatch, fail):
    writer = write(tmp_path)
    before = writer.path.read_bytes()
    fail(monkeypatch)
    with pytest.raises(OSError, match=rf'{writer.path}: could not be written \(No space left .*--resume'):
        writer.append(row(15))
    monkeypatch.undo()
    assert writer.path.read_bytes() == before
    writer.append(row(15))
    assert read_history(tmp_path).rows == [row(0), row(5), row(10), row(15)]


def test_line_that_cannot_be_taken_back_is_dropped_on_resume(tmp_path, monkeypatch):
    writer = write(tmp_path)
    short_write(monkeypatch)
    monkeypatch.setattr(os, 'truncate', disk_full)
    with pytest.raises(OSError, match='could not be written'):
        writer.append(row(15))
    monkeypatch.undo()
    assert not writer.path.read_bytes().endswith(b'\n')
    writer.resume(10, 'full')
    writer.append(row(15))
    assert read_history(tmp_path).rows == [row(0), row(5), row(10), row(15)]


def test_appends_after_the_last_whole_line(tmp_path):
    writer = write(tmp_path)
    with writer.path.open('ab') as file:
        file.write(b'{"iter": 15, "ki')
    writer.append(row(15))
    assert read_history(tmp_path).rows == [row(0), row(5), row(10), row(15)]


def test_row_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    writer, sizes = write(tmp_path), []
    monkeypatch.setattr(os, 'fsync', lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    writer.append(row(15))
    assert sizes == [writer.path.stat().st_size]


def test_record_that_cannot_be_rewritten_on_resume_stays_as_it_was(tmp_path, monkeypatch):
    writer = write(tmp_path)
    before = writer.path.read_bytes()
    failing_fsync(monkeypatch)
    with pytest.raises(OSError, match=r'adaptation\.jsonl: could not be written'):
        writer.resume(5, 'full')
    assert writer.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [writer.path]


# Means over the labelled classes of records that were written before there were any.


def older_record(folder: Path, header: dict, *rows: dict) -> list[dict]:
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start({'target_classes': ['road', 'car', 'bus'], 'seen_classes': ['car', 'bus'], **header})
    for number, line in enumerate(rows):
        writer.append(row(number, **line))
    return read_history(folder).rows


def test_an_older_row_gets_its_means_over_the_labelled_classes(tmp_path):
    iou = {'road': 60.0, 'car': 30.0, 'bus': 0.0}
    square = [[9, 1, 2], [4, 3, 1], [0, 0, 0]]  # no pixel is labelled bus
    of_source = [[9, 1], [4, 3], [0, 0]]
    found = older_record(
        tmp_path,
        {},
        {'class_iou': iou, 'confusion': square},
        {'kind': 'source', 'class_iou': iou, 'confusion': of_source},
        {
            'kind': 'crf',
            'class_iou': iou,
            'confusion': square,
            'unrefined': {'class_iou': {**iou, 'road': 50.0}},
        },
    )
    means = {'mIoU.labelled': 45.0, 'mIoU.seen.labelled': 30.0, 'mIoU.unseen.labelled': 60.0}
    for read in found:
        assert {key: read[key] for key in means} == means
    assert found[2]['unrefined']['mIoU.labelled'] == 40.0


@pytest.mark.parametrize(
    ('header', 'lacks'),
    [
        ({'seen_classes': None}, {}),
        ({'target_classes': None}, {}),
        ({}, {'confusion': None}),
        ({}, {'confusion': [[1]]}),
        ({}, {'class_iou': None}),
        ({}, {'kind': 'forgetting'}),  # rows of its matrix are classes of the source
        ({}, {'mIoU.labelled': 7.0}),  # has them
    ],
)
def test_a_row_that_does_not_have_what_these_come_from_stays_as_it_is(tmp_path, header, lacks):
    iou = {'road': 60.0, 'car': 30.0, 'bus': 0.0}
    written = {'class_iou': iou, 'confusion': [[9, 1, 2], [4, 3, 1], [0, 0, 0]], **lacks}
    assert older_record(tmp_path, header, written) == [row(0, **written)]
