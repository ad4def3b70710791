"""The dense CRF against exact mean field over all pairs of pixels, and against pydensecrf2."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor

from mmseg_deeplab_study import get_config
from mmseg_deeplab_study.inference.trained_model import load_model
from mmseg_deeplab_study.models import dense_crf
from mmseg_deeplab_study.models.dense_crf import BACKENDS, DEEPLABV2_RESNET101, DenseCRF, build_dense_crf

CAMVID = 'deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid'
SETTINGS = {
    'DeepLabV2': {},
    'narrow': dict(bilateral_sigma_xy=30, bilateral_sigma_rgb=5, bilateral_weight=3),
    'wide': dict(bilateral_sigma_xy=100, bilateral_sigma_rgb=6, bilateral_weight=6, spatial_sigma=3),
    'spatial alone': dict(bilateral_weight=0, spatial_sigma=2, spatial_weight=5),
    'colour alone': dict(spatial_weight=0, iterations=5),
}


def exact(logits: Tensor, image: Tensor, **changes) -> Tensor:
    """Mean field of the docstring's energy with full kernel matrices, in float64: marginals (C, H, W)."""
    p = {**DEEPLABV2_RESNET101, **changes}
    classes, height, width = logits.shape
    rows, columns = np.mgrid[:height, :width].reshape(2, -1)
    places = torch.tensor(np.stack([rows, columns], axis=1), dtype=torch.float64)
    colours = image.reshape(3, -1).T.double()
    apart, differing = torch.cdist(places, places) ** 2, torch.cdist(colours, colours) ** 2
    bilateral = apart / p['bilateral_sigma_xy'] ** 2 + differing / p['bilateral_sigma_rgb'] ** 2
    spatial, kernel = apart / p['spatial_sigma'] ** 2, torch.zeros_like(apart)
    for weight, exponent in ((p['spatial_weight'], spatial), (p['bilateral_weight'], bilateral)):
        gaussian = (-exponent / 2).exp()
        root = gaussian.sum(dim=1).rsqrt()
        kernel += weight * root[:, None] * gaussian * root
    unary = logits.reshape(classes, -1).T.double()
    marginals = unary.softmax(dim=1)
    for _ in range(p['iterations']):
        marginals = (unary + kernel @ marginals).softmax(dim=1)
    return marginals.T.reshape(logits.shape)


def smooth_logits(classes: int, height: int, width: int, seed: int = 0) -> Tensor:
    """As a network gives them: smooth, with a clear winner almost everywhere."""
    coarse = torch.randn(1, classes, 6, 6, generator=torch.Generator().manual_seed(seed))
    return 15 * torch.nn.functional.interpolate(coarse, (height, width), mode='bilinear')[0]


def drawn_image(height: int, width: int, seed: int = 0) -> Tensor:
    """Patches of colour with noise."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (3, 4, 5)).repeat(-(-height // 4), 1).repeat(-(-width // 5), 2)
    noisy = patches[:, :height, :width] + random.normal(0, 2, (3, height, width))
    return torch.tensor(noisy.clip(0, 255)).to(torch.uint8)


@pytest.fixture(scope='module')
def photographs(shared: Path, voc_tflite: Path) -> list[tuple[Tensor, Tensor]]:
    """Real photographs of VOC, 513x513, and what TensorFlow's weights say of them: (21, H, W), (3, H, W)."""
    cfg = get_config(CAMVID)
    cfg.model.decode_head.num_classes = 21
    cfg.test_dataloader.dataset.type = 'PascalVOCDataset'
    model = load_model(cfg, f'tflite://{voc_tflite}')
    files = sorted((shared / 'data/voc_samples').rglob('*.jpg'))
    assert len(files) == 3
    found = []
    for file in files:
        image = torch.tensor(np.asarray(Image.open(file).convert('RGB'))).permute(2, 0, 1).contiguous()
        sample = SegDataSample(metainfo=dict(ori_shape=image.shape[1:], img_shape=image.shape[1:]))
        model.output = 'full'
        with torch.no_grad():
            model.predict((image[None].float() - 127.5) / 127.5, [sample])
        found.append((sample.seg_logits.data, image))
    return found


def busiest(logits: Tensor, image: Tensor, side: int = 48) -> tuple[Tensor, Tensor]:
    """The window with most changes of label."""
    labels = logits.argmax(dim=0)
    changes = (labels.diff(dim=0)[:, 1:] != 0) | (labels.diff(dim=1)[1:] != 0)
    sums = torch.nn.functional.avg_pool2d(changes[None].float(), side, stride=8)[0]
    row, column = (8 * int(place) for place in np.unravel_index(int(sums.argmax()), sums.shape))
    window = (..., slice(row, row + side), slice(column, column + side))
    return logits[window].contiguous(), image[window].contiguous()


