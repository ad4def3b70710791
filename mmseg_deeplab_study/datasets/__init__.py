from .subsets import NamedSubset

__all__ = ['NamedSubset']
