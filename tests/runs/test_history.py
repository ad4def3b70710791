"""The record: what it looks like on the disk, and what happens to a damaged one."""

import errno
import gzip
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
    return {'iter': iteration, 'kind': 'validation', 'subset': 'full', 'mIoU': 100 / 3, **changes}


def write(folder, iterations=(0, 5, 10)) -> HistoryWriter:
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start(HEADER)
    for iteration in iterations:
        writer.append(row(iteration))
    return writer


def test_header_first_then_a_line_per_row(tmp_path):
    path = write(tmp_path / 'a' / 'b').path
    assert path.name == 'adaptation.jsonl'
    header = {'schema_version': SCHEMA_VERSION, **HEADER}
    lines = path.read_text(encoding='utf-8').splitlines()
    assert [json.loads(line) for line in lines] == [header, row(0), row(5), row(10)]
    assert list(path.parent.iterdir()) == [path]  # no temporary file stays
    assert read_history(path) == read_history(str(path.parent)) == (header, [row(0), row(5), row(10)])


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


LINE = json.dumps(row(15, class_iou={'Straße': 1.0}), ensure_ascii=False).encode()


# In a word, inside a character, and a whole line without its end.
@pytest.mark.parametrize('torn', [LINE[:1], LINE[: LINE.index('ß'.encode()) + 1], LINE])
def test_torn_last_line_is_dropped(tmp_path, torn):
    writer = write(tmp_path)
    with writer.path.open('ab') as file:
        file.write(torn)
    assert read_history(tmp_path).rows == [row(0), row(5), row(10)]
    # What is appended follows the last whole line.
    writer.append(row(15))
    assert read_history(tmp_path).rows == [row(0), row(5), row(10), row(15)]


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


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', ': empty, expected a header in line 1'),
        ('{"schema_version": 1', ': empty, expected a header in line 1'),
        ('{"schema_version": 2}\n', ', line 1: expected schema_version 1, got 2'),
        ('{"iter": 0}\n', ', line 1: expected schema_version 1, got None'),
    ],
)
def test_record_without_its_header(tmp_path, content, message):
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(ValueError, match=rf'adaptation\.jsonl{message}'):
        read_history(tmp_path)


def test_start_replaces_what_is_there(tmp_path):
    path = write(tmp_path).path
    HistoryWriter(path).start({'seed': 4})
    assert read_history(path) == ({'schema_version': SCHEMA_VERSION, 'seed': 4}, [])
    assert list(tmp_path.iterdir()) == [path]


def test_row_has_its_keys_in_order_and_plain_numbers():
    scores = {'mIoU': 50.0, 'class_iou': {'road': 50.0}}
    made = make_row(5, Kind.VALIDATION, SubsetName.FULL, scores, np.array([[3, 1]]), 2, 0.5)
    assert (type(made['kind']), type(made['subset'])) == (str, str)
    assert json.dumps(made) == (
        '{"iter": 5, "kind": "validation", "subset": "full", "mIoU": 50.0, "class_iou": {"road": 50.0}, '
        '"confusion": [[3, 1]], "images": 2, "seconds": 0.5}'
    )


def test_kinds_are_the_words_of_the_record(tmp_path):
    assert list(Kind) == ['validation', 'source', 'source_classifier', 'forgetting', 'crf']
    assert list(SubsetName) == ['full', 'probe']
    word = SubsetName.PROBE
    assert f'{word}/x' == 'probe/x' and json.dumps(word) == '"probe"' and {'probe': 1}[word] == 1


def test_rows_are_selected_by_kind_and_subset_in_the_order_of_iterations():
    source, forgetting = row(0, kind='source'), row(5, kind='forgetting', subset='voc')
    probes = [row(iteration, subset='probe') for iteration in (0, 5)]
    history = History({}, [source, row(10), probes[1], forgetting, row(0), probes[0]])
    assert history.validations == history.select('validation', 'full') == [row(0), row(10)]
    assert history.probed == history.select('validation', 'probe') == probes
    # As they were written, where the iteration is the same.
    assert history.select('validation') == [row(0), probes[0], probes[1], row(10)]
    assert history.select('source') == [source]
    assert history.select('forgetting', 'voc') == [forgetting]
    assert history.select('forgetting', 'full') == history.select('test') == []


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


# A disk that fills up (a real one is in test_atomic_file.py)


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class HalfALine(io.FileIO):
    def write(self, data: bytes) -> int:
        return super().write(data[: len(data) // 2])


def short_write(patch: pytest.MonkeyPatch) -> None:
    whole = Path.open

    def open_short(self: Path, mode: str, **kwargs):
        return HalfALine(self, mode) if mode == 'ab' else whole(self, mode, **kwargs)

    patch.setattr(Path, 'open', open_short)


@pytest.mark.parametrize('fail', [lambda patch: patch.setattr(os, 'fsync', disk_full), short_write])
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
    torn = writer.path.read_bytes()
    assert not torn.endswith(b'\n')
    # Nor is the record touched where a resume cannot rewrite it.
    monkeypatch.setattr(os, 'fsync', disk_full)
    with pytest.raises(OSError, match=r'adaptation\.jsonl: could not be written'):
        writer.resume(5, 'full')
    monkeypatch.undo()
    assert writer.path.read_bytes() == torn and list(tmp_path.iterdir()) == [writer.path]
    writer.resume(10, 'full')
    writer.append(row(15))
    assert read_history(tmp_path).rows == [row(0), row(5), row(10), row(15)]


def test_row_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    writer, sizes = write(tmp_path), []
    monkeypatch.setattr(os, 'fsync', lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    writer.append(row(15))
    assert sizes == [writer.path.stat().st_size]


# Means over the labelled classes of records that were written before there were any.


def older_record(folder: Path, header: dict, *rows: dict) -> list[dict]:
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start({'target_classes': ['road', 'car', 'bus'], 'seen_classes': ['car', 'bus'], **header})
    for number, line in enumerate(rows):
        writer.append(row(number, **line))
    return read_history(folder).rows


IOU = {'road': 60.0, 'car': 30.0, 'bus': 0.0}
SQUARE = [[9, 1, 2], [4, 3, 1], [0, 0, 0]]  # no pixel is labelled bus


def test_an_older_row_gets_its_means_over_the_labelled_classes(tmp_path):
    scored = dict(class_iou=IOU, confusion=SQUARE)
    source = dict(kind='source', class_iou=IOU, confusion=[[9, 1], [4, 3], [0, 0]])
    refined = dict(scored, kind='crf', unrefined={'class_iou': {**IOU, 'road': 50.0}})
    found = older_record(tmp_path, {}, scored, source, refined)
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
    written = {'class_iou': IOU, 'confusion': SQUARE, **lacks}
    assert older_record(tmp_path, header, written) == [row(0, **written)]


def test_a_packed_record_is_read_as_the_record(tmp_path):
    path = write(tmp_path).path
    expected = read_history(path)
    packed = path.with_name(f'{FILE_NAME}.gz')
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert read_history(packed) == read_history(tmp_path) == expected
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f'^{re.escape(str(packed))}: expected a whole file of gzip, but '):
        read_history(packed)
