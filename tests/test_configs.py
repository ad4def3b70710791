"""Every config that a user can name: it loads, its model builds, and one step of training gives a loss."""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, HOOKS, METRICS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import get_classes

REPO = Path(__file__).resolve().parents[1]
CONFIGS = REPO / 'configs'
LEAVES = sorted(
    path for path in CONFIGS.rglob('*.py') if not {'_base_', 'studies'} & set(path.relative_to(CONFIGS).parts)
)
SPEC = importlib.util.spec_from_file_location('stages', Path(__file__).with_name('test_source_stages.py'))
STAGES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(STAGES)
# test_source_stages.py trains these and looks at each gradient, too.
STAGED = sorted(leaf for pair in STAGES.PAIRS.values() for leaf in pair)
TRANSFORMERS = re.compile('_(convnext|deit|mit|swin)-')
STEPPED = [leaf for leaf in LEAVES if leaf not in STAGED]
# What leaves of one model differ in: numbers and flags, of which only num_classes changes a layer, the
# classifier. test_numbers_of_classes_and_iterations_agree holds every head to the classes of the data.
SAME_MODEL = {'num_classes', 'size', 'norm_momentum'}
# Of a crop: odd, as TensorFlow's model expects.
SIDE = 33


def each(leaves: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize('leaf', leaves, ids=lambda path: str(path.relative_to(CONFIGS)))


each_leaf = each(LEAVES)
MODELS_OF_LEAVES = sorted((CONFIGS / '_base_/models').glob('*.py'))
# PyTorch's cross entropy, as the study's: the mean over labelled pixels only.
LOSS = dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)
SGD = dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0001)
ADAMW = dict(type='AdamW', lr=6e-5, weight_decay=0.01)
DRAWN = dict(type='AdamW', weight_decay=0.01)
# By the end of a leaf's name: the recipe that it claims, its optimizer, and the part of the training split.
RECIPES = {
    '1xb16-30k_voc12aug-512x512': [
        ("VainF's source stage", SGD | dict(lr=0.01), None),
        ('the source stage of transformers', ADAMW, None),
    ],
    '1xb4-200_voc2cityscapes-768x768': [("the study's", SGD, 0.25), ("the study's with AdamW", ADAMW, 0.25)],
    '1xb4-60_voc2camvid': [("the study's on CamVid", SGD, None)],
    '1xb4-200_voc2camvid': [("the study's on CamVid", SGD, None)],
    '1xb4-200_imagenet2camvid': [("the study's on CamVid", SGD, None)],
    '1xb4-100_drawn-voc2drawn-cityscapes-96x192': [('the demonstration', SGD | dict(lr=0.04), None)],
    '1xb32-700_drawn-voc-48x48': [("the demonstration's source stage", DRAWN | dict(lr=0.003), None)],
    '1xb16-360_drawn-voc-48x48': [("the demonstration's source stage", DRAWN | dict(lr=0.002), None)],
}
# Reading takes longer than most of what is looked at. Nothing here may change what it returns.
read = cache(Config.fromfile)


def without_downloads(node):
    """A model config that fetches no weights."""
    if isinstance(node, dict):
        initialise = node.get('init_cfg')
        drop = isinstance(initialise, dict) and initialise.get('type') == 'Pretrained'
        return {
            key: None if key == 'pretrained' else without_downloads(value)
            for key, value in node.items()
            if not (drop and key == 'init_cfg')
        }
    return [without_downloads(value) for value in node] if isinstance(node, list) else node


def values(node: Any, name: str) -> Iterator[Any]:
    """What any dict of a config has under a name."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from values(value, name)
    if isinstance(node, dict) and name in node:
        yield node[name]


def shape_of(node: Any) -> Any:
    """A model config without what SAME_MODEL names."""
    if isinstance(node, dict):
        return {key: shape_of(value) for key, value in node.items() if key not in SAME_MODEL}
    return [shape_of(value) for value in node] if isinstance(node, list | tuple) else node


def classes_of(dataset: dict) -> tuple[str, ...]:
    """The classes of a dataset's config, without reading its data."""
    while 'dataset' in dataset or 'datasets' in dataset:
        dataset = dataset['datasets'][0] if 'datasets' in dataset else dataset['dataset']
    names = (dataset.get('metainfo') or {}).get('classes')
    return tuple(names or DATASETS.get(dataset['type']).METAINFO['classes'])


