"""A checkpoint enters a model whole, with its classes, or not at all; and nothing in it is run."""

import pickle
from pathlib import Path

import pytest
import torch
from mmseg.utils import get_classes, get_palette

from mmseg_deeplab_study import get_config
from mmseg_deeplab_study.inference import trained_model
from mmseg_deeplab_study.inference.trained_model import class_colours, dataset_to_test, image_size, load_model

CITYSCAPES = tuple(get_classes('cityscapes'))


@pytest.fixture
def cfg(make_config, tmp_path):
    return make_config(tmp_path / 'data', tmp_path / 'work')


@pytest.fixture
def write(write_trained, tmp_path):
    """A function of a config and the meta of a checkpoint that writes one and returns its path."""

    def write(cfg, name: str = 'a.pth', **meta) -> str:
        write_trained(cfg, tmp_path / name, **meta)
        return str(tmp_path / name)

    return write


def test_weights_and_names(cfg, write):
    names, palette = [f'class {i}' for i in range(19)], [[i, 0, 255 - i] for i in range(19)]
    path = write(cfg, dataset_meta=dict(classes=names, palette=palette))
    model = load_model(cfg, path)
    assert not model.training
    assert model.dataset_meta['classes'] == tuple(names)
    assert model.dataset_meta['palette'] == palette
    assert len(model.dataset_meta['checkpoint_digest']) == 64
    state = torch.load(path, weights_only=True)['state_dict']
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_names_of_old_checkpoints_and_of_the_dataset(cfg, write):
    old = write(cfg, CLASSES=tuple('abcdefghijklmnopqrs'))
    assert load_model(cfg, old).dataset_meta['classes'][:2] == ('a', 'b')
    meta = load_model(cfg, write(cfg)).dataset_meta
    assert (meta['classes'], meta['palette']) == (CITYSCAPES, get_palette('cityscapes'))


def test_any_segmentor_refines_where_the_config_asks_for_it(cfg, write):
    path = write(cfg)
    cfg.model.type = 'EncoderDecoder'
    cfg.model.test_cfg.crf = dict(iterations=3)
    assert load_model(cfg, path).dense_crf.parameters['iterations'] == 3
    assert cfg.model.type == 'EncoderDecoder'


def test_real_weights_bring_vocs_classes_and_colours(voc_tflite):
    cfg = get_config('deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid')
    cfg.model.decode_head.num_classes = 21
    meta = load_model(cfg, f'tflite://{voc_tflite}').dataset_meta
    assert (meta['classes'], meta['palette']) == (tuple(get_classes('voc')), get_palette('voc'))


def test_another_network_than_the_weights_are_of_is_refused(shared):
    cfg = get_config('deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid')
    cfg.model.decode_head.num_classes = 21
    name = f'tflite://{shared}/data/voc_weights/deeplabv3_mnv2_dm05_pascal_quant.tflite'
    with pytest.raises(
        ValueError, match=f'^checkpoint {name}: the checkpoint is a MobileNetV2 of width 0.5 at'
    ):
        load_model(cfg, name)


def test_another_number_of_classes_is_refused(cfg, write):
    path = write(cfg)
    cfg.model.decode_head.num_classes = 21
    message = (
        r"it has 19 classes, and the config's head 21. To see it in its own 19 give --cfg-options "
        r'model.decode_head.num_classes=19; to carry it over to the 21, adapt it first: tools/train.py'
    )
    with pytest.raises(ValueError, match=message):
        load_model(cfg, path)


HEAD = "the config's head"
GIVE = r'give --cfg-options model\.decode_head\.num_classes=2 model\.decode_head\.out_channels=1; to'


@pytest.mark.parametrize(
    ('written', 'head', 'message'),
    [
        (1, dict(num_classes=1), r'num_classes=1: .* two classes\. Give .*num_classes=2 .*out_channels=1'),
        (1, dict(out_channels=2), rf'it has 2 classes in one channel, and {HEAD} 2\. .* {GIVE}'),
        (2, dict(out_channels=1), rf'it has 2 classes, and {HEAD} 2 in one channel\. .*\.out_channels=2; to'),
    ],
)
def test_one_channel_for_two_classes(cfg, write, written, head, message):
    """MMSeg's form of two classes: one channel and a threshold."""
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    cfg.model.decode_head.update(num_classes=2, out_channels=written, threshold=0.5, loss_decode=loss)
    path = write(cfg, dataset_meta=dict(classes=['ground', 'thing']))
    assert load_model(cfg, path).dataset_meta['classes'] == ('ground', 'thing')
    cfg.model.decode_head.update(head)
    with pytest.raises(ValueError, match=message):
        load_model(cfg, path)


