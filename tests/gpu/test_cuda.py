"""On a GPU: the real run, mixed precision, an exact resume, synchronised batch norm, the dense CRF."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmseg_deeplab_study.models.dense_crf import DenseCRF
from mmseg_deeplab_study.runs.history import read_history

REPO = Path(__file__).resolve().parents[2]
CONFIG = 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'
TEN = ('train_cfg.max_iters=10', 'default_hooks.checkpoint.interval=5')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU that torch can use'),
]


@pytest.fixture(scope='module')
def train(shared: Path) -> Callable[..., str]:
    """A function that trains ten iterations of the real run, and returns what was printed."""
    weights = f'tflite://{shared}/data/voc_weights/deeplabv3_257_mv_gpu.tflite'
    environment = {
        **os.environ,
        'CAMVID_ROOT': f'{shared}/data/camvid_cityscapes',
        # What cuBLAS needs to compute the same twice.
        'CUBLAS_WORKSPACE_CONFIG': ':4096:8',
        'PYTHON': sys.executable,
    }

    def call(work_dir: Path, *flags: str, options: tuple = (), ranks: int | None = None) -> str:
        tool = [sys.executable, 'tools/train.py', CONFIG]
        if ranks:
            tool = ['tools/dist_train.sh', CONFIG, str(ranks)]
        arguments = ['--load-from', weights, '--work-dir', work_dir, *flags, '--cfg-options', *TEN, *options]
        done = subprocess.run(
            [*tool, *arguments],
            cwd=REPO,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    return call


def scores(work_dir: Path) -> dict[int, float]:
    return {row['iter']: row['mIoU'] for row in read_history(work_dir / 'adaptation.jsonl').validations}


def test_figures_are_those_of_the_cpu(train, tmp_path):
    train(tmp_path / 'run')
    found = scores(tmp_path / 'run')
    assert found[0] == pytest.approx(9.32, abs=0.05)
    assert found[10] == pytest.approx(13.47, abs=0.5)


def test_mixed_precision_scales_the_loss_and_learns(train, tmp_path):
    train(tmp_path / 'run', '--amp')
    wrapper = read_history(tmp_path / 'run/adaptation.jsonl').header['config']['optim_wrapper']
    assert (wrapper['type'], wrapper['loss_scale']) == ('AmpOptimWrapper', 'dynamic')
    assert scores(tmp_path / 'run')[10] == pytest.approx(13.47, abs=2)


def test_a_deterministic_run_resumes_exactly(train, tmp_path):
    deterministic = ('randomness.deterministic=True',)
    whole, part = tmp_path / 'whole', tmp_path / 'part'
    train(whole, options=deterministic)
    shutil.copytree(whole, part)
    (part / 'iter_10.pth').unlink()
    train(part, '--resume', options=deterministic)
    assert scores(part) == scores(whole)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='one GPU has nothing to synchronise')
def test_batch_norm_is_synchronised(train, tmp_path):
    learning = ('model.backbone.norm_eval=False', 'model.backbone.norm_momentum=0.1')
    means = {}
    for sync_bn in ('torch', 'None'):
        train(tmp_path / sync_bn, options=(f'sync_bn={sync_bn}', *learning), ranks=2)
        state = torch.load(tmp_path / sync_bn / 'iter_10.pth', weights_only=True)['state_dict']
        means[sync_bn] = state['backbone.conv1.bn.running_mean'].cpu()
    assert not torch.equal(*means.values())


def test_the_dense_crf_gives_the_labels_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    logits = 15 * torch.nn.functional.interpolate(
        torch.randn(1, 19, 6, 6, generator=generator), (128, 160), mode='bilinear'
    )
    image = torch.randint(0, 256, (3, 8, 10), generator=generator).repeat_interleave(16, 1)
    image = image.repeat_interleave(16, 2).to(torch.uint8)
    crf = DenseCRF()
    labels = [crf(logits.to(device), image[None].to(device)).argmax(1).cpu() for device in ('cpu', 'cuda')]
    assert (labels[0] == labels[1]).float().mean() > 0.999
