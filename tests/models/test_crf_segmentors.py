"""Segmentors with dense CRF: what they refine, in which size, and what is left as it was."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_deeplab_study.models import DenseCRF, StudyEncoderDecoder

MEAN, STD = [120.0, 110, 100], [60.0, 50, 40]


@pytest.fixture
def crf_config(model_config) -> Callable[..., ConfigDict]:
    """A function that makes a config with ``crf``, of a segmentor inside ``DenseCRFSegmentor`` if named."""

    def config(kind: str = 'StudyEncoderDecoder', segmentor: str | None = None, **test_cfg) -> ConfigDict:
        preprocessor = dict(type='SegDataPreProcessor', size_divisor=32, test_cfg=dict(size_divisor=32))
        changes = dict(data_preprocessor=dict(preprocessor, mean=MEAN, std=STD), type=kind)
        if segmentor is not None:
            changes |= dict(type='DenseCRFSegmentor', segmentor=segmentor)
        test_cfg = dict(mode='whole', output='labels', **test_cfg)
        return model_config(classes=4, test_cfg=test_cfg, **changes)

    return config


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
    shapes = [tuple(image.shape[1:]) for image in images]
    samples = [SegDataSample(metainfo=dict(ori_shape=s, img_shape=s) | meta) for s in shapes]
    for sample, shape in zip(samples, shapes, strict=True):
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *shape, dtype=torch.int64))
    with torch.no_grad():
        return model.test_step(dict(inputs=[image.clone() for image in images], data_samples=samples))


def test_refines_full_size_logits_by_the_image_itself(crf_config):
    images = [draw_image(seed=0), draw_image(seed=1)]
    crf = dict(iterations=4, bilateral_sigma_xy=20)
    full, ours = build(crf_config('EncoderDecoder')), build(crf_config(crf=crf))
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


def test_full_output_has_the_log_of_the_marginals(crf_config):
    config = crf_config(crf=dict(iterations=2))
    config.output = 'full'
    (sample,) = predict(build(config), draw_image())
    logits = sample.seg_logits.data
    torch.testing.assert_close(logits.exp().sum(dim=0), torch.ones(40, 56))
    assert torch.equal(sample.pred_sem_seg.data, logits.argmax(dim=0, keepdim=True))


@pytest.mark.parametrize('segmentor', [None, 'EncoderDecoder'])
def test_survives_pickling_and_copying(segmentor, crf_config):
    model = build(crf_config(segmentor=segmentor, crf=dict(iterations=1)))
    expected = predict(model, draw_image())[0].pred_sem_seg.data
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert type(twin) is type(model) and twin is not model
        assert list(twin.state_dict()) == list(model.state_dict())
        assert torch.equal(predict(twin, draw_image())[0].pred_sem_seg.data, expected)


def test_any_segmentor_refines_and_without_crf_nothing_changes(crf_config):
    plain = build(crf_config('EncoderDecoder'))
    (given,) = predict(plain, draw_image())
    marginals = DenseCRF(iterations=2)(given.seg_logits.data[None], draw_image()[None])[0]
    for options, expected in ((dict(crf=dict(iterations=2)), marginals.log()), ({}, given.seg_logits.data)):
        wrapped = build(crf_config(segmentor='EncoderDecoder', **options))
        assert isinstance(wrapped, type(plain))
        wrapped.load_state_dict(plain.state_dict())
        (found,) = predict(wrapped, draw_image())
        torch.testing.assert_close(found.seg_logits.data, expected)
        assert ('unrefined_sem_seg' in found) == bool(options)
    # One that knows dense CRF is itself.
    assert type(build(crf_config(segmentor='StudyEncoderDecoder', crf=dict()))) is StudyEncoderDecoder


def seen(config: ConfigDict, **meta) -> tuple[Tensor, Tensor]:
    """The logits and images that a DenseCRF would be given."""
    model, given = build(config), []
    model.dense_crf = lambda *args: given.extend(args) or args[0].softmax(dim=1)
    predict(model, draw_image(), **meta)
    return tuple(given)


@pytest.mark.parametrize(
    ('meta', 'dims'),
    [
        ({}, ()),
        # The network saw it flipped, so the original is its mirror image.
        (dict(flip=True, flip_direction='horizontal'), (2,)),
        (dict(flip=True, flip_direction='vertical'), (1,)),
    ],
)
@pytest.mark.parametrize('normalised', [True, False])
def test_colours_are_those_of_the_file(meta, dims, normalised, crf_config):
    # 40x56 is padded to 64x64 for the network.
    config = crf_config()
    if not normalised:
        del config.data_preprocessor['mean'], config.data_preprocessor['std']
    assert torch.equal(seen(config, **meta)[1][0], draw_image().flip(dims))


def test_colours_come_in_the_original_size(crf_config):
    logits, images = seen(crf_config(), ori_shape=(80, 112))
    assert images.shape == (1, 3, 80, 112) and logits.shape == (1, 4, 80, 112)
    doubled = torch.nn.functional.interpolate(draw_image()[None].float(), (80, 112), mode='bilinear')
    assert (images.float() - doubled).abs().max() <= 0.5


SINGLE = dict(num_classes=2, out_channels=1, threshold=0.5)


@pytest.mark.parametrize(
    ('options', 'head', 'message'),
    [
        (dict(crf=dict(sigma_xy=3)), {}, "model.test_cfg.crf has no 'sigma_xy'"),
        (dict(crf=dict()), SINGLE, 'a single logit for two classes, .*: give decode_head.out_channels=2'),
        (dict(segmentor='Nothing'), {}, "segmentor='Nothing' is not a segmentor of MMSegmentation"),
        (dict(segmentor='DeepLabV3Head'), {}, "segmentor='DeepLabV3Head' is not a segmentor of MMSeg"),
    ],
)
def test_refuses_what_cannot_be_refined(options, head, message, crf_config):
    config = crf_config(**options)
    config.decode_head.update(head)
    config.decode_head.loss_decode.use_sigmoid = bool(head)
    with pytest.raises(ValueError, match=message):
        build(config)