def test_names_of_another_number_than_the_classes_are_refused(cfg, write):
    cfg.model.decode_head.num_classes = 3
    path = write(cfg)
    message = r'19 class names \(road, .*\) for a head of 3 classes. Give the dat'
    with pytest.raises(ValueError, match=message):
        load_model(cfg, path)
    cfg.val_dataloader.dataset.metainfo = dict(classes=('a', 'b', 'c'))
    assert load_model(cfg, path).dataset_meta['classes'] == ('a', 'b', 'c')


@pytest.mark.parametrize(
    ('refined', 'message'),
    [
        (True, r'no place for \d+ of its keys, first \[.decode_head.refine'),
        (False, r'a.pth: the checkpoint does not fit the model: \d+ keys are mis'),
    ],
)
def test_parts_of_another_network_are_refused(cfg, write, refined, message):
    """MMEngine would leave at random what is missing, and out what is too much."""
    cfg.model.decode_head.refine = refined
    path = write(cfg)
    cfg.model.decode_head.refine = not refined
    with pytest.raises(ValueError, match=message):
        load_model(cfg, path)


def test_auxiliary_heads_are_left_out(cfg, write):
    path = write(cfg)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['state_dict']['auxiliary_head.conv_seg.weight'] = torch.zeros(21, 4, 1, 1)
    torch.save(checkpoint, path)
    cfg.model.auxiliary_head = dict(type='FCNHead', in_channels=112, channels=4, num_classes=19)
    assert load_model(cfg, path).with_auxiliary_head is False


class Shell:
    def __reduce__(self):
        return Path.touch, (Path('ran'),)


def test_code_is_not_run(cfg, write, tmp_path, monkeypatch):
    """Nor is torch ever asked to: before 2.6 it unpickles unless told not to."""
    monkeypatch.chdir(tmp_path)
    loaded, load = [], torch.serialization.load
    checkpoint = load(write(cfg), weights_only=True)
    torch.save({**checkpoint, 'meta': Shell()}, 'shell.pth')
    Path('bare.pth').write_bytes(pickle.dumps(Shell()))

    def watched(*args, **kwargs):
        loaded.append(kwargs['weights_only'])
        return load(*args, **kwargs)

    monkeypatch.setattr(torch.serialization, 'load', watched)
    for name, message in (('shell.pth', 'refused, because it carries code'), ('bare.pth', '')):
        with pytest.raises(ValueError, match=f'{name}: {message}'):
            load_model(cfg, name)
    assert loaded and all(loaded)
    assert not Path('ran').exists()


@pytest.mark.parametrize('scheme', ['https', 'torchvision', 'open-mmlab', 's3'])
def test_other_schemes_are_refused(scheme):
    with pytest.raises(ValueError, match=r'expected a file, or tflite://, tvseg://, vainf:// before a f'):
        trained_model.load_checkpoint(f'{scheme}://resnet50')


def test_dataset_inside_of_wrappers(cfg):
    inner = cfg.val_dataloader.dataset.to_dict()
    cfg.test_dataloader = dict(dataset=dict(type='NamedSubset', dataset=inner))
    assert dataset_to_test(cfg).type == 'CityscapesDataset'
    cfg.test_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[inner, {}]))
    assert trained_model.dataset_meta(cfg)['classes'] == CITYSCAPES
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(ValueError, match='no test_dataloader with a dataset'):
        dataset_to_test(cfg)


def test_colours():
    given = [[1, 2, 3], [4, 5, 6]]
    assert class_colours(['a', 'b'], given) == given
    # as many as MMSeg's Cityscapes, by name
    assert class_colours(CITYSCAPES) == get_palette('cityscapes')
    # of another number than the classes: VOC's, whose bits are those of the id
    assert class_colours(['a', 'b', 'c'], given) == [(0, 0, 0), (128, 0, 0), (0, 128, 0)]


def test_image_size(cfg):
    assert image_size(cfg) == (64, 64)
    cfg.model.data_preprocessor.test_cfg = dict(size=(361, 481))
    assert image_size(cfg) == (361, 481)
    cfg.model.data_preprocessor = dict(type='SegDataPreProcessor')
    assert image_size(cfg) is None