def random_batch(num_classes: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE)))
        label = torch.randint(num_classes, (1, SIDE, SIDE), generator=generator)
        label[..., :8] = 255
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    images = torch.randint(256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return dict(inputs=list(images), data_samples=samples)


def test_no_leaf_is_lost():
    expected = dict(camvid=5, deeplabv3=23, deeplabv3plus=5, demo=6, fcn=2, pspnet=2)
    expected |= dict(segformer=4, unet=2, upernet=6)
    assert Counter(leaf.parent.name for leaf in LEAVES) == expected


def test_base_names_are_unique_and_have_no_dot():
    # mim finds a config by its base name; MMEngine refuses a dot in it.
    stems = [path.stem for path in LEAVES]
    assert len(set(stems)) == len(stems)
    assert not [path for path in CONFIGS.rglob('*.py') if '.' in path.stem]


@each_leaf
def test_bases_exist_and_lead_to_mmsegs(leaf: Path):
    """Nothing that MMSeg's bases say is said again: each leaf rests on one of them in the end."""
    upstream, waiting = [], [leaf]
    while waiting:
        path = waiting.pop()
        bases = re.search(r'^_base_ = (\[.*?\]|\'.*?\')', path.read_text(), re.DOTALL | re.MULTILINE)
        if bases is None:
            # What is taken from it by name, as the optimizer of transformers.
            assert path.parent == CONFIGS / '_base_/schedules', f'{path} has no _base_'
            continue
        for base in re.findall(r"'(.*?)'", bases.group(1)):
            if base.startswith('mmseg::'):
                upstream.append(base)
            else:
                waiting.append((path.parent / base).resolve())
                assert waiting[-1].is_file()
                assert '_base_' in waiting[-1].parts, f'{path} inherits from a leaf'
    kinds = {base.split('/')[1] for base in upstream}
    assert {'models', 'datasets', 'schedules', 'default_runtime.py'} <= kinds


@each_leaf
def test_everything_that_a_leaf_names_is_registered(leaf: Path):
    cfg = read(leaf)
    init_default_scope('mmseg')
    assert cfg.custom_imports.imports == ['mmseg_deeplab_study']
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build(hook)
    for evaluators in (cfg.val_evaluator, cfg.test_evaluator):
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            METRICS.build(evaluator)


@each_leaf
def test_numbers_of_classes_and_iterations_agree(leaf: Path):
    cfg = read(leaf)
    classes = classes_of(cfg.val_dataloader.dataset)
    assert set(values(cfg.model.to_dict(), 'num_classes')) == {len(classes)}
    assert classes_of(cfg.train_dataloader.dataset) == classes
    for hook in cfg.get('custom_hooks', []):
        if hook.type == 'HeadTransferHook':
            target = hook.target
            assert tuple(get_classes(target) if isinstance(target, str) else target) == classes
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters
    # The name says so too: 1xb4-200 is one device, batches of 4, 200 iterations.
    batch, iterations, unit = re.search(r'_1xb(\d+)-(\d+)(k?)_', leaf.name).groups()
    assert cfg.train_dataloader.batch_size == int(batch)
    assert cfg.train_cfg.max_iters == int(iterations) * (1000 if unit else 1)


def losses_of(model: dict) -> dict[str, dict]:
    """What each head of a model learns by, less its weight."""
    found = {}
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        for i, head in enumerate(heads if isinstance(heads, list) else [heads]):
            losses = head['loss_decode']
            for j, loss in enumerate(losses if isinstance(losses, list) else [losses]):
                found[f'{name}.{i}.{j}'] = {k: v for k, v in loss.items() if k != 'loss_weight'}
    return found


@each_leaf
def test_each_leaf_has_the_recipe_that_it_claims(leaf: Path):
    cfg = read(leaf)
    transformer = leaf.parent.name != 'demo' and TRANSFORMERS.search(leaf.name) is not None
    name, optimizer, fraction = RECIPES[re.search(r'_(1xb.*)', leaf.stem)[1]][transformer]
    assert cfg.optim_wrapper.optimizer.to_dict() == optimizer, name
    assert cfg.train_dataloader.dataset.get('fraction') == fraction, name
    losses = losses_of(cfg.model.to_dict())
    # The real run's figures are older than the rule.
    expected = LOSS | dict(avg_non_ignore='_1xb4-60_voc2camvid' not in leaf.name)
    # Two models of one recipe are compared: by nothing but what they are.
    assert losses and all(loss == expected for loss in losses.values()), (name, losses)


@pytest.mark.parametrize('base', MODELS_OF_LEAVES, ids=lambda path: path.stem)
def test_a_new_leaf_of_any_model_has_the_loss_and_predicts_labels(base: Path):
    model = read(base).model.to_dict()
    assert (model['type'], model['test_cfg']) == ('StudyEncoderDecoder', dict(mode='whole', output='labels'))
    losses = losses_of(model)
    assert 'decode_head.0.0' in losses and all(loss == LOSS for loss in losses.values()), losses


@each_leaf
def test_a_leaf_takes_its_model_from_where_the_loss_is(leaf: Path):
    bases = re.search(r'^_base_ = (\[.*?\])', leaf.read_text(), re.DOTALL | re.MULTILINE)[1]
    model, *_ = re.findall(r"'(.*?)'", bases)
    assert (leaf.parent / model).resolve() in MODELS_OF_LEAVES


def train_one_step(config: dict) -> None:
    torch.manual_seed(0)
    config['data_preprocessor']['size'] = (SIDE, SIDE)
    model = MODELS.build(config)
    assert 'SyncBatchNorm' not in {type(module).__name__ for module in model.modules()}
    model.init_weights()
    model.train()
    data = model.data_preprocessor(random_batch(config['decode_head']['num_classes']), training=True)
    assert data['inputs'].shape == (2, 3, SIDE, SIDE)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.fixture(scope='module')
def once() -> Callable[[Callable[[dict], object], dict], None]:
    """Once for each model: of leaves that differ in SAME_MODEL alone the first is tried."""
    done = set()

    def try_model(action: Callable[[dict], object], config: dict) -> None:
        shape = action, json.dumps(shape_of(config), sort_keys=True)
        if shape not in done:
            action(config)
            done.add(shape)

    return try_model


@pytest.mark.slow
@each(STEPPED)
def test_one_step_of_training(leaf: Path, once: Callable):
    init_default_scope('mmseg')
    once(train_one_step, without_downloads(read(leaf).model.to_dict()))


@each(STAGED)
def test_model_builds(leaf: Path, once: Callable):
    init_default_scope('mmseg')
    once(MODELS.build, without_downloads(read(leaf).model.to_dict()))


@pytest.mark.slow
def test_model_index_names_what_exists():
    imported = yaml.safe_load((REPO / 'model-index.yml').read_text())['Import']
    assert imported and all((REPO / path).is_file() for path in imported)
    # mim and openmmlab's tools see only what is imported.
    assert {str(path.relative_to(REPO)) for path in CONFIGS.rglob('metafile.yml')} == set(imported)
    collections, models = set(), []
    for path in imported:
        metafile = yaml.safe_load((REPO / path).read_text())
        collections |= {collection['Name'] for collection in metafile.get('Collections', [])}
        assert all((REPO / each['README']).is_file() for each in metafile.get('Collections', []))
        models += metafile['Models']
    for model in models:
        assert (REPO / model['Config']).is_file()
        assert model['Name'] == Path(model['Config']).stem
        assert model['In Collection'] in collections
    named = [model['Config'] for model in models]
    # All but the demonstration's, whose data is drawn.
    assert sorted(named) == [str(leaf.relative_to(REPO)) for leaf in LEAVES if leaf.parent.name != 'demo']
