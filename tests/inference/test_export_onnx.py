"""The images that an export is checked with."""

import numpy as np
from PIL import Image

from mmseg_deeplab_study.inference.export_onnx import batches


def test_images_to_check_with(tmp_path):
    Image.new('RGB', (80, 40), (250, 0, 0)).save(tmp_path / 'red.png')
    (fixed,) = batches((64, 96), False, tmp_path / 'red.png')
    assert fixed.shape == (1, 64, 96, 3) and fixed[0, 5, 5].tolist() == [250, 0, 0]
    own, other = batches((64, 96), True, tmp_path / 'red.png')
    assert (own.shape, other.shape) == ((1, 40, 80, 3), (2, 48, 120, 3))
    first, again = (batches((64, 96), False, None)[0] for _ in range(2))
    assert np.array_equal(first, again) and len(np.unique(first)) == 256
