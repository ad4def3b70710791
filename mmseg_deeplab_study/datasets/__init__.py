"""Data sets: label spaces, subsets, checks, preparation, and pictures drawn by ourselves."""

from .. import REGISTERS

# Records are read without torch.
if REGISTERS:
    from .subsets import NamedSubset

__all__ = ['NamedSubset']
