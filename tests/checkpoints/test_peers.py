"""vainf:// and tvseg://: parity with golden logits and with torchvision itself, round trips, refusals."""

import argparse
import copy
import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import MODELS

from mmseg_deeplab_study.checkpoints import conversion, layouts, torchvision, vainf
from mmseg_deeplab_study.checkpoints.classifier_rows import plan_rows, transfer_head
from mmseg_deeplab_study.checkpoints.parity import compare_with_peer
from mmseg_deeplab_study.checkpoints.safe_loading import TORCH
from mmseg_deeplab_study.datasets.label_spaces import match_classes, resolve_classes

REPO = Path(__file__).resolve().parents[2]
ALL = [*vainf.LAYOUTS, *torchvision.LAYOUTS]
each_layout = pytest.mark.parametrize('layout', ALL, ids=lambda layout: f'{layout.peer}-{layout.name}')
PEERS = [name for name in conversion.CONFIGS if not name.startswith('tflite')]
# Reading takes as long as most tests here.
read = cache(Config.fromfile)
V3_MOBILE = next(layout for layout in vainf.LAYOUTS if layout.name == 'deeplabv3_mobilenet')


def our_state(layout: layouts.Layout, num_classes: int = 21, auxiliary: bool = False) -> dict:
    torch.manual_seed(0)
    return layouts.build_parts(layouts.model_config(layout, num_classes, auxiliary=auxiliary)).state_dict()


def peer_file(layout: layouts.Layout, path: Path, **kwargs) -> dict:
    """Write a checkpoint as the peer does, with random weights; return its state dict."""
    state = layouts.export_state(our_state(layout, **kwargs), layout)
    data = {'cur_itrs': 1, 'model_state': state, 'best_score': 0.5} if layout.peer == 'vainf' else state
    torch.save(data, path)
    return state


def scheme(layout: layouts.Layout) -> str:
    return {'vainf': vainf.SCHEME, 'torchvision': torchvision.SCHEME}[layout.peer]


@pytest.mark.slow
def test_parity_table_of_all_golden_logits(shared: Path, run_tool):
    code, out, err = run_tool('parity', '--golden', shared / 'golden')
    assert code == 0, out + err
    files = list((shared / 'golden').glob('*.keys.json'))
    assert files and all(file.name.removesuffix('.keys.json') in out for file in files)


@pytest.mark.slow
@pytest.mark.parametrize('auxiliary', [False, True])
@pytest.mark.parametrize('layout', [torchvision.LAYOUTS[0], torchvision.LAYOUTS[2]], ids=lambda x: x.name)
def test_torchvision_itself_gives_the_same_logits(layout: layouts.Layout, auxiliary: bool, tmp_path: Path):
    peer_file(layout, tmp_path / 'peer.pth', auxiliary=auxiliary)
    found = compare_with_peer(tmp_path / 'peer.pth', conversion.load_any(tmp_path / 'peer.pth')).splitlines()
    heads = ['decode_head', 'auxiliary_head'][: 1 + auxiliary]
    expected = [[layout.name, head, f'{size}:'] for size in ('65x97', '128x160') for head in heads]
    assert [line.split()[:3] for line in found] == expected
    for line in found:
        assert line.endswith('of the largest logit, labels agree on 100.00 %')
        assert float(re.search(r'largest difference (\S+) of', line)[1]) < 1e-4


@pytest.mark.slow
@each_layout
def test_round_trip_gives_identical_tensors(layout: layouts.Layout, tmp_path: Path):
    theirs = peer_file(layout, tmp_path / 'peer.pth', auxiliary=layout.auxiliary is not None)
    checkpoint = CheckpointLoader.load_checkpoint(f'{scheme(layout)}{tmp_path}/peer.pth', map_location='cpu')
    back, found = conversion.to_peer(checkpoint['state_dict'], layout.peer)
    assert found is layout
    back = back['model_state'] if layout.peer == 'vainf' else back
    assert list(back) == list(theirs)
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)
    assert checkpoint['meta']['source_format'] == f'{layout.peer} {layout.name}'
    assert checkpoint['meta']['dataset_meta']['classes'][0] == 'background'
    assert len(checkpoint['meta']['source_digest']) == 64


