"""tools/rank.py: what it prints and writes, and what it refuses."""

import json
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmseg_deeplab_study.evaluation import image_sums
from mmseg_deeplab_study.evaluation.transferability import linear_miou
from mmseg_deeplab_study.studies import ranking


@pytest.fixture(scope='module')
def folder(make_tiny_cityscapes, make_config, with_every_row, write_trained, tmp_path_factory) -> Path:
    """``whole.py`` of a source model, ``alone.py`` of its backbone, and ``other.py`` of fewer photographs."""
    folder = tmp_path_factory.mktemp('rank')
    root = make_tiny_cityscapes(folder, train=5)
    cfg = make_config(root, folder / 'work')
    with_every_row(cfg, folder)
    source = deepcopy(cfg)
    source.model.decode_head.num_classes = 20
    state = write_trained(source, folder / 'source.pth')['state_dict']
    cfg.dump(folder / 'whole.py')
    torch.save({key: value for key, value in state.items() if key[:8] == 'backbone'}, folder / 'b.pth')
    cfg.load_from, cfg.custom_hooks = None, [dict(type='AdaptationHook')]
    init = dict(type='Pretrained', checkpoint=str(folder / 'b.pth'), prefix='backbone.')
    cfg.model.backbone.init_cfg = init
    cfg.dump(folder / 'alone.py')
    cfg.train_dataloader.dataset.indices = 4
    cfg.dump(folder / 'other.py')
    runs = {name: dict(config=f'{name}.py') for name in ('whole', 'alone')}
    variants = {'a': {}, 'b': {'optim_wrapper.optimizer.lr': 0.1}}
    content = {'runs': runs, 'variants': variants, 'seeds': [0, 1]}
    (folder / 'study.py').write_text(''.join(f'{key} = {value!r}\n' for key, value in content.items()))
    return folder


@pytest.fixture
def rank(run_tool, folder, monkeypatch):
    """A function of the flags that runs the tool in the folder of the configs."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(image_sums, 'RESAMPLES', 8)
    # A console remembers the stream it was made with.
    monkeypatch.setattr(ranking, 'console', ranking.Console(highlight=False, markup=False, soft_wrap=True))
    return partial(run_tool, 'rank')


@pytest.mark.slow
def test_ranks_configs(rank, folder, tmp_path):
    out = tmp_path / 'rank.json'
    code, output, errors = rank('alone.py', 'whole.py', '--images', 4, '--pixels', 200, '-o', out)
    assert (code, errors) == (0, '')
    found = json.loads(out.read_text())
    assert found['images'] == 4 and found['pixels']['as they come'] == 200
    sources = {source['name']: source for source in found['sources']}
    whole, alone = sources['whole'], sources['alone']
    assert alone['source_view'] is None and list(alone['scores']['balanced']) == ['backbone']
    assert list(whole['scores']['balanced']['classifier']) == list(ranking.TITLES)
    # One backbone: the same features, of the same pixels.
    for sample in ranking.SAMPLES:
        pair = (one['scores'][sample]['backbone'] for one in (whole, alone))
        for one, other in zip(*(scores.values() for scores in pair), strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-3)
    assert whole['checkpoint']['name'] == 'source.pth' and alone['checkpoint']['name'] == 'b.pth'
    assert whole['parameters'] == alone['parameters'] > 1e5
    assert whole['channels'] == {'backbone': 112, 'classifier': 16}
    first, last = output.splitlines()[0], output.splitlines()[-1]
    assert first == '2 sources, 4 photographs to train on, 200 pixels of them'
    assert last.startswith('All in 0:') and last.endswith(f' Wrote {out}')
    assert "Ranked by linear mIoU, the backbone's last layer, pixels as they come" in output
    assert 'Features: the input of the classifier; pixels: balanced' in output
    view = ranking.score_text(whole['source_view'], 1)
    assert view in output


@pytest.mark.slow
def test_scores_are_of_the_pixels_that_were_drawn(folder, monkeypatch):
    """The pipeline by hand: features of one layer, and labels at their pixels."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(image_sums, 'RESAMPLES', 8)
    cfg = Config.fromfile('whole.py')
    target = ranking.read_target(cfg, 5, 150, 3)
    assert all(len(labels) <= 150 for labels in target.labels.values())
    source = ranking.load_source(cfg)
    seen = ranking.look(source, target.dataset, target.places, target.points)
    for sample, labels in target.labels.items():
        maps = [target.dataset[place]['data_samples'].gt_sem_seg.data[0].numpy() for place in target.places]
        points = target.points[sample]
        read = [own[point.rows, point.columns] for own, point in zip(maps, points, strict=True)]
        assert np.array_equal(np.concatenate(read), labels)
        assert [len(own) for own in read] == [int((target.images[sample] == i).sum()) for i in range(5)]
    scores = ranking.score_seen(seen, target)
    own = seen.features['balanced']['classifier'], target.labels['balanced'], target.images['balanced']
    assert scores['balanced']['classifier']['linear_miou'] == linear_miou(*own)


@pytest.mark.slow
def test_ranks_the_sources_of_a_study_once_each(rank):
    code, output, errors = rank('study.py', '--images', 3, '--pixels', 100, '--by', 'leep')
    assert (code, errors) == (0, '')
    assert output.startswith('2 sources, 3 photographs')
    # alone has no LEEP, and comes last.
    first, second = [line for line in output.splitlines() if line.startswith(('| 1', '| 2'))][:2]
    assert 'whole/a' in first and 'alone/a' in second


def test_sorts_from_the_highest():
    sources = [
        {'name': name, 'scores': {'balanced': {'backbone': {'h_score': value}} if value else {}}}
        for name, value in (('none', None), ('low', [1.0, 0.5, 3.0]), ('high', [2.0, 0.0, 2.5]))
    ]
    found = ranking.sort_sources(sources, 'h_score', 'backbone', 'balanced')
    assert [source['name'] for source in found] == ['high', 'low', 'none']


@pytest.mark.parametrize(
    ('flags', 'code', 'message'),
    [
        (
            'whole.py',
            1,
            'whole.py: 1 source to rank; expected at least two that differ in model or checkpoint',
        ),
        (
            'whole.py whole.py=a/source.pth whole.py=./a/source.pth',
            1,
            'two sources are called whole=source.pth',
        ),
        ('whole.py nowhere.py', 1, 'config nowhere.py: no such file'),
        ('whole.py alone.py=nowhere.pth', 1, 'alone=nowhere.pth: load_from=nowhere.pth: no such file (seen'),
        ('whole.py alone.py=nowhere.pth', 1, 'give it with alone.py=CHECKPOINT'),
        ('whole.py other.py', 1, 'only sources of one target can be ranked; call the tool once for each'),
        ('whole.py alone.py -o .', 1, '--out . is a folder; give the name of a file'),
        ('whole.py alone.py --images 2', 2, '--images: must be at least 3, but got 2'),
        ('whole.py alone.py --by IoU', 2, "argument --by: invalid choice: 'IoU'"),
        (
            'whole.py alone.py --cfg-options train_dataloader.dataset.data_root=no',
            1,
            "whole: train_dataloader.dataset.data_root: the folder 'no' does not exist",
        ),
        (
            'whole.py alone.py --cfg-options model.backbone.init_cfg.checkpoint=no.pth',
            1,
            'alone: load_from=no.pth: no such file',
        ),
    ],
)
def test_refusals(rank, flags, code, message):
    found, output, errors = rank(*flags.split())
    assert (found, output) == (code, '') and message in errors
    assert errors.count('error: ') == 1 and 'Traceback' not in errors
