from collections.abc import Callable
from pathlib import Path

import pytest

from mmseg_deeplab_study.studies import processes
from mmseg_deeplab_study.studies.plan import Study, read_study

# Plays tools/train.py: logs three iterations, then does what the config's `behaviour` says.
TRAIN = """
import json, sys, time
from pathlib import Path
config = {}
exec(Path(sys.argv[1]).read_text(), config)
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
calls = folder / 'calls'
calls.write_text((calls.read_text() if calls.exists() else '') + 'x')
logged = folder / f'attempt {len(calls.read_text())}' / 'vis_data' / 'scalars.json'
logged.parent.mkdir(parents=True)
logged.write_text(''.join(json.dumps(dict(lr=1, time=0.1, step=i)) + '\\n' for i in (1, 2, 3)))
behaviour = config['behaviour']
if behaviour == 'fails':
    raise SystemExit('no such label: 77')
if behaviour == 'fails once' and len(calls.read_text()) == 1:
    raise SystemExit('bad luck')
if behaviour == 'hangs' and len(calls.read_text()) == 1:
    time.sleep(100)
(folder / 'iter_3.pth').write_text(str(config['load_from']))
"""


@pytest.fixture
def fake_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tools folder whose train.py only plays training."""
    tools = tmp_path / 'tools'
    tools.mkdir()
    (tools / 'train.py').write_text(TRAIN)
    monkeypatch.setattr(processes, 'TOOLS', tools)
    return tools


@pytest.fixture
def make_study_file(tmp_path: Path) -> Callable[..., Path]:
    """A function of a study's parts that writes it, beside the leaf configs ``well.py`` and so on."""

    def make(**parts: object) -> Path:
        for name in ('well', 'fails', 'fails once', 'hangs'):
            leaf = tmp_path / f'{name.replace(" ", "_")}.py'
            leaf.write_text(
                f'behaviour = {name!r}\nload_from = None\ntrain_cfg = dict(max_iters=3)\n'
                'optim_wrapper = dict(head=0.1, backbone=0.01)\n'
                'custom_hooks = [dict(unmatched="zero")]\nsize = 3\n'
            )
        path = tmp_path / 'my_study.py'
        path.write_text(''.join(f'{key} = {value!r}\n' for key, value in parts.items()))
        return path

    return make


@pytest.fixture
def make_study(make_study_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Study]:
    """A function of a study's parts that reads it: by default of one run ``a``, in the folder ``out``."""

    def make(config: str = 'well.py', source: str = '', overrides: dict | None = None, **parts) -> Study:
        path = make_study_file(**{'runs': {'a': dict(config=config, source=source)}, **parts})
        return read_study(path, tmp_path / 'out', overrides)

    return make


@pytest.fixture
def calls() -> Callable[[Path], int]:
    """How often the training of a run's folder was started."""

    def count(folder: Path) -> int:
        path = folder / 'calls'
        return len(path.read_text()) if path.exists() else 0

    return count