@pytest.mark.skipif(TORCH < (2, 4), reason=f'torch {torch.__version__} does not read argparse.Namespace')
def test_readers_take_what_other_scripts_wrap_around(tmp_path: Path):
    state = layouts.export_state(our_state(V3_MOBILE), V3_MOBILE)
    wrapped = {f'_orig_mod.module.{key}': value for key, value in state.items()}
    wrapped['_orig_mod.n_averaged'] = torch.tensor(3)
    torch.save({'model': wrapped, 'epoch': 3, 'args': argparse.Namespace(lr=0.02)}, tmp_path / 'script.pth')
    checkpoint = CheckpointLoader.load_checkpoint(f'vainf://{tmp_path}/script.pth')
    assert set(checkpoint['state_dict']) == set(our_state(V3_MOBILE))
    found = conversion.load_any(tmp_path / 'script.pth')
    assert found['meta']['source_format'] == 'vainf deeplabv3_mobilenet'


def test_missing_surplus_and_misshapen_keys_are_listed(tmp_path: Path):
    state = layouts.export_state(our_state(V3_MOBILE), V3_MOBILE)
    del state['backbone.low_level_features.0.0.weight']
    state['other.weight'] = torch.ones(1)
    state['classifier.classifier.1.weight'] = torch.ones(2, 2)
    torch.save(state, tmp_path / 'bad.pth')
    with pytest.raises(ValueError) as error:
        CheckpointLoader.load_checkpoint(f'vainf://{tmp_path}/bad.pth')
    for part in (
        'bad.pth',
        "1 keys are missing, first ['backbone.conv1.conv.weight']",
        "1 are surplus, first ['other.weight']",
        "1 have another shape, first ['decode_head.refine.conv.weight (2, 2) for (256, 256, 3, 3)']",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ({'some.weight': torch.ones(1)}, r"none of the known checkpoints .*first \['some.weight'\]"),
        ({'classifier.x': 'text'}, r'1 entries are not'),
        ([1, 2], r'expected a state dict, got list'),
        ({}, r'expected a state dict, got dict'),
    ],
)
def test_other_content_is_refused(data: object, message: str, tmp_path: Path):
    torch.save(data, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=message):
        CheckpointLoader.load_checkpoint(f'tvseg://{tmp_path}/other.pth')


def test_number_of_classes_decides_the_label_space(tmp_path: Path):
    peer_file(V3_MOBILE, tmp_path / '19.pth', num_classes=19)
    peer_file(V3_MOBILE, tmp_path / '5.pth', num_classes=5)
    nineteen = CheckpointLoader.load_checkpoint(f'vainf://{tmp_path}/19.pth')
    five = CheckpointLoader.load_checkpoint(f'vainf://{tmp_path}/5.pth')
    assert nineteen['meta']['dataset_meta']['classes'][0] == 'road'
    assert 'dataset_meta' not in five['meta']


def test_to_peer_refuses_what_the_peer_has_not():
    state = our_state(V3_MOBILE) | {'neck.weight': torch.ones(1)}
    with pytest.raises(ValueError, match=r'torchvision has no architecture .*deeplabv3_resnet50'):
        conversion.to_peer(state, 'torchvision')


@pytest.mark.parametrize('source', conversion.CONFIGS)
def test_config_that_is_printed_fits(source: str):
    leaves = sorted((REPO / 'configs').glob(f'{conversion.CONFIGS[source]}_*.py'))
    assert leaves
    if source.startswith('tflite'):
        return  # test_tflite.py loads its file into the leaf.
    layout = next(layout for layout in ALL if f'{layout.peer} {layout.name}' == source)
    for leaf in leaves:
        model = read(leaf).model
        ours = layouts.model_config(layout, model.decode_head.num_classes)
        backbone = {**model.backbone}
        for option in ('norm_momentum', 'init_cfg'):
            backbone.pop(option, None)
        assert backbone == {**ours['backbone'], 'out_indices': backbone.get('out_indices')} or (
            'out_indices' not in backbone and layout.out_indices == (0, 1, 2, 3)
        )
        for key in ('type', 'in_channels', 'dilations', 'num_classes', 'c1_in_channels'):
            assert model.decode_head.get(key) == ours['decode_head'].get(key), (leaf, key)
        assert model.decode_head.get('aspp_dropout_ratio', 0.1) == layout.dropout


