"""The hook in a real run of a tiny model: what it records, what it must not touch, what it refuses."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.utils import get_classes, get_palette
from PIL import Image

from mmseg_deeplab_study.digests import names_digest
from mmseg_deeplab_study.engine import AdaptationHook
from mmseg_deeplab_study.engine.validation_scores import metrics_of
from mmseg_deeplab_study.runs.header import config_digest
from mmseg_deeplab_study.runs.history import FILE_NAME, read_history

CITYSCAPES, PALETTE = tuple(get_classes('cityscapes')), get_palette('cityscapes')
STEMS = [f'tiny_{i:06d}_leftImg8bit' for i in range(3)]
SEEN = ['person', 'car', 'bus', 'train', 'motorcycle', 'bicycle']


class Witness(Hook):
    """Keeps the predictions by iteration and image, the losses, and where the random numbers are."""

    # After AdaptationHook.
    priority = 'LOW'

    def __init__(self) -> None:
        self.predictions, self.losses, self.draws = {}, [], []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for sample in outputs:
            self.predictions[runner.iter, Path(sample.img_path).stem] = sample.pred_sem_seg.data[0].numpy()

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.draws.append(torch.random.get_rng_state())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())


class ForgetClass(Hook):
    """Makes the model predict nothing but `before`, and from an iteration on nothing but `after`."""

    def __init__(self, before: int, after: int, iteration: int) -> None:
        self.before, self.after, self.iteration = before, after, iteration

    def before_val(self, runner) -> None:
        bias = runner.model.decode_head.conv_seg.bias.data
        bias.fill_(-1e3)
        bias[self.after if runner.iter >= self.iteration else self.before] = 1e3


def train(cfg: Config, *hooks: Hook) -> Runner:
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def refuse_constant(name: str) -> None:
    raise AssertionError(f'{name} is not JSON')


def read_scalars(work_dir: str) -> dict[int, dict]:
    """What was logged of each validation, by iteration."""
    (path,) = Path(work_dir).glob('*/vis_data/scalars.json')
    lines = [json.loads(line, parse_constant=refuse_constant) for line in path.read_text().splitlines()]
    return {line['step']: line for line in lines if 'mIoU' in line}


def read_label(root: Path, stem: str) -> np.ndarray:
    name = stem.replace('leftImg8bit', 'gtFine_labelTrainIds')
    return np.asarray(Image.open(root / 'gtFine/val/tiny' / f'{name}.png'))


@pytest.fixture(scope='module')
def finished(tmp_path_factory, make_tiny_cityscapes, make_config) -> tuple[Runner, Witness, Path]:
    """One run, looked at by many tests; its third image and label map are 48 x 80."""
    folder = tmp_path_factory.mktemp('finished')
    root = make_tiny_cityscapes(folder)
    wide = make_tiny_cityscapes(folder, train=1, val=3, size=(48, 80), folder='wide')
    for path in wide.glob('*/val/tiny/tiny_000002_*'):
        path.replace(root / path.relative_to(wide))
    # Images keep their size in validation; the network sees them padded to a multiple of 16.
    witness, config = Witness(), make_config(root, folder / 'work')
    config.train_dataloader.dataset.pipeline.insert(2, dict(type='RandomCrop', crop_size=(48, 32)))
    return train(config, witness), witness, root


def test_header(finished):
    runner, names = finished[0], [f'{stem}.png' for stem in STEMS]
    header, train_names = read_history(runner.work_dir).header, [*names, 'tiny_000003_leftImg8bit.png']
    expected = {
        'schema_version': 1,
        'source_classes': list(get_classes('voc')),
        'target_classes': list(CITYSCAPES),
        'seen_classes': SEEN,
        'seed': 0,
        'max_iters': 10,
        'load_from': None,
        'experiment': runner.experiment_name,
        'config_digest': config_digest(runner.cfg),
        'validation': {'subset': 'full', 'images': 3, 'digest': names_digest(names)},
        'train': {'subset': 'full', 'images': 4, 'digest': names_digest(train_names)},
    }
    assert {key: header[key] for key in expected} == expected
    assert (header['model']['input'], header['model']['training']['input']) == ([64, 64], [48, 32])
    versions = header['versions']
    assert torch.__version__.startswith(versions['torch'])
    assert {'mmseg_deeplab_study', 'mmsegmentation', 'mmengine', 'mmpretrain', 'numpy'} <= set(versions)


def test_rows_are_at_0_5_and_10_and_have_the_fields_of_the_contract(finished):
    runner, _, _ = finished
    fields = 'iter kind subset mIoU aAcc mAcc mIoU.seen mIoU.unseen mIoU.labelled mIoU.seen.labelled '
    fields += 'mIoU.unseen.labelled class_iou confusion images seconds'
    history = read_history(runner.work_dir)
    assert [row['iter'] for row in history.rows] == [0, 5, 10]
    for row in history.rows:
        assert list(row) == fields.split()
        assert (row['kind'], row['subset'], row['images']) == ('validation', 'full', 3)
        assert list(row['class_iou']) == list(CITYSCAPES)
        assert row['seconds'] > 0


def test_confusion_is_of_the_labels_and_of_the_models_predictions(finished):
    runner, witness, root = finished
    for row in read_history(runner.work_dir).rows:
        expected = np.zeros((19, 19), int)
        for stem in STEMS:
            label, prediction = read_label(root, stem), witness.predictions[row['iter'], stem]
            np.add.at(expected, (label[label != 255], prediction[label != 255]), 1)
        np.testing.assert_array_equal(row['confusion'], expected)
        # two images of 64 x 64 and one of 48 x 80, each less an ignored block of 16 x 16
        assert np.sum(row['confusion']) == 2 * 64 * 64 + 48 * 80 - 3 * 16 * 16


def test_snapshots_are_the_models_predictions(finished):
    runner, witness, _ = finished
    folder = Path(runner.work_dir) / 'snapshots'
    assert sorted(path.name for path in folder.iterdir()) == ['000000', '000005', '000010', 'reference']
    for iteration in (0, 5, 10):
        paths = sorted((folder / f'{iteration:06d}').iterdir())
        assert [path.stem for path in paths] == STEMS
        for path in paths:
            image = Image.open(path)
            assert image.mode == 'P'
            assert image.getpalette()[: 3 * 19] == [channel for colour in PALETTE for channel in colour]
            # the size of the photograph, not of what the network saw
            np.testing.assert_array_equal(np.asarray(image), witness.predictions[iteration, path.stem])


def test_reference_holds_the_photographs_and_the_truths(finished):
    runner, _, root = finished
    folder = Path(runner.work_dir) / 'snapshots/reference'
    expected = [f'{stem}{end}.png' for stem in STEMS for end in ('', '_truth')]
    assert sorted(path.name for path in folder.iterdir()) == expected
    for stem in STEMS:
        photograph = root / f'leftImg8bit/val/tiny/{stem}.png'
        assert (folder / photograph.name).read_bytes() == photograph.read_bytes()
        label = read_label(root, stem)
        assert 255 in label
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f'{stem}_truth.png')), label)


def test_scalars_are_strict_json_and_say_what_the_record_says(finished):
    runner, _, _ = finished
    scalars = read_scalars(runner.work_dir)
    assert list(scalars) == [0, 5, 10]
    for row in read_history(runner.work_dir).rows:
        logged = {key: value for key, value in scalars[row['iter']].items() if 'IoU' in key or 'Acc' in key}
        assert logged == pytest.approx(metrics_of([row]), abs=1e-3)


@pytest.mark.slow
def test_looking_does_not_change_training(config, tmp_path):
    """Training is bit for bit the same with the hook and validations at 0, 5, 10 as with one at its end."""
    # The flip draws from numpy's generator and dropout from torch's, which validation shares with training.
    config.train_dataloader.dataset.pipeline.insert(2, dict(type='RandomFlip', prob=0.5))
    watched, unwatched = Witness(), Witness()
    with_hook = train(config, watched)
    config.custom_hooks, config.work_dir = [], str(tmp_path / 'unwatched')
    config.train_cfg.val_interval = 100
    without_hook = train(config, unwatched)
    assert watched.losses == unwatched.losses and len(watched.losses) == 10
    assert all(map(torch.equal, watched.draws, unwatched.draws))
    weights = without_hook.model.state_dict()
    for key, value in with_hook.model.state_dict().items():
        assert value.equal(weights[key]), key
    assert (0, STEMS[0]) in watched.predictions and (0, STEMS[0]) not in unwatched.predictions


def test_iteration_0_is_before_the_first_update(config):
    class Keep(Hook):
        priority = 'VERY_HIGH'
        weights = []

        def before_train(self, runner) -> None:
            self.weights.append(deepcopy(runner.model.state_dict()))

        def before_val(self, runner) -> None:
            if runner.iter == 0:
                self.before_train(runner)

    config.train_cfg.max_iters = 1
    train(config, Keep())
    begun, validated = Keep.weights
    assert all(value.equal(begun[key]) for key, value in validated.items())


def test_a_class_that_becomes_absent_is_not_logged_with_its_old_score(config):
    # wall (3) is in no label: predicted at 0, it scores 0; no longer predicted at 5, it is absent
    # and, as the score of the best checkpoint, ends nothing.
    config.default_hooks.checkpoint.update(save_best='IoU.wall', rule='greater')
    runner = train(config, ForgetClass(before=3, after=0, iteration=5))
    first, *others = read_history(runner.work_dir).rows
    assert first['class_iou']['wall'] == 0.0
    assert [row['class_iou']['wall'] for row in others] == [None, None]
    scalars = read_scalars(runner.work_dir)
    assert scalars[0]['IoU.wall'] == 0
    for step in (5, 10):
        assert 'IoU.wall' not in scalars[step] and 'IoU.road' in scalars[step]


def test_validation_alone_records_nothing(config):
    runner = Runner.from_cfg(config)
    runner.val()
    assert not (Path(runner.work_dir) / FILE_NAME).exists()
    assert not (Path(runner.work_dir) / 'snapshots').exists()


def relabel(cfg: Config, split: str, value: int) -> Path:
    path = Path(cfg.train_dataloader.dataset.data_root) / f'gtFine/{split}/tiny'
    path /= 'tiny_000001_gtFine_labelTrainIds.png'
    label = np.array(Image.open(path))
    label[5, 7] = value
    Image.fromarray(label).save(path)
    return path


def no_label(cfg: Config) -> None:
    root = Path(cfg.train_dataloader.dataset.data_root)
    (root / 'gtFine/train/tiny/tiny_000003_gtFine_labelTrainIds.png').unlink()


def coloured_label(cfg: Config) -> None:
    """Found by its header, too, where labels are not read."""
    cfg.custom_hooks = [dict(type='AdaptationHook', check_labels=False)]
    path = relabel(cfg, 'train', 0)
    Image.open(path).convert('RGB').save(path)


def narrow_label(cfg: Config) -> None:
    cfg.custom_hooks = [dict(type='AdaptationHook', check_labels=False)]
    path = relabel(cfg, 'val', 0)
    Image.open(path).resize((32, 64)).save(path)


def recorded(cfg: Config) -> None:
    Path(cfg.work_dir).mkdir()
    (Path(cfg.work_dir) / FILE_NAME).write_text('somebody worked for this\n')


def transfer(**options) -> dict:
    """What gives the config a HeadTransferHook before the hook."""
    head_transfer = dict(type='HeadTransferHook', allow_no_source=True, **options)
    return {'custom_hooks': [head_transfer, HOOK]}


HOOK = dict(type='AdaptationHook')
EXPECTED = r"val_evaluator=dict\(type='AdaptationMetric'\)"
TWENTY_ONE = {'model.decode_head.num_classes': 21}
EPOCHS = {'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)}
ADE = dict(source='ade', unmatched='zero')
FRANKFURT = {'custom_hooks.0.snapshots': [STEMS[0], 'frankfurt']}


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (dict(val_evaluator=dict(_delete_=True, type='IoUMetric')), rf"{EXPECTED}, but got \['IoUMetric'\]"),
        (dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg')), rf'{EXPECTED}, but got \[\]'),
        (TWENTY_ONE, 'decode_head.num_classes is 21, but the validation set has 19 classes'),
        (lambda cfg: relabel(cfg, 'train', 26), r'train/tiny/.*_000001_.*: label ids \[26\] .* 19 classes'),
        (lambda cfg: relabel(cfg, 'val', 19), r'val/tiny/.*_000001_.*: label ids \[19\] .* 19 classes'),
        (no_label, r'tiny_000003_gtFine_labelTrainIds\.png: no label map for .*tiny_000003'),
        (coloured_label, 'train/tiny/.*_000001_.*: a label map of mode RGB, expected ids in'),
        (narrow_label, '64x64 pixels, but its label map .*tiny_000001_.* has 32x64'),
        (EPOCHS, "needs train_cfg.type='IterBasedTrainLoop', but got EpochBasedTrainLoop"),
        (
            transfer(target=['road', 'car']),
            "HeadTransferHook's target has the classes road, car, but the valid",
        ),
        (transfer(**ADE), "HeadTransferHook's source has the classes wall, .* has background"),
        ({'custom_hooks': [HOOK] * 2}, 'the config has 2 AdaptationHooks, expected one: remove the others'),
        (recorded, r'adaptation\.jsonl already holds a record'),
        (
            FRANKFURT,
            "no validation image is called 'frankfurt'; there are 3, first .'tiny_000000_leftImg8bit'",
        ),
    ],
)
def test_refuses_before_training_and_writes_nothing(config, spoil: dict | Callable, message: str):
    config.default_hooks.checkpoint.interval = 1
    config.merge_from_dict(spoil) if isinstance(spoil, dict) else spoil(config)
    record = Path(config.work_dir) / FILE_NAME
    before = record.read_bytes() if record.exists() else None
    witness = Witness()
    error = FileNotFoundError if spoil is no_label else FileExistsError if spoil is recorded else ValueError
    with pytest.raises(error, match=message):
        train(config, witness)
    assert not witness.losses and not witness.predictions
    assert (record.read_bytes() if record.exists() else None) == before
    assert not list(Path(config.work_dir).glob('**/*.pth'))
    assert not (Path(config.work_dir) / 'snapshots').exists()


def test_warns_of_classes_without_a_pixel_before_training(config):
    """Labels are of road, building, person (11 of 19) and car; val has no person here."""
    for path in Path(config.val_dataloader.dataset.data_root).glob('gtFine/val/tiny/*.png'):
        label = np.array(Image.open(path))
        Image.fromarray(np.where(label == 11, 255, label)).save(path)
    config.train_cfg.max_iters = 1
    (log,) = Path(train(config).work_dir).glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'no labelled pixel' in line]
    absent = [name for i, name in enumerate(CITYSCAPES) if i not in (0, 2, 11, 13)]
    assert [line.split(' - WARNING - ')[1] for line in lines] == [
        f'train: no labelled pixel of {", ".join(absent)}',
        f'val: no labelled pixel of {", ".join([*absent[:9], "person", *absent[9:]])}',
    ]


def test_labels_are_not_read_beforehand_if_not_asked_for(config):
    relabel(config, 'val', 19)
    config.custom_hooks = [dict(type='AdaptationHook', check_labels=False)]
    # The metric meets it, and names it too.
    with pytest.raises(ValueError, match=r'tiny_000001_gtFine_labelTrainIds\.png: label ids must be'):
        train(config)


@pytest.fixture
def interrupted(config) -> Config:
    """A run of 5 of 10 iterations."""
    config.default_hooks.checkpoint.interval = 5
    config.train_cfg.max_iters = 5
    train(config)
    config.train_cfg.max_iters = 10
    config.resume, config.load_from = True, str(Path(config.work_dir) / 'iter_5.pth')
    return config


@pytest.mark.slow
def test_a_refused_resume_cuts_nothing(interrupted):
    record, beyond = Path(interrupted.work_dir) / FILE_NAME, {'train_cfg.max_iters': 4}
    before = record.read_bytes()
    for changes, message in (
        ({'val_cfg.type': 'ProbeValLoop', 'val_cfg.probe': 2}, 'was begun with another probe .*: None, now'),
        # As MMEngine does where load_from is set: it would take the source's iterations for the run's.
        (beyond, 'resumed from load_from=.* at iteration 5, beyond train_cfg.max_iters=4. If it is'),
        (beyond | {'load_from': None}, 'the run in .*work is at iteration 5, beyond .*: nothing is left'),
    ):
        cfg = deepcopy(interrupted)
        cfg.merge_from_dict(changes)
        with pytest.raises(ValueError, match=message):
            train(cfg)
    for path in Path(interrupted.train_dataloader.dataset.data_root).glob('*/train/tiny/*_000003_*'):
        path.unlink()
    with pytest.raises(ValueError, match='was begun with another train than this config gives'):
        train(interrupted)
    assert record.read_bytes() == before


@pytest.mark.slow
def test_a_missing_record_is_begun_where_the_run_goes_on_and_says_so(interrupted):
    (Path(interrupted.work_dir) / FILE_NAME).unlink()
    train(interrupted)
    history = read_history(interrupted.work_dir)
    assert history.header['begun_at'] == 5
    assert [row['iter'] for row in history.rows] == [5, 10]


@pytest.mark.slow
def test_a_best_checkpoint_that_a_kill_took_away_is_saved_on_resume(interrupted):
    """The row was on the disk, the checkpoint of its best score was not, nor its score in the one resumed."""
    interrupted.default_hooks.checkpoint.save_best = 'mIoU'
    rows = read_history(interrupted.work_dir).validations
    runner = train(interrupted)
    best = max(read_history(interrupted.work_dir).validations[1:], key=lambda row: row['mIoU'])
    (path,) = Path(interrupted.work_dir).glob('best_mIoU_*.pth')
    assert path.name == f'best_mIoU_iter_{best["iter"]}.pth'
    assert runner.message_hub.get_info('best_score') == best['mIoU']
    validations = read_history(interrupted.work_dir).validations
    assert validations[:2] == rows and [row['iter'] for row in validations] == [0, 5, 10]


def test_truth_of_few_classes_keeps_the_ignored_pixels(tiny_cityscapes, make_config, tmp_path):
    """Pillow packs a short palette in 4 bits, in which 255 would become 15, a class."""
    root = tiny_cityscapes(classes=(0, 13))
    config = make_config(root, tmp_path / 'work')
    for loader in (config.train_dataloader, config.val_dataloader):
        # MMSeg renumbers the classes that a subset keeps: road stays 0, car becomes 1.
        loader.dataset.metainfo = dict(classes=['road', 'car'])
    config.model.decode_head.num_classes = 2
    config.train_cfg.max_iters = 1
    config.custom_hooks = [dict(type='AdaptationHook', snapshots=STEMS[:2])]
    train(config)
    folder = tmp_path / 'work/snapshots/reference'
    assert len(list(folder.iterdir())) == 4  # of the images that are named
    for stem in STEMS[:2]:
        truth, label = np.asarray(Image.open(folder / f'{stem}_truth.png')), read_label(root, stem)
        np.testing.assert_array_equal(truth, np.where(label == 13, 1, label))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(snapshots=-1), 'snapshots must be a number of images, or their stems, but got -1'),
        (dict(snapshots=0.5), 'snapshots must be a number of images, or their stems, but got 0.5'),
        (dict(forgetting=5), r'forgetting must be None or dict\(dataloader=.*, but got 5'),
        (dict(forgetting=dict(interval=2)), r"forgetting must be .*, but got {'interval': 2}"),
    ],
)
def test_arguments_of_another_kind(arguments, message):
    with pytest.raises(ValueError, match=f'^{message}$'):
        AdaptationHook(**arguments)
