"""Check an environment, a data root, a checkpoint or a config: `--help` says more.

The same as `python -m mmseg_deeplab_study.doctor`, also from a clone that is not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from _arguments import run

HERE = Path(__file__).resolve()


def load_main() -> Callable[[], int]:
    """Load the doctor's main by its path: the package around it may fail to import."""
    # In a clone, and in an installed package's .mim folder.
    places = (HERE.parents[1] / 'mmseg_deeplab_study/doctor', HERE.parents[2] / 'doctor')
    folder = next(place for place in places if (place / '__init__.py').is_file())
    spec = importlib.util.spec_from_file_location(
        'study_doctor', folder / '__init__.py', submodule_search_locations=[str(folder)]
    )
    sys.modules['study_doctor'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules['study_doctor'])
    return importlib.import_module('study_doctor.__main__').main


if __name__ == '__main__':
    run(lambda: load_main()())
