"""``tflite://``: TensorFlow's mobile DeepLabV3, or MobileNetV2 alone, as a state dict of ours."""

import struct
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

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
_OPERATORS = (
    'CONV_2D',
    'DEPTHWISE_CONV_2D',
    'ADD',
    'AVERAGE_POOL_2D',
    'MEAN',
    'CONCATENATION',
    'RESIZE_BILINEAR',
    'QUANTIZE',
    'DEQUANTIZE',
    'RESHAPE',
    'SOFTMAX',
    'ARG_MAX',
)
_TYPES = {'FLOAT32': '<f4', 'INT32': '<i4', 'UINT8': 'u1', 'INT8': 'i1'}
# The widths that are published, and the channels of MobileNetV2's stage of 96 from which they are told.
_WIDTHS = {width: 96 * width for width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}


def _places() -> Iterator[tuple[str, bool]]:
    """MobileNetV2's convolutions by mmpretrain's names, in order, and whether each is depthwise."""
    yield 'conv1', False
    for block, expands in mobilenet_v2_blocks():
        for i, depthwise in enumerate([False, True, False][not expands :]):
            yield f'{block}.conv.{i}', depthwise


_PLACES = dict(_places())


class Convolution(NamedTuple):
    """A convolution: kernel in TensorFlow's layout and bias, float32, and how it is applied."""

    kernel: np.ndarray
    bias: np.ndarray
    depthwise: bool
    stride: int
    dilation: int
    pooled: bool  # of one number per channel


class Graph(NamedTuple):
    """A network's convolutions in the order of its operators, and ``(mean, std)`` of a quantised input."""

    convolutions: list[Convolution]
    normalisation: tuple[float, float] | None


def is_tflite(path: Path) -> bool:
    """Whether a file says of itself that it is a TensorFlow Lite model."""
    with path.open('rb') as file:
        # The file identifier follows the four bytes of the root offset.
        return file.read(8)[4:] == _IDENTIFIER


def read_graph(path: str | Path) -> Graph:
    """Read the convolutions of a TensorFlow Lite file, float or quantised; nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the schema's package is not installed.
        ValueError: the file cannot be read, or has an operator that a MobileNetV2 has not.
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
    names = {number: name for name, number in vars(tflite.BuiltinOperator).items() if name.isupper()}
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        graph = model.Subgraphs(0)
        convolutions = []
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            code = model.OperatorCodes(operator.OpcodeIndex())
            # Older files have the number in the one field, newer in the other.
            name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            if name not in _OPERATORS:
                break
            if name.endswith('CONV_2D'):
                convolutions.append(_convolution(tflite, model, graph, operator, name))
        else:
            return Graph(convolutions, _normalisation(graph.Tensors(graph.Inputs(0))))
    except _DAMAGED as error:
        raise ValueError(f'{path} is damaged or cut short: {error}') from error
    raise ValueError(
        f'{path}: operator {i} is {name}, which no MobileNetV2 of TensorFlow has; expected one of '
        f'{", ".join(_OPERATORS)}'
    )


def _convolution(tflite: Any, model: Any, graph: Any, operator: Any, name: str) -> Convolution:
    depthwise = name == 'DEPTHWISE_CONV_2D'
    options = (tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)()
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    images, *constants = (graph.Tensors(operator.Inputs(j)) for j in range(3))
    kernel, bias = (_values(tflite, model, tensor) for tensor in constants)
    pooled = prod(images.Shape(j) for j in (1, 2)) == 1
    return Convolution(kernel, bias, depthwise, options.StrideH(), options.DilationHFactor(), pooled)


def _values(tflite: Any, model: Any, tensor: Any) -> np.ndarray:
    """A constant as float32, of a quantised one ``(q - zero_point) * scale``."""
    types = {getattr(tflite.TensorType, name): kind for name, kind in _TYPES.items()}
    stored = model.Buffers(tensor.Buffer()).DataAsNumpy().view(types[tensor.Type()])
    stored = stored.reshape(tensor.ShapeAsNumpy())
    if stored.dtype == np.float32:
        return stored.copy()
    quantised = tensor.Quantization()
    scale, zero_point = quantised.ScaleAsNumpy(), quantised.ZeroPointAsNumpy()
    shape = np.ones(stored.ndim, int)
    shape[quantised.QuantizedDimension()] = len(scale)  # of a channel each, or of all
    values = (stored - zero_point.astype(np.float64).reshape(shape)) * scale.astype(np.float64).reshape(shape)
    return values.astype(np.float32)


def _normalisation(images: Any) -> tuple[float, float] | None:
    quantised = images.Quantization()
    if quantised is None or not quantised.ScaleLength():
        return None
    return float(quantised.ZeroPoint(0)), 1 / float(quantised.Scale(0))


def to_conv_weight(convolution: Convolution) -> Tensor:
    """A kernel in PyTorch's layout.

    ``(O, H, W, I)``, or ``(1, H, W, C)`` if depthwise, gives ``(O, I, H, W)`` or ``(C, 1, H, W)``.
    """
    order = (3, 0, 1, 2) if convolution.depthwise else (0, 3, 1, 2)
    return torch.from_numpy(convolution.kernel.transpose(order).copy())


def convert_state_dict(convolutions: Sequence[Convolution]) -> dict[str, Tensor]:
    """Name and lay out a network's convolutions for our backbone and head, or mmpretrain's classifier.

    The backbone's folded batch norm comes back as the identity with the bias as shift, exact only with
    ``norm_eval=True``; the head's convolutions have a bias: ``norm_cfg=None``. ValueError if the network is
    neither a mobile DeepLabV3 without atrous branches nor a classifier.
    """
    names = list(_PLACES)
    head = convolutions[len(names) :]
    if [convolution.depthwise for convolution in convolutions[: len(names)]] != list(_PLACES.values()):
        raise ValueError(
            f'not a MobileNetV2 of TensorFlow: its {len(convolutions)} convolutions are not the stem and the '
            f'17 blocks, {len(names)} in all, plain and depthwise in that order'
        )
    if len(head) == 2:
        names.append('conv2')
        *_, classifier = head
        state = {'head.fc.weight': to_conv_weight(classifier).flatten(1), 'head.fc.bias': _bias(classifier)}
    else:
        state = _deeplab_head(head)
    with torch.device('meta'):  # for the shapes of the same width
        network = MobileNetV2(widen_factor=width_of(convolutions))
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    for name, convolution in zip(names, convolutions, strict=False):
        weight = _zero_pad(to_conv_weight(convolution), shapes[f'{name}.conv.weight'])
        state[f'backbone.{name}.conv.weight'] = weight
        # The identity, but for its shift.
        norm = nn.BatchNorm2d(len(weight)).state_dict(prefix=f'backbone.{name}.bn.')
        norm[f'backbone.{name}.bn.running_var'] -= _NORM_EPS
        state |= {**norm, f'backbone.{name}.bn.bias': _zero_pad(_bias(convolution), weight.shape[:1])}
    return state


def width_of(convolutions: Sequence[Convolution]) -> float:
    """MobileNetV2's ``widen_factor``: the published one whose stage of 96 channels is nearest in size."""
    channels = len(convolutions[list(_PLACES).index('layer5.0.conv.2')].kernel)
    return min(_WIDTHS, key=lambda width: abs(_WIDTHS[width] - channels))


