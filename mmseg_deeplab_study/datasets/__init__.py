from .. import REGISTERS

# Records are read without torch.
if REGISTERS:
    from .subsets import NamedSubset

__all__ = ['NamedSubset']
