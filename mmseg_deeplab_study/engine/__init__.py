from .adaptation_hook import AdaptationHook
from .bare_checkpoint import BareCheckpointHook
from .bfloat16 import BFloat16OptimWrapper
from .head_transfer import HeadTransferHook
from .plain_checkpoint import PlainCheckpointHook

__all__ = [
    'AdaptationHook',
    'BFloat16OptimWrapper',
    'BareCheckpointHook',
    'HeadTransferHook',
    'PlainCheckpointHook',
]
