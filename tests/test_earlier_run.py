"""A record, a checkpoint and a config that an earlier version wrote are read by this one.

The files are of 2 of 4 iterations on ``tiny_cityscapes``, with every kind of row. The weights and momenta of
convolutions are zeros, to keep the checkpoint small.
"""

import json
import lzma
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_deeplab_study.runs.history import read_history

EARLIER = Path(__file__).parent / 'data/run_of_0.1.0'


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_resumed(make_tiny_cityscapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tiny_cityscapes(tmp_path / 'w')
    run = tmp_path / 'w/run'
    run.mkdir()
    shutil.copy(EARLIER / 'adaptation.jsonl', run)
    checkpoint = run / 'iter_2.pth'
    checkpoint.write_bytes(lzma.decompress((EARLIER / 'iter_2.pth.xz').read_bytes()))

    cfg = Config.fromfile(EARLIER / 'config.py')
    cfg.resume, cfg.load_from = True, str(checkpoint)
    runner = Runner.from_cfg(cfg)
    runner.train()

    assert runner.iter == 4
    before = [json.loads(line) for line in (EARLIER / 'adaptation.jsonl').read_text().splitlines()]
    record = read_history(run)
    assert [record.header, *record.rows[:6]] == before
    assert [(row['iter'], row['kind'], row['subset']) for row in record.rows[6:]] == [
        (4, 'forgetting', 'full'),
        (4, 'validation', 'full'),
        (4, 'validation', 'probe'),
    ]
