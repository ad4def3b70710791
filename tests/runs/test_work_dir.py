"""What a run finds in its folder: the lock of another, checkpoints whole and damaged, a record."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mmseg_deeplab_study.checkpoints.safe_loading import load_plain
from mmseg_deeplab_study.runs import work_dir as module
from mmseg_deeplab_study.runs.history import FILE_NAME, HistoryWriter
from mmseg_deeplab_study.runs.work_dir import LOCK_NAME, claim_work_dir, find_checkpoint, refuse_recorded


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch) -> Iterator[None]:
    """As if this process had claimed nothing, before a test and after it."""
    monkeypatch.setattr(module, '_claimed', {})
    monkeypatch.setattr(module, '_made', {})
    yield
    for file in module._claimed.values():
        file.close()


def fork(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """A child that runs `work`, which is given a function to report by; its id and where to read from."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            module._claimed = {}
            work(lambda text: os.write(writer, text.encode()))
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader


def claim_in_child(folder: Path) -> tuple[int, str]:
    """The id of another process that claims a folder, and what it is told."""

    def claim(report: Callable[[str], None]) -> None:
        try:
            claim_work_dir(folder)
            report('claimed')
        except RuntimeError as error:
            report(str(error))

    child, reader = fork(claim)
    with open(reader) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    return child, message


def test_same_process_may_claim_again_and_keeps_it(tmp_path, monkeypatch):
    (tmp_path / 'link').symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    # Opened and closed a second time, a record lock is gone.
    for name in (tmp_path, str(tmp_path), '.', 'link'):
        claim_work_dir(name)
        assert 'a run is going on' in claim_in_child(tmp_path)[1]
    # One relative name can be two folders.
    monkeypatch.chdir(tmp_path / 'link/..')
    claim_work_dir('.')
    assert 'a run is going on' in claim_in_child(tmp_path.parent)[1]


def test_folder_is_made_and_is_free_when_its_run_has_ended(tmp_path):
    folder = tmp_path / 'a' / 'b'
    child, message = claim_in_child(folder)
    assert message == 'claimed' and (folder / LOCK_NAME).is_file()
    claim_work_dir(folder)
    # Of the two that have had it, the message names the one that has it.
    message = claim_in_child(folder)[1]
    assert f'work_dir {folder}: a run is going on in it (process {os.getpid()} on ' in message
    assert '--work-dir' in message and f'process {child} on' not in message


def test_a_refused_run_leaves_nothing_of_what_it_made(tmp_path):
    for name in ('made/a', 'shared/b', 'begun', 'saved', 'old'):
        if name == 'old':
            (tmp_path / name).mkdir()
        claim_work_dir(tmp_path / name)
        (tmp_path / name / 'log').touch()
    (tmp_path / 'shared/another').touch()
    (tmp_path / 'begun' / FILE_NAME).touch()
    (tmp_path / 'saved/iter_0.pth').touch()
    module.remove_unbegun()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob('**/*') if path.name != LOCK_NAME}
    kept = {'shared', 'shared/another', 'begun', 'saved', 'old'}
    assert left == {*kept, 'begun/log', f'begun/{FILE_NAME}', 'saved/log', 'saved/iter_0.pth', 'old/log'}


def test_worker_that_outlives_a_killed_run_does_not_hold_the_folder(tmp_path):
    held, release = os.pipe()

    def leave_a_worker(report: Callable[[str], None]) -> None:
        claim_work_dir(tmp_path)
        if (worker := os.fork()) == 0:
            os.close(release)
            os.read(held, 1)  # until the test lets go
            os._exit(0)
        report(str(worker))
        signal.alarm(60)
        signal.pause()

    run, reader = fork(leave_a_worker)
    try:
        worker = int(os.read(reader, 20))
        with pytest.raises(RuntimeError, match=rf'a run is going on in it \(process {run} on'):
            claim_work_dir(tmp_path)
        os.kill(run, signal.SIGKILL)
        os.waitpid(run, 0)
        claim_work_dir(tmp_path)
        os.kill(worker, 0)  # is still alive
    finally:
        os.close(release)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / 'work').write_bytes(b'')
    message = rf'work_dir {tmp_path}/work: cannot be written to \(.*\); give another --work-dir'
    with pytest.raises(OSError, match=message):
        claim_work_dir(tmp_path / 'work')
    with pytest.raises(OSError, match=r'work/sub: cannot be written to \(Not a directory\)'):
        claim_work_dir(tmp_path / 'work' / 'sub')


def save(folder: Path, iteration: int, name: str | None = None, age: float = 0.0, **changes) -> Path:
    state = {'weight': torch.full((64,), 0.12345)}
    content = dict(meta={'iter': iteration}, state_dict=state, optimizer={'lr': 0.1}, message_hub={})
    content |= changes
    path = folder / (name or f'iter_{iteration}.pth')
    path.parent.mkdir(exist_ok=True)
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


