"""Reading a config, or another file in MMEngine's language."""

import traceback
from pathlib import Path

from mmengine.config import Config

from .options import merge_options
from .parts import did_you_mean, error_text


def read_file(path: str | Path, what: str = 'config') -> Config:
    """Read a file in MMEngine's language; ``what`` messages call it.

    FileNotFoundError, or ValueError if it or one that it inherits cannot be read: names that, line and
    reason.
    """
    path = Path(path)
    if not path.is_file():
        beside = [other.name for other in path.parent.glob('*.py')] if path.parent.is_dir() else []
        raise FileNotFoundError(
            f'{what} {path}: {"a folder; expected a file NAME.py" if path.is_dir() else "no such file"}'
            f'{"" if path.is_absolute() else f" (seen from {Path.cwd()})"}'
            f'{did_you_mean(path.name, beside)}'
        )
    try:
        return Config.fromfile(path)
    except Exception as error:
        if isinstance(error, ImportError) and isinstance(error.__context__, ImportError):
            # MMEngine's own text lists all of sys.path.
            error = error.__context__
        frames = list(traceback.walk_tb(error.__traceback__))
        inner = [frame.f_locals['filename'] for frame, _ in frames if frame.f_code.co_name == '_file2dict']
        lines = [line for frame, line in frames if inner and frame.f_code.co_filename == inner[-1]]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        text = error.msg if isinstance(error, SyntaxError) else error_text(error)
        where = f', in {inner[-1]}' if inner and Path(inner[-1]).name != path.name else ''
        where += f', line {line}' if line else ''
        cure = '; set PYTHONPATH to the folder of your module'
        text = ' '.join(text.split()) + (cure if isinstance(error, ImportError) else '')
        raise ValueError(f'{what} {path}{where}: {text}') from error


def read_config(path: str, options: dict | None = None) -> Config:
    """Read a config, with overrides merged in; raises as ``read_file`` and ``merge_options``."""
    cfg = read_file(path)
    if options is not None:
        merge_options(cfg, options, Path(path).name)
    return cfg
