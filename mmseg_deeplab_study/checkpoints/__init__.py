"""Readers of published checkpoints, registered with MMEngine."""

from .bare_state import load_from_local
from .tflite import load_from_tflite
from .torchvision import load_from_tvseg
from .vainf import load_from_vainf

__all__ = ['load_from_local', 'load_from_tflite', 'load_from_tvseg', 'load_from_vainf']
