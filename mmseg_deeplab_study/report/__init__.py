"""What records say: analyses, the page, the figures of a paper. Imports no models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .paper import plot_curves
    from .paper_pictures import plot_film

__all__ = ['plot_curves', 'plot_film']
_MODULES = {'plot_curves': 'paper', 'plot_film': 'paper_pictures'}


def __getattr__(name: str) -> Any:
    # Tools that read records come through here and draw nothing: matplotlib waits until it is asked for.
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_MODULES[name]}', __name__), name)
