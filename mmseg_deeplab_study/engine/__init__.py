from .adaptation_hook import AdaptationHook
from .bfloat16 import BFloat16OptimWrapper
from .head_transfer import HeadTransferHook
from .plain_checkpoint import PlainCheckpointHook

__all__ = [
    'AdaptationHook',
    'BFloat16OptimWrapper',
    'HeadTransferHook',
    'PlainCheckpointHook',
]
