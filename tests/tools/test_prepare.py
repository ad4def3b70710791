"""tools/prepare_cityscapes.py and tools/prepare_camvid.py on real photographs."""

import re
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


CAMVID_CONFIG = ROOT / 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def cells(output: str, first: str) -> list[str]:
    """The cells of the last table line that begins with this one: train is a split, and a class before."""
    lines = [[cell.strip() for cell in re.split('[│|]', line)[1:-1]] for line in output.splitlines()]
    return [line for line in lines if line[:1] == [first]][-1]


@pytest.mark.slow
def test_camvid_of_segnet_is_ours_again(run_tool, write_segnet, shared: Path, tmp_path: Path, monkeypatch):
    ours, out = shared / 'data/camvid_cityscapes', tmp_path / 'out'
    write_segnet(tmp_path / 'CamVid')
    code, output, errors = run_tool('prepare_camvid', tmp_path / 'CamVid', '-o', out)
    assert code == 0 and output.endswith(f'{out}: ready\n')
    assert errors.splitlines() == [
        'warning: train: 92 of the 367 photographs that are given out',
        'warning: val: 26 of the 101 photographs that are given out',
    ]
    assert cells(output, 'train') == ['train', '92', '367', '184', '0']
    expected = {path.relative_to(ours) for path in ours.rglob('*.png')}
    assert {path.relative_to(out) for path in out.rglob('*.png')} == expected and len(expected) == 2 * 118
    for name in expected:
        np.testing.assert_array_equal(pixels(out / name), pixels(ours / name), str(name))
        if name.parts[0] == 'leftImg8bit':
            assert (out / name).read_bytes() == (ours / name).read_bytes()

    monkeypatch.setenv('CAMVID_ROOT', str(out))
    cfg = Config.fromfile(CAMVID_CONFIG)
    for loader, count in ((cfg.train_dataloader, 92), (cfg.val_dataloader, 26)):
        assert len(DATASETS.build({**loader.dataset, 'serialize_data': False})) == count

    # of all pixels of the 26 label maps
    labels = np.stack([pixels(ours / name) for name in expected if name.parts[:2] == ('gtFine', 'val')])
    for name, train_id in (('sky', 10), ('ignored', 255)):
        is_it = labels == train_id
        assert cells(output, name)[3:] == [f'{is_it.sum():,}', f'{100 * is_it.mean():.2f}']


@pytest.mark.parametrize('archives', [False, True])
def test_cityscapes_sample(run_tool, shared: Path, tmp_path: Path, archives: bool):
    sample, out = shared / 'data/cityscapes_sample', tmp_path / 'out'
    place = 'val/frankfurt/frankfurt_000000_000294'
    source = sample
    if archives:
        source = tmp_path / 'download'
        source.mkdir()
        for kind in ('leftImg8bit', 'gtFine'):
            with ZipFile(source / f'{kind}_trainvaltest.zip', 'w') as archive:
                for path in (sample / kind).rglob('*.png'):
                    archive.write(path, path.relative_to(sample))
    for written in (2, 0):
        code, output, errors = run_tool('prepare_cityscapes', source, '--out', out, '--splits', 'val')
        assert (code, errors) == (0, 'warning: val: 1 of the 500 photographs that are given out\n')
        assert cells(output, 'val') == ['val', '1', '500', str(written), str(2 - written)]
    label = f'gtFine/{place}_gtFine_labelTrainIds.png'
    # The sample's two label maps were made small separately: they agree but for 77 pixels at edges.
    assert (pixels(out / label) != pixels(sample / label)).sum() == 77
    assert set(np.unique(pixels(out / label))) == set(np.unique(pixels(sample / label)))
    image = f'leftImg8bit/{place}_leftImg8bit.png'
    assert (out / image).read_bytes() == (sample / image).read_bytes()
    assert (out / image).is_symlink() is not archives
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob('*.png')) == [label, image]


def test_copies(run_tool, shared: Path, tmp_path: Path):
    sample = shared / 'data/cityscapes_sample'
    run_tool('prepare_cityscapes', sample, '-o', tmp_path, '--splits', 'val', '--copy')
    assert not [path for path in tmp_path.rglob('*') if path.is_symlink()]
    assert len(list(tmp_path.rglob('*.png'))) == 2
