"""``tflite://``: TensorFlow's mobile DeepLabV3 as an MMSeg state dict."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.models.backbones import MobileNetV2
from torch import Tensor, nn

from ..datasets.label_spaces import resolve_classes
from ..digests import file_digest
from .layouts import mobilenet_v2_blocks

SCHEME = 'tflite://'
# PyTorch's default, which MobileNetV2 is built with: running_var + eps is exactly 1.
_NORM_EPS = 1e-5
_IDENTIFIER = b'TFL3'
# What a cut or damaged file does to the flatbuffer reader: offsets that point outside.
_DAMAGED = (IndexError, ValueError, TypeError, AttributeError, OverflowError, struct.error)
_BACKBONE = 'MobilenetV2/'
_HEAD = {
    'aspp0': 'aspp.0.conv',
    'image_pooling': 'image_pool.1.conv',
    'concat_projection': 'project.conv',
    'logits/semantic': 'conv_seg',
}


def is_tflite(path: Path) -> bool:
    """Whether a file says of itself that it is a TensorFlow Lite model."""
    with path.open('rb') as file:
        # The file identifier follows the four bytes of the root offset.
        return file.read(8)[4:] == _IDENTIFIER


def read_constants(path: str | Path) -> dict[str, np.ndarray]:
    """Read the float32 constants of a TensorFlow Lite file by name; nothing in it is executed.

    Raises FileNotFoundError, ImportError without the schema's package, or ValueError if it cannot be read.
    """
    try:
        import tflite
    except ImportError as error:
        raise ImportError(f'{SCHEME} needs the flatbuffer schema: pip install tflite') from error
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{SCHEME}{path}: no such file')
    data = path.read_bytes()
    if not is_tflite(path):
        raise ValueError(
            f'{path} is not a TensorFlow Lite model: expected the identifier TFL3, got {data[4:8]!r}'
        )
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        graph = model.Subgraphs(0)
        constants = {}
        for i in range(graph.TensorsLength()):
            tensor = graph.Tensors(i)
            buffer = model.Buffers(tensor.Buffer())
            if tensor.Type() == tflite.TensorType.FLOAT32 and buffer.DataLength():
                values = buffer.DataAsNumpy().view('<f4').reshape(tensor.ShapeAsNumpy())
                constants[tensor.Name().decode()] = values.copy()
    except _DAMAGED as error:
        raise ValueError(f'{path} is damaged or cut short: {error}') from error
    return constants


def to_conv_weight(kernel: np.ndarray) -> np.ndarray:
    """Bring a TensorFlow Lite kernel to PyTorch's layout.

    ``(O, H, W, I)``, or ``(1, H, W, C)`` if depthwise, gives ``(O, I, H, W)`` or ``(C, 1, H, W)``.
    """
    depthwise = kernel.shape[0] == 1 and kernel.shape[1] > 1
    return kernel.transpose(3, 0, 1, 2) if depthwise else kernel.transpose(0, 3, 1, 2)


def convert_state_dict(constants: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Rename and lay out TensorFlow's constants for our backbone and head.

    The backbone's folded batch norm comes back as the identity with the bias as shift, exact only with
    ``norm_eval=True``; the head's convolutions have a bias: ``norm_cfg=None``. ValueError if the constants
    are not those of a mobile DeepLabV3 without atrous branches.
    """
    convs = {'backbone.conv1': (f'{_BACKBONE}Conv/weights', f'{_BACKBONE}Conv/Conv2D_bias')}
    for k, (ours, expands) in enumerate(mobilenet_v2_blocks()):
        theirs = f'expanded_conv_{k}' if k else 'expanded_conv'
        parts = ['expand', 'depthwise', 'project'] if expands else ['depthwise', 'project']
        for i, part in enumerate(parts):
            kind = 'depthwise_weights', 'depthwise_bias'
            names = kind if part == 'depthwise' else ('weights', 'Conv2D_bias')
            convs[f'backbone.{ours}.conv.{i}'] = tuple(f'{_BACKBONE}{theirs}/{part}/{name}' for name in names)
    for theirs, ours in _HEAD.items():
        convs[f'decode_head.{ours}'] = (f'{theirs}/weights', f'{theirs}/Conv2D_bias')
    if missing := [name for names in convs.values() for name in names if name not in constants]:
        raise ValueError(
            'not a mobile DeepLabV3 of TensorFlow (MobileNetV2, pooling and 1x1 branch): '
            f'{len(missing)} tensors are missing, first {missing[:3]}'
        )
    state = {}
    with torch.device('meta'):  # for the shapes of the same width
        network = MobileNetV2(widen_factor=len(constants[f'{_BACKBONE}Conv/weights']) / 32)
    shapes = {f'backbone.{key}': value.shape for key, value in network.state_dict().items()}
    for ours, (kernel, bias) in convs.items():
        weight = torch.from_numpy(to_conv_weight(constants[kernel]).copy())
        bias = torch.from_numpy(constants[bias].copy())
        if ours.startswith('backbone.'):
            key = f'{ours}.conv.weight'
            state[key] = weight = _zero_pad(weight, shapes[key])
            # The identity, but for its shift.
            norm = nn.BatchNorm2d(len(weight)).state_dict(prefix=f'{ours}.bn.')
            norm[f'{ours}.bn.running_var'] -= _NORM_EPS
            state |= {**norm, f'{ours}.bn.bias': _zero_pad(bias, weight.shape[:1])}
        else:
            state[f'{ours}.weight'], state[f'{ours}.bias'] = weight, bias
    project = state['decode_head.project.conv.weight']
    joined = len(state['decode_head.aspp.0.conv.bias']) + len(state['decode_head.image_pool.1.conv.bias'])
    if project.shape[1] != joined:
        raise ValueError(
            f'concat_projection takes {project.shape[1]} channels where the pooling and the 1x1 branch give '
            f'{joined}: a DeepLabV3 with atrous branches is not supported'
        )
    # TensorFlow concatenates the pooling branch first, DeepLabV3Head last.
    state['decode_head.project.conv.weight'] = torch.cat(project.chunk(2, dim=1)[::-1], dim=1)
    return state


def _zero_pad(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Append zero channels, which get no gradient, where mmpretrain rounds a width up."""
    if tensor.dim() != len(shape) or any(a > b for a, b in zip(tensor.shape, shape, strict=True)):
        raise ValueError(
            f'a kernel of shape {tuple(tensor.shape)} does not fit MobileNetV2, which has {tuple(shape)}'
        )
    padded = tensor.new_zeros(shape)
    padded[tuple(slice(size) for size in tensor.shape)] = tensor
    return padded


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_tflite(filename: str, map_location: object = None) -> dict:
    """Load ``tflite://PATH``, TensorFlow's mobile DeepLabV3, as an MMSeg checkpoint.

    Its model is that of configs/camvid, with images scaled to [-1, 1]. Logits equal TensorFlow's at odd image
    sizes only, so pad to these: at even ones its SAME padding of stride 2 is not symmetric. Raises as
    ``read_constants`` and ``convert_state_dict``.
    """
    path = Path(filename.removeprefix(SCHEME)).expanduser()
    state = convert_state_dict(read_constants(path))
    classes = resolve_classes('voc')
    rows = len(state['decode_head.conv_seg.weight'])
    if rows != len(classes):
        raise ValueError(f'{path}: expected {len(classes)} PASCAL VOC classes, got {rows}')
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    meta = {'source_format': 'tflite', 'source_digest': file_digest(path)}
    meta['dataset_meta'] = {'classes': classes}
    return {'state_dict': {k: v.to(device) for k, v in state.items()}, 'meta': meta}
