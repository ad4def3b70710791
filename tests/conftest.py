import os
from pathlib import Path

import pytest

import mmseg_deeplab_study  # noqa: F401  (before any test imports mmseg: it makes that importable)


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of shared material: STUDY_SHARED, else `../shared` beside the checkout.

    Skips the test where there is none; fails it when STUDY_REQUIRE_SHARED=1, as in CI.
    """
    beside = Path(__file__).resolve().parents[2] / 'shared'
    folder = Path(os.environ.get('STUDY_SHARED') or beside)
    if not folder.is_dir():
        reason = f'no shared material at {folder}; set STUDY_SHARED to its folder'
        if os.environ.get('STUDY_REQUIRE_SHARED') == '1':
            pytest.fail(f'{reason} (STUDY_REQUIRE_SHARED=1 forbids the skip)', pytrace=False)
        pytest.skip(reason)
    return folder
