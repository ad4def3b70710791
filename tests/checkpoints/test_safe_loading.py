import argparse
import os
import pickle
import tarfile
import types
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch

from mmseg_deeplab_study.checkpoints import safe_loading
from mmseg_deeplab_study.checkpoints.safe_loading import TORCH, load_plain


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f'touch {self.trace}',)


@pytest.mark.parametrize('new_format', [True, False])
@pytest.mark.parametrize('release', [(2, 4), (2, 6)])
def test_loads_what_scripts_save_beside_the_weights(tmp_path, monkeypatch, release, new_format):
    """In files of torchvision's references, VainF's and the like; as with torch 2.4 and 2.6."""
    if release > safe_loading.TORCH:
        pytest.skip(f'not with torch {torch.__version__}')
    monkeypatch.setattr(safe_loading, 'TORCH', release)
    inner = argparse.Namespace(amp=True)
    args = argparse.Namespace(lr=0.02, data_path=Path('/data/coco'), device=torch.device('cpu'), inner=inner)
    numbers = {'best': np.float32(0.5), 'best_score': np.float64(0.7), 'done': np.bool_(True), 'cur_itrs': 3}
    beside = {'args': args, 'options': types.SimpleNamespace(seed=3), **numbers}
    data = {
        'model': {'w': torch.ones(2, dtype=torch.half)},
        'confusion': np.arange(4).reshape(2, 2),
        **beside,
    }
    torch.save(data, tmp_path / 'script.pth', _use_new_zipfile_serialization=new_format)

    loaded = load_plain(tmp_path / 'script.pth')

    assert torch.equal(loaded['model']['w'], data['model']['w'])
    assert vars(loaded['args']) == {**vars(data['args']), 'data_path': PurePosixPath('/data/coco')}
    assert loaded['options'] == data['options']
    assert {key: loaded[key] for key in numbers} == numbers
    assert loaded['confusion'].tolist() == [[0, 1], [2, 3]]


def test_numbers_of_numpy_need_torch_2_4(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_loading, 'TORCH', (2, 3))
    torch.save({'best_score': np.float64(0.7)}, tmp_path / 'script.pth')

    with pytest.raises(
        ValueError, match=r'script\.pth: holds numpy\.\w+\.multiarray\.scalar, which .* torch 2\.4'
    ):
        load_plain(tmp_path / 'script.pth')


@pytest.mark.parametrize('compression', ['', 'gz'])
def test_a_tar_file_is_refused(tmp_path, compression):
    """Before 2.6 torch unpacks it wherever it says."""
    (tmp_path / 'storages').write_bytes(b'\0' * 100)
    with tarfile.open(tmp_path / 'model.pth', f'w:{compression}') as archive:
        archive.add(tmp_path / 'storages', 'storages')

    with pytest.raises(ValueError, match=r'model\.pth: a tar file, not one of torch\.save; unpack it'):
        load_plain(tmp_path / 'model.pth')


@pytest.mark.parametrize('new_format', [True, False])
@pytest.mark.parametrize('beside', [lambda code: code, lambda code: argparse.Namespace(lr=0.1, hook=code)])
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, beside, new_format: bool):
    path, trace = tmp_path / 'evil.pth', tmp_path / 'trace'
    data = {'model_state': {'w': torch.ones(2)}, 'extra': beside(Payload(trace))}
    torch.save(data, path, _use_new_zipfile_serialization=new_format)

    said = r'refused.*code \((posix|os)\.system\)'
    if TORCH < (2, 4) and isinstance(data['extra'], argparse.Namespace):
        said = 'holds argparse'
    with pytest.raises(ValueError, match=rf'evil\.pth: {said}'):
        load_plain(path)

    assert not trace.exists()


def test_getattr_is_refused(tmp_path: Path):

    class Getter:
        def __reduce__(self):
            return getattr, ('text', 'upper')

    torch.save({'extra': Getter()}, tmp_path / 'getattr.pth')

    with pytest.raises(ValueError, match=r'code \(.*getattr\)'):
        load_plain(tmp_path / 'getattr.pth')


def test_bare_pickle_with_code_is_refused(tmp_path: Path):
    trace = tmp_path / 'trace'
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps(Payload(trace)))

    with pytest.raises(ValueError, match=r'evil\.pkl'):
        load_plain(tmp_path / 'evil.pkl')

    assert not trace.exists()


