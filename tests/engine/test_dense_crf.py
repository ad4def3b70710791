"""Dense CRF and the record: refused in training, recorded with and without when a checkpoint is tested."""

import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.models import EncoderDecoder
from PIL import Image

from mmseg_deeplab_study.engine.dense_crf import enable_dense_crf
from mmseg_deeplab_study.models.dense_crf import DEEPLABV2_RESNET101
from mmseg_deeplab_study.runs.history import FILE_NAME, read_history
from mmseg_deeplab_study.runs.work_dir import LOCK_NAME, is_claimed, release_work_dir


@pytest.fixture(scope='module')
def trained(make_tiny_cityscapes, make_config, tmp_path_factory) -> Config:
    """A config whose work_dir holds a finished run, with snapshots of two images."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = make_config(make_tiny_cityscapes(folder), folder / 'work')
    cfg.custom_hooks = [dict(type='AdaptationHook', snapshots=2)]
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='BoundaryMetric')]
    Runner.from_cfg(deepcopy(cfg)).train()
    release_work_dir(cfg.work_dir)
    return cfg


@pytest.fixture
def tested(trained, tmp_path) -> Config:
    """A config to test the run's last checkpoint with, in a copy of its folder."""
    shutil.copytree(trained.work_dir, tmp_path / 'run', ignore=shutil.ignore_patterns(LOCK_NAME))
    cfg = deepcopy(trained)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    cfg.work_dir = str(tmp_path / 'test')
    cfg.load_from = str(tmp_path / 'run' / 'iter_10.pth')
    return cfg


def test_training_refuses_it_and_says_what_it_would_cost(config, tmp_path):
    config.model.test_cfg.crf = dict()
    message = (
        r'model.test_cfg.crf: refining an image of 64x64 takes about \d+\.\d s here, so 3 images at each of '
        r'3 validations would take \d+:\d\d:\d\d. Train without it .*crf=None.*tools/test.py CONFIG '
        'CHECKPOINT --crf'
    )
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(config).train()
    assert not (tmp_path / 'work' / FILE_NAME).exists()


@pytest.mark.slow
def test_boundary_scores_are_in_every_row(trained):
    for row in read_history(trained.work_dir).validations:
        assert 0 <= row['BIoU'] <= 100
        assert list(row['class_biou']) == list(row['class_iou'])
        assert list(row['trimap']) == ['1', '2', '4', '8', '16', '32']


def test_scores_with_and_without_go_into_the_record(tested):
    folder = Path(tested.load_from).parent
    before = read_history(folder)
    # A torn last line costs no row.
    with (folder / FILE_NAME).open('ab') as file:
        file.write(b'{"iter": 15, "kind"')
    enable_dense_crf(tested)
    metrics = Runner.from_cfg(tested).test()
    history = read_history(folder)
    assert history.rows[:-1] == before.rows
    row, plain = history.rows[-1], before.validations[-1]
    assert (row['kind'], row['iter'], row['subset'], row['images']) == ('crf', 10, 'full', 3)
    assert row['crf'] == {**DEEPLABV2_RESNET101, 'backend': 'torch'}
    # Without it, what was recorded when the run was trained.
    for key, value in row['unrefined'].items():
        assert value == plain[key], key
    for key in ('mIoU', 'BIoU', 'aAcc'):
        assert metrics[key] == row[key]
        assert metrics[f'unrefined/{key}'] == plain[key]
    assert metrics['trimap.4'] == row['trimap']['4']['mIoU']
    # Neither resuming nor anything else takes it for a validation.
    assert history.validations == before.validations
    check_pictures(folder / 'snapshots')


def check_pictures(folder: Path) -> None:
    """Those of the run's own snapshots are refined."""
    plain, refined = (sorted((folder / name).iterdir()) for name in ('000010', 'crf/000010'))
    assert [path.name for path in refined] == [path.name for path in plain] and len(plain) == 2
    pairs = [[np.asarray(Image.open(path)) for path in pair] for pair in zip(plain, refined, strict=True)]
    assert any((one != other).any() for one, other in pairs)
    assert Image.open(refined[0]).getpalette() == Image.open(plain[0]).getpalette()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ['000000', '000005', '000010', 'crf', 'reference']


def test_tests_of_other_images_are_not_recorded(tested):
    prefix = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
    tested.test_dataloader.dataset.data_prefix = prefix
    assert_not_recorded(tested, 'the test images are not those that the run was validated on')


