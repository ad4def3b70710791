"""Files that are whole or not there, under errors that are made up and where there really is no room."""

import contextlib
import errno
import io
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.runner import save_checkpoint

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.engine import AtomicBackend

BACKEND = dict(backend='atomic')


def disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize('data', [b'', b'new', bytes(range(256)) * 4096])
def test_content_is_whole_and_no_temporary_is_left(tmp_path, data):
    path = tmp_path / 'a' / 'b' / 'file'
    for content in (b'old', data):
        write_atomically(str(path), content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_a_temporary_that_a_crash_left_is_no_hindrance(tmp_path, monkeypatch):
    def crash(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / 'file'
    monkeypatch.setattr(os, 'fsync', crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b'much longer than what is written then')
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    # Hidden, and not found by a search for checkpoints.
    assert left.name.startswith('.') and left.suffix == '.tmp'
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_on_the_disk_before_it_has_its_name_and_then_the_folder_is(tmp_path, monkeypatch):
    """Renamed first, a power cut would leave the new name with nothing in it."""
    path, calls = tmp_path / 'file', []
    path.write_bytes(b'old')
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            assert os.path.samestat(status, tmp_path.stat())
            calls.append('fsync folder')
        else:
            calls.append(f'fsync {status.st_size} bytes')
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        assert path.read_bytes() == b'old' and self.read_bytes() == b'12345'
        calls.append(f'replace {target.name}')
        return replace(self, target)

    monkeypatch.setattr(os, 'fsync', watched_fsync)
    monkeypatch.setattr(Path, 'replace', watched_replace)
    write_atomically(path, b'12345')
    assert calls == ['fsync 5 bytes', 'replace file', 'fsync folder']


class FullDisk(io.FileIO):
    """Takes half of what it is given, and then no more."""

    taken = False

    def write(self, data: bytes) -> int:
        if self.taken:
            disk_full()
        self.taken = True
        return super().write(data[: len(data) // 2])


def failing_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, 'open', lambda self, mode: io.BufferedWriter(FullDisk(self, mode)))


def failing_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, 'fsync', disk_full)


def failing_replace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, 'replace', disk_full)


@pytest.mark.parametrize('old', [b'old', None])
@pytest.mark.parametrize('fail', [failing_write, failing_fsync, failing_replace])
def test_what_was_there_stays_and_no_temporary(tmp_path, monkeypatch, fail: Callable, old: bytes | None):
    path = tmp_path / 'file'
    if old is not None:
        path.write_bytes(old)
    before = list(tmp_path.iterdir())
    fail(monkeypatch)
    with pytest.raises(OSError, match=rf'{path}: could not be written \(No space left .*--resume') as caught:
        write_atomically(path, b'new content')
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == before
    assert old is None or path.read_bytes() == old


def test_a_file_in_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / 'folder').write_bytes(b'')
    with pytest.raises(OSError, match=r'folder/file: could not be written .* make the folder writable'):
        write_atomically(tmp_path / 'folder' / 'file', b'new')
    assert (tmp_path / 'folder').read_bytes() == b''


def test_what_is_no_fault_of_the_disk_is_not_explained_as_one(tmp_path):
    with pytest.raises(TypeError, match='bytes-like'):
        write_atomically(tmp_path / 'file', 'text')
    assert not (tmp_path / 'file').exists()


def test_checkpoints_are_written_by_it(tmp_path, monkeypatch):
    path = tmp_path / 'iter_5.pth'
    save_checkpoint({'step': 5}, str(path), backend_args=dict(BACKEND))
    whole = path.read_bytes()
    assert torch.load(path, weights_only=True) == {'step': 5}
    failing_fsync(monkeypatch)
    with pytest.raises(OSError, match=r'iter_5\.pth: could not be written .*--resume'):
        save_checkpoint({'step': 6}, str(path), backend_args=dict(BACKEND))
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(('encoding', 'expected'), [('utf-8', b'Stra\xc3\x9fe'), ('latin-1', b'Stra\xdfe')])
def test_text_is_written_by_it(tmp_path, monkeypatch, encoding, expected):
    path = tmp_path / 'file'
    AtomicBackend().put_text('Straße', path, encoding)
    assert path.read_bytes() == expected
    failing_replace(monkeypatch)
    with pytest.raises(OSError, match='could not be written'):
        AtomicBackend().put_text('Weg', path, encoding)


# Where there really is no room


def message_in_child(limit: int, work: Callable[[], None]) -> str:
    """What `work` raises as OSError in a process whose files may have `limit` bytes at most."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            try:
                work()
            except OSError as error:
                os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, 'rb') as pipe:
        message = pipe.read().decode()
    os.waitpid(child, 0)
    return message


def test_limit_of_file_size_leaves_the_old_file(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    message = message_in_child(1000, lambda: write_atomically(path, bytes(1001)))
    assert f'{path}: could not be written (File too large)' in message and '--resume' in message
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]
    assert message_in_child(1000, lambda: write_atomically(path, bytes(1000))) == ''
    assert path.read_bytes() == bytes(1000)