@pytest.fixture
def log(monkeypatch) -> list[tuple[str, str]]:
    """Levels and messages of what is logged."""
    records = []
    monkeypatch.setattr(module, 'print_log', lambda message, logger: records.append(('INFO', message)))
    monkeypatch.setattr(module, 'warn', lambda message: records.append(('WARNING', message)))
    return records


def test_newest_is_by_iteration_and_not_by_name_or_time(tmp_path, log):
    assert find_checkpoint(tmp_path / 'nowhere') is None
    # Neither a run's best nor another's.
    for name in ('best_mIoU_iter_500.pth', 'source_600.pth', '.iter_700.pth.0.tmp'):
        save(tmp_path, 500, name)
    assert find_checkpoint(tmp_path) is None
    for iteration in (100, 20, 9):
        save(tmp_path, iteration, age=iteration)
    assert find_checkpoint(str(tmp_path)) == tmp_path / 'iter_100.pth'
    assert log == [('INFO', f'Resume from {tmp_path}/iter_100.pth, the newest checkpoint that loads')]
    save(tmp_path, 101, 'epoch_101.pth')
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_101.pth'


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_bit_of_a_weight(path: Path) -> None:
    content, weight = bytearray(path.read_bytes()), torch.full((64,), 0.12345).numpy().tobytes()
    assert content.count(weight) == 1
    content[content.index(weight) + 13] ^= 4
    path.write_bytes(content)
    # It is damage that torch does not notice.
    assert (load_plain(path)['state_dict']['weight'] != 0.12345).sum() >= 1


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        (cut, 'not a PyTorch file, or a damaged one'),
        (flip_a_bit_of_a_weight, r'damaged, the check sum of .*data/\d+ is wrong'),
        (lambda path: torch.save({'weight': 3}, path), "has no 'state_dict', so it is not one to resume"),
        (lambda path: torch.save(torch.ones(3), path), "has no 'state_dict', so it is not one to resume"),
        (lambda path: save(path.parent, 20, optimizer=None), "has no 'optimizer', so it is not one to res"),
    ],
)
def test_bad_checkpoint_is_passed_over_and_logged(tmp_path, log, damage, reason):
    good = save(tmp_path, 10)
    damage(save(tmp_path, 20))
    assert find_checkpoint(tmp_path) == good
    (level, message), (_, found) = log
    assert level == 'WARNING'
    assert re.search(f'^Skipped on resume: checkpoint {tmp_path}/iter_20.pth: {reason}', message)
    assert found == f'Resume from {good}, the newest checkpoint that loads'


def test_all_bad_raises_and_lists_every_reason(tmp_path):
    save(tmp_path, 5).write_bytes(b'')
    save(tmp_path, 10, optimizer=None)
    cut(save(tmp_path, 20))
    message = (
        f'work_dir {tmp_path}: none of its 3 checkpoints can be resumed from: .*iter_20.pth: not a PyTorch '
        ".*; .*iter_10.pth: has no 'optimizer'.*; .*iter_5.pth: .*the file is empty.*. Start again with "
        '--overwrite, or in another --work-dir'
    )
    with pytest.raises(ValueError, match=message):
        find_checkpoint(tmp_path)


def test_last_checkpoint_may_point_to_where_the_run_s_checkpoints_are(tmp_path):
    work, out_dir = tmp_path / 'work', tmp_path / 'out_dir'
    out_dir.mkdir()
    save(work, 20)
    # CheckpointHook(out_dir) saves to a folder in it that has the work_dir's name.
    out = save(out_dir / 'work', 30)
    (work / 'last_checkpoint').write_text(str(out))
    assert find_checkpoint(work, str(out_dir)) == out
    cut(out)
    assert find_checkpoint(work, str(out_dir)) == work / 'iter_20.pth'
    # It says where one is, and not which is the newest.
    newer = save(work, 40)
    assert find_checkpoint(work, str(out_dir)) == newer


@pytest.mark.parametrize('out_dir', [None, 'checkpoints'])
def test_a_copied_run_has_its_own_checkpoints_alone(tmp_path, monkeypatch, log, out_dir):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / (f'{out_dir}/a' if out_dir else 'a')
    save(tmp_path / 'a', 5)
    folder.parent.mkdir(exist_ok=True)
    newest = save(folder, 10)
    (tmp_path / 'a/last_checkpoint').write_text(str(newest))
    assert find_checkpoint('a', out_dir) == (newest if out_dir else Path('a/iter_10.pth'))
    shutil.copytree('a', 'b')
    Path('b/iter_10.pth').unlink(missing_ok=True)
    log.clear()
    assert find_checkpoint('b', out_dir) == Path('b/iter_5.pth')
    said = f'b/last_checkpoint names {newest}, a checkpoint of another folder. Is the run a copy?'
    assert log[0] == ('WARNING', f'Skipped on resume: {said}')
    # Nothing is better than another run's.
    Path('b/iter_5.pth').unlink()
    assert find_checkpoint('b', out_dir) is None