def test_checkpoints_of_no_recorded_validation_are_not_recorded(tested):
    folder = Path(tested.load_from).parent
    lines = (folder / FILE_NAME).read_text().splitlines(keepends=True)
    (folder / FILE_NAME).write_text(''.join(lines[:-1]))
    assert_not_recorded(tested, "it has no validation at the checkpoint's iteration, 10")


def test_tests_without_our_metric_are_not_recorded(tested):
    tested.test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
    metrics = assert_not_recorded(tested, 'test_evaluator has no AdaptationMetric of both predictions')
    # But the scores without are there beside MMSeg's own.
    plain = read_history(Path(tested.load_from).parent).validations[-1]
    assert metrics['unrefined/mIoU'] == plain['mIoU'] and metrics['unrefined/BIoU'] == plain['BIoU']
    assert 'mIoU' in metrics and 'BIoU' in metrics


def test_metrics_under_a_prefix_are_recorded_as_well(tested):
    tested.test_evaluator = [
        dict(type='AdaptationMetric', prefix='a'),
        dict(type='mmseg.BoundaryMetric', prefix='b', widths=(4,)),
    ]
    enable_dense_crf(tested)
    metrics = Runner.from_cfg(tested).test()
    row = read_history(Path(tested.load_from).parent).select('crf')[-1]
    assert metrics['a/mIoU'] == row['mIoU'] and metrics['b/trimap.4'] == row['trimap']['4']['mIoU']
    assert list(row['unrefined']['trimap']) == ['4']


def test_a_run_that_goes_on_is_left_alone(tested, claim_elsewhere):
    folder = Path(tested.load_from).parent
    claim_elsewhere(folder)
    enable_dense_crf(tested)
    with pytest.raises(RuntimeError, match='a run is going on in it'):
        Runner.from_cfg(tested).test()


def assert_not_recorded(cfg: Config, reason: str) -> dict[str, float]:
    folder = Path(cfg.load_from).parent
    before = (folder / FILE_NAME).read_bytes()
    enable_dense_crf(cfg)
    metrics = Runner.from_cfg(cfg).test()
    assert (folder / FILE_NAME).read_bytes() == before
    assert not (folder / 'snapshots/crf').exists() and not is_claimed(folder)
    log = next(Path(cfg.work_dir).glob('*/*.log')).read_text()
    assert f'scores with dense CRF are not recorded: {reason}' in log
    return metrics


def enabled(model: dict, evaluator: object) -> Config:
    cfg = Config(dict(model=model, test_evaluator=evaluator, load_from='a.pth'))
    enable_dense_crf(cfg)
    return cfg


def test_any_segmentor_is_made_to_refine():
    for kind in ('EncoderDecoder', 'mmseg.EncoderDecoder', EncoderDecoder):
        cfg = enabled(dict(type=kind, test_cfg=None), [])
        assert cfg.model.type == 'DenseCRFSegmentor' and cfg.model.segmentor == kind
        assert cfg.model.test_cfg.crf == {}
        assert 'custom_hooks' not in cfg


def test_one_that_knows_how_stays_and_keeps_its_values():
    evaluator = dict(type='IoUMetric')
    for kind in ('StudyEncoderDecoder', 'DenseCRFSegmentor'):
        model = dict(type=kind, test_cfg=dict(mode='whole', crf=dict(iterations=3)))
        assert enabled(model, evaluator).model == model
        model['test_cfg']['crf'] = None
        assert enabled(model, evaluator).model.test_cfg.crf == {}


def test_scores_with_and_without_are_evaluated():
    ours = dict(type='AdaptationMetric', source=['a', 'b'])
    unrefined = dict(predictions='unrefined_sem_seg', prefix='unrefined')
    cfg = enabled(dict(type='StudyEncoderDecoder'), ours)
    assert [dict(metric) for metric in cfg.test_evaluator] == [
        ours,
        dict(type='BoundaryMetric'),
        ours | unrefined,
        dict(type='BoundaryMetric') | unrefined,
    ]


def test_no_scores_where_only_files_are_asked_for():
    evaluator = dict(type='CityscapesMetric', format_only=True, output_dir='out')
    assert enabled(dict(type='StudyEncoderDecoder'), evaluator).test_evaluator == evaluator


def test_a_model_that_is_not_registered_is_named():
    with pytest.raises(ValueError, match=r"model.type='Nothing' is not registered; .*custom_imports"):
        enabled(dict(type='Nothing'), [])
