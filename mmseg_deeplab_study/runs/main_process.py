"""What one process of several does for all."""

from collections.abc import Callable
from typing import TypeVar

from mmengine.dist import broadcast_object_list, is_main_process

Result = TypeVar('Result')


def from_main_process(call: Callable[[], Result]) -> Result:
    """What ``call`` returns in the main process, which alone calls it; plain data.

    What it raises is raised there, and RuntimeError in the others, which would wait for ever.
    """
    found: list = [None, None]
    error = None
    if is_main_process():
        try:
            found = [call(), None]
        except Exception as raised:
            error, found = raised, [None, f'{type(raised).__name__}: {raised}']
    broadcast_object_list(found)
    if error is not None:
        raise error
    if found[1] is not None:
        raise RuntimeError(f'the main process has stopped: {found[1]}')
    return found[0]