def test_a_checkpoint_that_last_checkpoint_names_is_looked_at_once(tmp_path, monkeypatch, log):
    (tmp_path / 'link').symlink_to(tmp_path)
    cut(save(tmp_path, 20))
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/link/iter_20.pth\n')
    with pytest.raises(ValueError, match='none of its 1 checkpoints'):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    'content', [b'', b'/nowhere/iter_9.pth', bytes(60), b'\xff\xfe\x00', b'.', b'x' * 300]
)
def test_stale_or_garbled_last_checkpoint_does_not_matter(tmp_path, content):
    good = save(tmp_path, 20)
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert find_checkpoint(tmp_path) == good
    good.unlink()
    assert find_checkpoint(tmp_path) is None


def test_no_flipped_bit_stops_the_search(tmp_path):
    """Wherever a bit is flipped: either the file is passed over, named, or its content is what it was."""
    good, path = save(tmp_path, 20), save(tmp_path, 40)
    whole = path.read_bytes()
    expected = load_plain(path)['state_dict']
    # The central directory at the end, where zipfile itself gives up in many ways, and some of the rest.
    places = [*range(len(whole) - 400, len(whole)), *range(0, len(whole) - 400, 97)]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        found = find_checkpoint(tmp_path)
        if found != good:
            content = load_plain(path)['state_dict']
            assert all(value.equal(content[key]) for key, value in expected.items()), place
        else:
            assert str(path) in module._problem(path)


def record(folder: Path, *iterations: int) -> Path:
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start({'seed': 0})
    for iteration in iterations:
        writer.append({'iter': iteration, 'kind': 'validation', 'subset': 'full'})
    return writer.path


def test_recorded_validations_are_refused_and_kept(tmp_path):
    path = record(tmp_path, 0)
    before = path.read_bytes()
    message = f'{path} already holds a record.*--resume.* --work-dir.* --overwrite, which deletes'
    with pytest.raises(FileExistsError, match=message):
        refuse_recorded(str(tmp_path))
    assert path.read_bytes() == before


def test_checkpoints_of_an_earlier_run_are_refused_too(tmp_path):
    """A run killed before its own checkpoint would otherwise be resumed from theirs."""
    save(tmp_path, 0)
    refuse_recorded(tmp_path)  # iteration 0 is nothing trained
    save(tmp_path, 20)
    save(tmp_path, 100)
    message = r'iter_100\.pth is a checkpoint of an earlier run; .* --overwrite'
    with pytest.raises(FileExistsError, match=message):
        refuse_recorded(tmp_path)
    record(tmp_path)
    with pytest.raises(FileExistsError, match=message):
        refuse_recorded(tmp_path)


@pytest.mark.parametrize('torn', [b'', b'{"iter": 0, "kind": "valid'])
def test_header_alone_is_nothing_lost(tmp_path, torn):
    refuse_recorded(tmp_path)
    path = record(tmp_path)
    for content in (path.read_bytes() + torn, b''):
        path.write_bytes(content)
        refuse_recorded(tmp_path)


@pytest.mark.parametrize('content', ['somebody worked for this\n', '{"schema_version": 99}\n', 'no line end'])
def test_what_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(FileExistsError, match='already holds a record'):
        refuse_recorded(tmp_path)


def test_clearing_deletes_what_a_run_is_known_by_and_nothing_else(tmp_path):
    record(tmp_path, 0)
    gone = ['iter_0.pth', '.iter_5.pth.0.tmp', 'epoch_1.pth', 'best_mIoU_iter_50.pth', 'last_checkpoint']
    gone += ['snapshots/000000/a.png']
    kept = ['20250101_000000/vis_data/scalars.json', 'config.py', 'source.pth', LOCK_NAME]
    kept += ['sub/iter_50.pth', 'sub/adaptation.jsonl', 'iter_50.txt']
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for _ in range(2):  # the second time there is nothing left to delete
        module.clear_work_dir(str(tmp_path))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*') if path.is_file()}
    assert left == set(kept)
    assert not (tmp_path / 'snapshots').exists()


def test_record_goes_last_so_that_a_cut_clearing_is_not_taken_for_a_fresh_folder(tmp_path, monkeypatch):
    record(tmp_path, 0)
    save(tmp_path, 20)

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, 'rmtree', cut_off)
    with pytest.raises(KeyboardInterrupt):
        module.clear_work_dir(tmp_path)
    assert not (tmp_path / 'iter_20.pth').exists()
    with pytest.raises(FileExistsError, match='already holds'):
        refuse_recorded(tmp_path)
