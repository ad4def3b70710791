"""What MMEngine's Runner calls: hooks, a loop, a storage, parts of an optimiser."""

from .adaptation_hook import AdaptationHook
from .atomic_backend import AtomicBackend
from .bfloat16 import BFloat16OptimWrapper
from .check_finite import CheckFiniteHook
from .decoded_cache_hook import DecodedCacheHook
from .dense_crf import DenseCRFRecordHook
from .exact_checkpoint import ExactCheckpointHook
from .former_hooks import ExactResumeHook, PlainCheckpointHook
from .head_transfer import HeadTransferHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .probe_loop import ProbeValLoop

__all__ = [
    'AdaptationHook',
    'AtomicBackend',
    'BFloat16OptimWrapper',
    'CheckFiniteHook',
    'DecodedCacheHook',
    'DenseCRFRecordHook',
    'ExactCheckpointHook',
    'ExactResumeHook',
    'HeadTransferHook',
    'LayerDecayOptimWrapperConstructor',
    'PlainCheckpointHook',
    'ProbeValLoop',
]