def agreement(one: Tensor, other: Tensor) -> float:
    return (one.argmax(dim=0) == other.argmax(dim=0)).double().mean().item()


@pytest.mark.parametrize('name', SETTINGS)
def test_agrees_with_exact_mean_field_on_drawn_images(name):
    logits, image = smooth_logits(5, 40, 48), drawn_image(40, 48)
    found = DenseCRF(**SETTINGS[name])(logits[None], image[None])[0]
    assert agreement(found, exact(logits, image, **SETTINGS[name])) >= 0.995
    # And it has changed something.
    assert agreement(found, logits) < 0.99


@pytest.mark.slow
@pytest.mark.parametrize('name', SETTINGS)
def test_agrees_with_exact_mean_field_on_photographs(photographs, name):
    same = []
    for photograph in photographs:
        logits, image = busiest(*photograph)
        found = DenseCRF(**SETTINGS[name])(logits[None], image[None])[0]
        same.append(agreement(found, exact(logits, image, **SETTINGS[name])))
        assert agreement(found, logits) < 0.995
    assert np.mean(same) >= 0.995


@pytest.mark.slow
def test_agrees_with_pydensecrf2_on_photographs(photographs):
    pytest.importorskip('pydensecrf', reason='needs the extra crf')
    for photograph in photographs:
        logits, image = busiest(*photograph, side=256)
        ours, theirs = (DenseCRF(backend=name)(logits[None], image[None])[0] for name in BACKENDS)
        assert agreement(ours, theirs) >= 0.997
        assert theirs.shape == ours.shape and theirs.dtype == torch.float32
        assert agreement(ours, logits) < 0.995


def test_marginals_are_probabilities_in_the_shape_of_the_logits():
    logits = torch.stack([smooth_logits(4, 20, 30, seed) for seed in (0, 1)])
    images = torch.stack([drawn_image(20, 30, seed) for seed in (0, 1)])
    crf = DenseCRF(iterations=3)
    found = crf(logits.bfloat16(), images)
    assert found.shape == logits.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 20, 30))
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(crf(logits.bfloat16(), images), found)
    # Each image for itself.
    torch.testing.assert_close(crf(logits[1:].bfloat16(), images[1:]), found[1:])


def test_without_weights_nothing_is_refined():
    logits, image = smooth_logits(4, 20, 30)[None], drawn_image(20, 30)[None]
    found = DenseCRF(spatial_weight=0, bilateral_weight=0)(logits, image)
    torch.testing.assert_close(found, logits.softmax(dim=1))
    # And a single pixel keeps its label.
    assert DenseCRF()(logits[..., :1, :1], image[..., :1, :1]).argmax() == logits[..., :1, :1].argmax()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(iterations=0), r'dense CRF: iterations must be a whole number from 1, but got 0'),
        (dict(iterations=True), r'iterations must be a whole number from 1, but got True'),
        (dict(spatial_weight=-1), r'dense CRF: spatial_weight must be at least 0, but got -1'),
        (dict(bilateral_sigma_xy=0), r'dense CRF: bilateral_sigma_xy must be above 0, but got 0'),
        (dict(bilateral_sigma_rgb=float('inf')), r'bilateral_sigma_rgb must be above 0, but got inf'),
        (dict(spatial_sigma='3'), r"spatial_sigma must be above 0, but got '3'"),
        (dict(backend='numpy'), r"backend must be one of torch, pydensecrf2, but got 'numpy'"),
        (dict(sigma=3), r"model.test_cfg.crf has no 'sigma'; it has iterations, spatial_weight, .*, backend"),
        (True, r'crf must be a dict, .* got True; .*--cfg-options model.test_cfg.crf.iterations=10'),
    ],
)
def test_refuses_wrong_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        build_dense_crf(changes)


def test_says_how_to_install_the_backend(monkeypatch):
    monkeypatch.setattr(dense_crf, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r"backend='pydensecrf2' is not installed: pip install .*\[crf\]"):
        DenseCRF(backend='pydensecrf2')


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (torch.zeros(1, 3, 40, 47, dtype=torch.uint8), r'images \(1, 3, 40, 47\) of torch.uint8 with logits'),
        (torch.zeros(1, 3, 40, 48), r'\(1, 2, 40, 48\); expected images \(1, 3, 40, 48\) of uint8'),
        (drawn_image(40, 48)[None], 'bilateral_sigma_xy=0.001 and bilateral_sigma_rgb=0.001 are too small'),
    ],
)
def test_refuses_images(images, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF(bilateral_sigma_xy=1e-3, bilateral_sigma_rgb=1e-3)(torch.zeros(1, 2, 40, 48), images)
