"""Segmentors with dense CRF: what they refine, in which size, and what is left as it was."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import Tensor, nn

from mmseg_deeplab_study.models.dense_crf import DenseCRF

MEAN, STD = [120.0, 110, 100], [60.0, 50, 40]


@pytest.fixture(autouse=True)
def quiet(one_thread):
    register_all_modules()


def model_config(kind: str = 'StudyEncoderDecoder', classes: int = 4, **test_cfg) -> ConfigDict:
    return ConfigDict(
        dict(
            type=kind,
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                mean=MEAN,
                std=STD,
                size_divisor=32,
                test_cfg=dict(size_divisor=32),
            ),
            backbone=dict(
                type='AtrousBackbone',
                backbone=dict(type='mmpretrain.MobileNetV2', widen_factor=0.35),
                out_indices=(6,),
            ),
            decode_head=dict(
                type='DeepLabV3Head',
                in_channels=112,
                in_index=0,
                channels=16,
                dilations=(1, 2),
                num_classes=classes,
                norm_cfg=dict(type='BN'),
                loss_decode=dict(type='CrossEntropyLoss'),
            ),
            train_cfg=dict(),
            test_cfg=dict(mode='whole', output='labels', **test_cfg),
        )
    )


def build(config: ConfigDict) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(config)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    nn.init.normal_(model.decode_head.conv_seg.weight)
    with torch.no_grad():
        # Statistics of what comes in: without them nothing gets through, and one label is everywhere.
        model.train().decode_head(model.extract_feat(torch.randn(4, 3, 64, 64)))
    return model.eval()


def draw_image(height: int = 40, width: int = 56, seed: int = 0) -> Tensor:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (3, -(-height // 8), -(-width // 8))).repeat(8, 1).repeat(8, 2)
    return torch.tensor(image[:, :height, :width], dtype=torch.uint8)


def predict(model: nn.Module, *images: Tensor, **meta) -> list[SegDataSample]:
    samples = []
    for image in images:
        shape = tuple(image.shape[1:])
        sample = SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape) | meta)
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *shape, dtype=torch.int64))
        samples.append(sample)
    with torch.no_grad():
        return model.test_step(dict(inputs=[image.clone() for image in images], data_samples=samples))


def test_refines_full_size_logits_by_the_image_itself():
    images = [draw_image(seed=0), draw_image(seed=1)]
    crf = dict(iterations=4, bilateral_sigma_xy=20)
    full, ours = build(model_config('EncoderDecoder')), build(model_config(crf=crf))
    ours.load_state_dict(full.state_dict())
    refined = predict(ours, *images)
    changed = 0
    for image, plain, sample in zip(images, predict(full, *images), refined, strict=True):
        marginals = DenseCRF(**crf)(plain.seg_logits.data[None], image[None])[0]
        labels = marginals.argmax(dim=0, keepdim=True)
        unsure = marginals.topk(2, dim=0).values.diff(dim=0).abs() < 1e-3
        assert torch.equal(sample.pred_sem_seg.data.long()[~unsure], labels[~unsure])
        assert sample.pred_sem_seg.data.dtype == sample.unrefined_sem_seg.data.dtype == torch.uint8
        assert 'seg_logits' not in sample
        plain_labels = plain.pred_sem_seg.data
        assert (sample.unrefined_sem_seg.data.long() == plain_labels).double().mean() > 0.999
        changed += int((labels != plain_labels).sum())
    assert changed > 20


def test_full_output_has_the_log_of_the_marginals():
    config = model_config(crf=dict(iterations=2))
    config.output = 'full'
    (sample,) = predict(build(config), draw_image())
    logits = sample.seg_logits.data
    torch.testing.assert_close(logits.exp().sum(dim=0), torch.ones(40, 56))
    assert torch.equal(sample.pred_sem_seg.data, logits.argmax(dim=0, keepdim=True))


@pytest.mark.parametrize('kind', ['StudyEncoderDecoder', 'DenseCRFSegmentor'])
def test_survives_pickling_and_copying(kind):
    model = build(model_config(kind, crf=dict(iterations=1)))
    expected = predict(model, draw_image())[0].pred_sem_seg.data
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert type(twin) is type(model) and twin is not model
        assert list(twin.state_dict()) == list(model.state_dict())
        assert torch.equal(predict(twin, draw_image())[0].pred_sem_seg.data, expected)


def test_any_segmentor_has_its_own_state_dict_and_losses():
    plain = build(model_config('EncoderDecoder'))
    config = model_config('DenseCRFSegmentor', crf=dict(iterations=2))
    config.segmentor = 'EncoderDecoder'
    wrapped = build(config)
    assert isinstance(wrapped, type(plain))
    assert wrapped.state_dict().keys() == plain.state_dict().keys()
    wrapped.load_state_dict(plain.state_dict())
    expected = DenseCRF(iterations=2)(
        predict(plain, draw_image())[0].seg_logits.data[None], draw_image()[None]
    )[0]
    torch.testing.assert_close(predict(wrapped, draw_image())[0].seg_logits.data.exp(), expected)


def test_a_segmentor_that_knows_dense_crf_is_itself():
    config = model_config('DenseCRFSegmentor', crf=dict())
    config.segmentor = 'StudyEncoderDecoder'
    assert type(build(config)).__name__ == 'StudyEncoderDecoder'


def test_without_it_nothing_changes():
    image = draw_image()
    config = model_config('DenseCRFSegmentor')
    config.segmentor = 'EncoderDecoder'
    plain, wrapped = predict(build(model_config('EncoderDecoder')), image), predict(build(config), image)
    assert torch.equal(wrapped[0].seg_logits.data, plain[0].seg_logits.data)
    assert 'unrefined_sem_seg' not in wrapped[0]


class Seen:
    """Stands for a DenseCRF and keeps what it is given."""

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        self.logits, self.images = logits, images
        return logits.softmax(dim=1)


def seen(image: Tensor, **meta) -> Seen:
    model = build(model_config())
    model.dense_crf = Seen()
    predict(model, image, **meta)
    return model.dense_crf


def test_colours_are_those_of_the_file():
    # 40x56 is padded to 64x64 for the network.
    image = draw_image()
    assert torch.equal(seen(image).images[0], image)


def test_colours_come_in_the_original_size():
    found = seen(draw_image(), ori_shape=(80, 112))
    assert found.images.shape == (1, 3, 80, 112) and found.logits.shape == (1, 4, 80, 112)
    doubled = torch.nn.functional.interpolate(draw_image()[None].float(), (80, 112), mode='bilinear')
    assert (found.images.float() - doubled).abs().max() <= 0.5


@pytest.mark.parametrize(('direction', 'dim'), [('horizontal', 2), ('vertical', 1)])
def test_a_flipped_view_is_turned_back(direction, dim):
    image = draw_image()
    found = seen(image, flip=True, flip_direction=direction)
    # The network saw it flipped, so the original is its mirror image.
    assert torch.equal(found.images[0], image.flip(dim))


def test_colours_where_nothing_is_normalised():
    config = model_config()
    config.data_preprocessor = dict(
        type='SegDataPreProcessor', size_divisor=32, test_cfg=dict(size_divisor=32)
    )
    model = build(config)
    model.dense_crf = Seen()
    predict(model, draw_image())
    assert torch.equal(model.dense_crf.images[0], draw_image())


def test_refuses_wrong_arguments_when_built():
    with pytest.raises(ValueError, match=r"model.test_cfg.crf has no 'sigma_xy'"):
        build(model_config(crf=dict(sigma_xy=3)))


def test_refuses_a_single_logit():
    config = model_config(classes=2, crf=dict())
    config.decode_head.out_channels = 1
    config.decode_head.threshold = 0.5
    config.decode_head.loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)
    with pytest.raises(
        ValueError, match=r'a single logit for two classes, .*: give decode_head.out_channels=2'
    ):
        build(config)


@pytest.mark.parametrize('name', ['Nothing', 'DeepLabV3Head'])
def test_refuses_what_is_not_a_segmentor(name):
    config = model_config('DenseCRFSegmentor')
    config.segmentor = name
    with pytest.raises(ValueError, match=f"segmentor='{name}' is not a segmentor of MMSegmentation"):
        build(config)
