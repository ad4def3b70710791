from .figures import draw_adaptation

__all__ = ['draw_adaptation']