@pytest.mark.slow
@pytest.mark.parametrize('source', PEERS)
def test_leaf_takes_a_file_of_its_peer(source: str, tmp_path: Path):
    layout = next(layout for layout in ALL if f'{layout.peer} {layout.name}' == source)
    peer_file(layout, tmp_path / 'peer.pth', auxiliary=layout.auxiliary is not None)
    checkpoint = CheckpointLoader.load_checkpoint(f'{scheme(layout)}{tmp_path}/peer.pth')
    (leaf,) = (REPO / 'configs').glob(f'{conversion.CONFIGS[source]}_*voc2cityscapes*.py')
    assert_takes(leaf, checkpoint['state_dict'])


@pytest.mark.slow
@pytest.mark.parametrize('name', ['deeplabv3', 'deeplabv3plus'])
def test_leaf_takes_a_file_of_mmsegs_zoo(name: str):
    (leaf,) = (REPO / 'configs' / name).glob(f'{name}_r50-d8_*voc2cityscapes*.py')
    model = copy.deepcopy(read(leaf).model)
    model.decode_head.num_classes = model.auxiliary_head.num_classes = 21
    assert_takes(leaf, MODELS.build(model).state_dict())


def assert_takes(leaf: Path, source_state: dict) -> None:
    """Carry the head over to Cityscapes and load every key; test_configs.py trains the leaf."""
    voc, cityscapes = resolve_classes('voc'), resolve_classes('cityscapes')
    rows = plan_rows(voc, cityscapes, match_classes(voc, cityscapes))
    state, heads = transfer_head(source_state, voc, rows)
    model = MODELS.build(read(leaf).model)
    assert heads == ['decode_head', 'auxiliary_head'][: 1 + model.with_auxiliary_head]
    model.load_state_dict(state, strict=True)


def test_tool_says_what_it_does_not_find(tmp_path: Path, run_tool):
    for path, what in ((tmp_path / 'absent.pth', 'no such file'), (tmp_path, 'a folder')):
        code, _, err = run_tool('convert_checkpoint', path, tmp_path / 'ours.pth')
        assert code == 1
        assert err == (
            f'error: {path}: {what} (seen from {Path.cwd()}); expected a checkpoint of MMSeg, VainF, '
            'torchvision or TensorFlow Lite, give its path\n'
        )
    for name in ('vainf:///no.pth', 'https://example.org/a.pth'):
        _, _, err = run_tool('convert_checkpoint', name, tmp_path / 'ours.pth')
        assert err.startswith(f'error: {name.removeprefix("vainf://")}: no such file')


@pytest.mark.slow
def test_tool_converts_there_and_back(tmp_path: Path, run_tool):
    layout = torchvision.LAYOUTS[0]
    theirs = peer_file(layout, tmp_path / 'tv.pth', auxiliary=True)
    code, out, err = run_tool('convert_checkpoint', tmp_path / 'tv.pth', tmp_path / 'ours.pth', '--verify')
    assert code == 0, err
    assert 'torchvision deeplabv3_resnet50' in out and 'labels agree on 100.00 %' in out
    assert 'configs/deeplabv3/deeplabv3_r50-os8-aux_' in out
    code, _, err = run_tool('convert_checkpoint', tmp_path / 'tv.pth', tmp_path / 'ours.pth')
    assert code == 1 and 'exists' in err
    back = run_tool('convert_checkpoint', '--to', 'torchvision', tmp_path / 'ours.pth', tmp_path / 'back.pth')
    assert back[0] == 0, back[2]
    result = torch.load(tmp_path / 'back.pth', weights_only=True)
    assert list(result) == list(theirs)
    assert all(torch.equal(result[key], theirs[key]) for key in theirs)
    assert json.dumps(torch.load(tmp_path / 'ours.pth', weights_only=True)['meta'])
