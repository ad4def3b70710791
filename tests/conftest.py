import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mmseg_deeplab_study  # noqa: F401  (before any test imports mmseg: it makes that importable)


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of shared material: STUDY_SHARED, else `../shared` beside the checkout.

    Skips the test where there is none; fails it when STUDY_REQUIRE_SHARED=1, as in CI.
    """
    beside = Path(__file__).resolve().parents[2] / 'shared'
    folder = Path(os.environ.get('STUDY_SHARED') or beside)
    if not folder.is_dir():
        reason = f'no shared material at {folder}; set STUDY_SHARED to its folder'
        if os.environ.get('STUDY_REQUIRE_SHARED') == '1':
            pytest.fail(f'{reason} (STUDY_REQUIRE_SHARED=1 forbids the skip)', pytrace=False)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope='session')
def make_tiny_cityscapes() -> Callable[..., Path]:
    """What `tiny_cityscapes` is made by, for fixtures that outlive a test: the first argument is the folder
    to put the data root in."""

    def make(
        parent: Path,
        train: int = 4,
        val: int = 3,
        size: tuple[int, int] = (64, 64),
        classes: Sequence[int] = (0, 2, 11, 13),
        seed: int = 0,
        folder: str = 'tiny_cityscapes',
    ) -> Path:
        random = np.random.default_rng(seed)
        colours = np.random.default_rng(1).integers(0, 256, (256, 3))
        root = parent / folder
        for split, count in (('train', train), ('val', val)):
            images, labels = root / 'leftImg8bit' / split / 'tiny', root / 'gtFine' / split / 'tiny'
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for i in range(count):
                blocks = random.choice(classes, [-(-side // 16) for side in size])
                blocks[0, 0] = 255
                label = np.kron(blocks, np.ones((16, 16), int))[: size[0], : size[1]].astype(np.uint8)
                image = np.clip(colours[label] + random.normal(0, 10, (*size, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(image).save(images / f'tiny_{i:06d}_leftImg8bit.png')
                Image.fromarray(label).save(labels / f'tiny_{i:06d}_gtFine_labelTrainIds.png')
        return root

    return make


@pytest.fixture
def tiny_cityscapes(make_tiny_cityscapes: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A factory of small datasets in the Cityscapes layout; returns the data root.

    Images are blocks of 16 pixels, each of one class and of that class's colour with noise; the block in the
    upper left corner is ignored (255). Stems are `tiny_000000_leftImg8bit` and so on, the label map of one is
    `gtFine/<split>/tiny/tiny_000000_gtFine_labelTrainIds.png`.
    """
    return partial(make_tiny_cityscapes, tmp_path)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks on a busy machine: threads that wait for one another can cost thirty times more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