def _deeplab_head(head: Sequence[Convolution]) -> dict[str, Tensor]:
    # The two branches come in either order.
    branches = {convolution.pooled: convolution for convolution in head[:2]}
    if len(head) != 4 or len(branches) != 2:
        raise ValueError(
            f'{len(head)} convolutions follow MobileNetV2: expected those of a DeepLabV3 without atrous '
            'branches (a pooling and a 1x1 branch, projection, classifier) or the 2 of a classifier of images'
        )
    given = dict(zip(('project.conv', 'conv_seg'), head[2:], strict=True))
    given |= {'aspp.0.conv': branches[False], 'image_pool.1.conv': branches[True]}
    state = {}
    for name, convolution in given.items():
        state[f'decode_head.{name}.weight'] = to_conv_weight(convolution)
        state[f'decode_head.{name}.bias'] = _bias(convolution)
    project = state['decode_head.project.conv.weight']
    joined = len(branches[False].bias) + len(branches[True].bias)
    if project.shape[1] != joined:
        raise ValueError(
            f'the projection takes {project.shape[1]} channels where the pooling and the 1x1 branch give '
            f'{joined}: a DeepLabV3 with atrous branches is not supported'
        )
    # TensorFlow concatenates the pooling branch first, DeepLabV3Head last.
    state['decode_head.project.conv.weight'] = torch.cat(project.chunk(2, dim=1)[::-1], dim=1)
    return state


def _bias(convolution: Convolution) -> Tensor:
    return torch.from_numpy(convolution.bias.copy())


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
    """Load ``tflite://PATH``, TensorFlow's mobile DeepLabV3 or MobileNetV2, as an MMSeg checkpoint.

    A DeepLabV3's model is that of configs/camvid; a classifier is a backbone, for ``init_cfg`` with
    ``prefix='backbone.'``, and the head of mmpretrain's ``ImageClassifier`` of 1001 classes, the first of
    which is background. ``meta['network']`` is what ``check_network`` compares with the model. Logits equal
    TensorFlow's at odd image sizes only, so pad to these: at even ones its SAME padding of stride 2 is not
    symmetric. Raises as ``read_graph`` and ``convert_state_dict``.
    """
    path = Path(filename.removeprefix(SCHEME)).expanduser()
    convolutions, normalisation = read_graph(path)
    state = convert_state_dict(convolutions)
    meta = {'source_format': 'tflite', 'source_digest': file_digest(path)}
    if (rows := state.get('decode_head.conv_seg.weight')) is not None:
        classes = resolve_classes('voc')
        if len(rows) != len(classes):
            raise ValueError(f'{path}: expected {len(classes)} PASCAL VOC classes, got {len(rows)}')
        meta['dataset_meta'] = {'classes': classes}
        depthwise = [convolution for convolution in convolutions if convolution.depthwise]
        meta['network'] = {
            'widen_factor': width_of(convolutions),
            'strides': [convolution.stride for convolution in depthwise],
            'dilations': [convolution.dilation for convolution in depthwise],
            'normalisation': normalisation,
        }
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    return {'state_dict': {k: v.to(device) for k, v in state.items()}, 'meta': meta}
