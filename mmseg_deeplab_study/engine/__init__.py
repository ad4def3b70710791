from .adaptation_hook import AdaptationHook
from .head_transfer import HeadTransferHook

__all__ = ['AdaptationHook', 'HeadTransferHook']
