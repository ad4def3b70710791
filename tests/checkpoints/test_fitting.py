"""State dicts that are not those of the model they are to be loaded into."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mmseg_deeplab_study.checkpoints.fitting import check_fits


def weights_of(classes: int = 4) -> dict[str, Tensor]:
    """What a small segmentor has."""
    shapes = {
        'backbone.0.weight': (2, 3, 1, 1),
        'backbone.0.bias': (2,),
        'backbone.1.weight': (2,),
        'backbone.1.running_var': (2,),
        'backbone.1.num_batches_tracked': (),
        'decode_head.conv_seg.weight': (classes, 2, 1, 1),
        'decode_head.conv_seg.bias': (classes,),
        'auxiliary_head.conv_seg.weight': (classes, 2, 1, 1),
    }
    return {name: torch.ones(shape) for name, shape in shapes.items()}


MODEL = SimpleNamespace(state_dict=weights_of)


@pytest.mark.parametrize('unasked', [(), ('auxiliary_head', 'num_batches_tracked')])
def test_what_fits_passes(unasked):
    """Without counters and auxiliary head and with surplus keys, too."""
    weights = {key: value for key, value in weights_of().items() if not any(part in key for part in unasked)}
    check_fits(weights | ({'loss.weight': torch.ones(1)} if unasked else {}), MODEL)


def test_what_does_not_fit_lists_missing_and_mismatched():
    weights = weights_of(classes=5)
    for key in ('backbone.0.weight', 'backbone.0.bias', 'backbone.1.weight', 'backbone.1.running_var'):
        del weights[key]
    message = (
        'does not fit the model: 4 keys are missing, first '
        "['backbone.0.weight', 'backbone.0.bias', 'backbone.1.weight']; 2 have another shape, first "
        "['decode_head.conv_seg.weight (5, 2, 1, 1) for (4, 2, 1, 1)', "
        "'decode_head.conv_seg.bias (5,) for (4,)']. They differ in backbone.0, backbone.1, "
        'decode_head.conv_seg: give model.backbone the type, depth and width and model.decode_head the type, '
        'num_classes, channels, dilations and refine that it was trained with'
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_fits(weights, MODEL)


@pytest.mark.parametrize(
    ('key', 'of_checkpoint', 'of_model', 'message'),
    [
        # A shallower network's, and a deeper one's, the rest of which would fit.
        ('backbone.layer3.6', 0, 1, '1 keys are missing, .* They differ in backbone.layer3: give model.back'),
        (
            'backbone.layer3.22',
            1,
            0,
            'model: the model has no place for 1 of its keys, .* in backbone.layer3',
        ),
        ('backbone.stem', 2, 1, r'0 keys are missing, .* 1 have another shape, .* \(2,\) '),
        ('decode_head.refine', 0, 1, 'They differ in decode_head.refine: give model.decode_head the type'),
        ('decode_head.refine', 1, 0, 'no place for 1 .* They differ in decode_head.refine: give model.deco'),
    ],
)
def test_what_does_not_fit_names_the_part_and_its_options(key, of_checkpoint, of_model, message):
    def state(size: int) -> dict[str, Tensor]:
        return weights_of() | ({f'{key}.weight': torch.ones(size)} if size else {})

    model = SimpleNamespace(state_dict=lambda: state(of_model))
    with pytest.raises(ValueError, match=message) as error:
        check_fits(state(of_checkpoint), model)
    # It is not in any key.
    assert 'output stride' not in str(error.value)
    assert ('model.decode_head' in str(error.value)) != ('model.backbone' in str(error.value))
