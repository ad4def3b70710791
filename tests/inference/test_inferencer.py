"""Labels of images of any size, the same as MMSeg's own inferencer gives."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmseg.apis import MMSegInferencer

from mmseg_deeplab_study.inference.inferencer import TrainedInferencer, with_long_side
from mmseg_deeplab_study.inference.overlay import paint


@pytest.fixture(scope='module')
def trained(make_config, write_trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    cfg = make_config(folder / 'data', folder / 'work')
    # Smaller images are padded, larger ones are not.
    cfg.model.data_preprocessor.test_cfg = dict(size=(65, 97))
    meta = dict(classes=[f'class {i}' for i in range(19)])
    checkpoint = write_trained(cfg, folder / 'a.pth', dataset_meta=meta)
    return cfg, str(folder / 'a.pth'), checkpoint


def photograph(height: int, width: int) -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)[:height, :width].copy()


@pytest.mark.parametrize('size', [(65, 97), (40, 50), (97, 65), (180, 40), (30, 260)])
def test_labels_are_those_of_mmsegs_own_inferencer(trained, size):
    cfg, path, checkpoint = trained
    labels = TrainedInferencer(cfg, path, 'cpu').predict(photograph(*size))
    assert labels.shape == size and len(np.unique(labels)) >= 2
    # Its own segmentor too, without anything of ours.
    stock = deepcopy(cfg)
    stock.model.type = 'EncoderDecoder'
    stock.test_dataloader = stock.val_dataloader
    stock.visualizer = dict(type='SegLocalVisualizer')
    theirs = MMSegInferencer(stock, device='cpu')
    theirs.model.load_state_dict(checkpoint['state_dict'])
    assert (labels == theirs(photograph(*size))['predictions']).mean() > 0.999


@pytest.mark.parametrize('kind', ['StudyEncoderDecoder', 'EncoderDecoder'])
def test_one_channel_for_two_classes(make_config, write_trained, tmp_path, kind):
    """MMSeg's binary form, whose labels are float: no index of a palette."""
    cfg = make_config(tmp_path / 'data', tmp_path / 'work')
    cfg.model.type = kind
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    cfg.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.5, loss_decode=loss)
    path, image = tmp_path / 'a.pth', photograph(65, 97)

    def scores() -> torch.Tensor:
        inferencer = TrainedInferencer(cfg, str(path), 'cpu')
        return inferencer(image, return_datasamples=True).seg_logits.data[0]

    # Move the classifier's bias until both labels are there.
    state = write_trained(cfg, path, dataset_meta=dict(classes=['ground', 'thing']))
    state['state_dict']['decode_head.conv_seg.bias'] -= scores().median().logit()
    torch.save(state, path)
    labels = TrainedInferencer(cfg, str(path), 'cpu').predict(image)
    assert labels.dtype == np.uint8 and np.unique(labels).tolist() == [0, 1]
    assert np.array_equal(labels, scores() > 0.5)
    # What used to end in an IndexError.
    assert paint(image, labels, [(0, 0, 0), (255, 0, 0)], 1.0)[labels == 1].tolist()[0] == [255, 0, 0]


def test_colours_are_not_swapped(trained):
    cfg, path, _ = trained
    inferencer = TrainedInferencer(cfg, path, 'cpu')
    image = np.zeros((65, 97, 3), np.uint8)
    image[..., 0] = 255  # blue, in OpenCV's order
    inputs = inferencer.model.data_preprocessor(next(inferencer.preprocess([image])))['inputs']
    # The config has no bgr_to_rgb: (255 - 127.5) / 127.5 = 1, and -1 for no light
    assert inputs[0, :, 30, 30].tolist() == [1.0, -1.0, -1.0]


def test_long_side(trained):
    cfg, path, _ = trained
    seen = []
    inferencer = TrainedInferencer(cfg, path, 'cpu', long_side=120)
    preprocessor = inferencer.model.data_preprocessor
    preprocessor.register_forward_hook(lambda module, args, out: seen.append(tuple(out['inputs'].shape)))
    for size in ((240, 480), (480, 240), (30, 20)):
        assert inferencer.predict(photograph(*size)).shape == size
    # 480 -> 120, 240 -> 60, padded to 65; upright 60 -> 97; 30 -> 120, 20 -> 80 -> 97
    assert seen == [(1, 3, 65, 120), (1, 3, 120, 97), (1, 3, 120, 97)]


def test_long_side_takes_the_place_of_the_configs_resize():
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackSegInputs')
    resize = dict(type='Resize', scale=(2048, 1024), keep_ratio=True)
    found = with_long_side([load, resize, pack], 480)
    assert found == [load, dict(type='Resize', scale=(480, 480), keep_ratio=True), pack]


def test_usual_side(trained):
    cfg, path, _ = trained
    before = cfg.pretty_text
    inferencer = TrainedInferencer(cfg, path, 'cpu')
    assert inferencer.usual_side == 97
    assert TrainedInferencer(cfg, path, 'cpu', long_side=50).usual_side is None
    assert cfg.pretty_text == before
    # Evaluation is the fast one: StudyEncoderDecoder's labels, without logits.
    assert inferencer.predict(photograph(65, 97)).dtype == np.uint8
    assert inferencer.model._folded is not None and not torch.is_inference_mode_enabled()