def test_missing_empty_and_text_files(tmp_path: Path):
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'text.pth').write_text('<html>Not found</html>' * 50)

    with pytest.raises(FileNotFoundError, match=r'none\.pth: no such file'):
        load_plain(tmp_path / 'none.pth')
    with pytest.raises(ValueError, match=r'empty\.pth: not a PyTorch .* \(the file is empty; copy'):
        load_plain(tmp_path / 'empty.pth')
    with pytest.raises(ValueError, match=r'text\.pth: not a PyTorch file'):
        load_plain(tmp_path / 'text.pth')


def test_truncated_anywhere_is_a_value_error(tmp_path: Path):
    torch.save({'w': torch.arange(1000.0)}, tmp_path / 'whole.pth')
    data = (tmp_path / 'whole.pth').read_bytes()
    for end in range(1, len(data) - 1, len(data) // 20):
        (tmp_path / 'cut.pth').write_bytes(data[:end])
        with pytest.raises(ValueError, match=r'cut\.pth'):
            load_plain(tmp_path / 'cut.pth')


def test_zip_bomb_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', b'\0' * 10_000_000)

    with pytest.raises(ValueError, match=r'bomb\.pth: refused, because it is compressed .* 10000000'):
        load_plain(tmp_path / 'bomb.pth')


@pytest.mark.parametrize('make', [torch.jit.script, lambda m: torch.jit.trace(m, torch.ones(1, 2))])
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('release', [(2, 4), (2, 6)])
def test_torchscript_is_named_and_not_run(tmp_path: Path, monkeypatch, make, release):
    monkeypatch.setattr(safe_loading, 'TORCH', release)
    torch.jit.save(make(torch.nn.Linear(2, 2)), tmp_path / 'model.pth')

    with pytest.raises(
        ValueError, match=r'model\.pth: a TorchScript file .* expected a state dict\. Where you'
    ):
        load_plain(tmp_path / 'model.pth')


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('release', [(2, 4), (2, 6)])
def test_archives_that_zipfile_and_torch_see_differently(tmp_path: Path, monkeypatch, release):
    """With the beginning of an end after them zipfile sees none, with a zip file after them another."""
    monkeypatch.setattr(safe_loading, 'TORCH', release)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / 'script.pth')
    torch.save({'w': torch.ones(2)}, tmp_path / 'plain.pth')
    with zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', b'\0' * 1_000_000)
    for name in ('script', 'plain', 'bomb'):
        path = tmp_path / f'{name}.pth'
        path.write_bytes(path.read_bytes() + b'PK\x05\x06')
        assert not zipfile.is_zipfile(path)
        with pytest.raises(ValueError, match=rf'{name}\.pth: not a PyTorch file, or a damaged one'):
            load_plain(path)
    with tarfile.open(tmp_path / 'tar.pth', 'w') as archive:
        archive.add(tmp_path / 'plain.pth', 'storages')
    torch.save({'w': torch.ones(2)}, tmp_path / 'inner.zip')
    with (tmp_path / 'tar.pth').open('ab') as file:
        file.write((tmp_path / 'inner.zip').read_bytes())
    assert zipfile.is_zipfile(tmp_path / 'tar.pth')
    with pytest.raises(ValueError, match=r'tar\.pth: a tar file'):
        load_plain(tmp_path / 'tar.pth')


@pytest.mark.parametrize(
    ('member', 'kind'),
    [('m/archive_format', 'a program of torch.export'), ('readme.txt', 'a zip file of something else')],
)
def test_other_archives_are_named(tmp_path: Path, member: str, kind: str):
    with zipfile.ZipFile(tmp_path / 'other.pth', 'w') as archive:
        archive.writestr(member, 'text')

    with pytest.raises(ValueError, match=f'not a PyTorch file of weights, but {kind}.*{member}'):
        load_plain(tmp_path / 'other.pth')


@pytest.mark.parametrize(
    ('content', 'what'),
    [
        (b'<!DOCTYPE html><title>404</title>', 'a web page, not a checkpoint; download it again'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'a pointer of Git LFS, .*; git lfs pull'),
        (b'PK\x03\x04' + bytes(99), r'cut short: .* no end \(103 bytes\); copy or download it again'),
        (b'\x89PNG\r\n\x1a\n' + bytes(99), 'not a checkpoint: neither PyTorch nor TensorFlow Lite'),
    ],
)
def test_what_a_download_leaves_is_named(tmp_path, content, what):
    path = tmp_path / 'model.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'model\.pth: not a PyTorch file, or a damaged one \({what}'):
        load_plain(path)
