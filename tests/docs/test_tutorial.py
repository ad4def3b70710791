"""The notebook runs as it stands there, without a kernel."""

import json
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mmseg_deeplab_study.report.runs import RunFolder
from mmseg_deeplab_study.runs.history import read_history

NOTEBOOK = Path(__file__).resolve().parents[2] / 'docs/tutorial.ipynb'
CELLS = json.loads(NOTEBOOK.read_text('utf-8'))['cells']
CODE = [cell for cell in CELLS if cell['cell_type'] == 'code']
# Of IPython, which shows figures by it; nothing else in the notebook is more than Python.
MAGIC = '%matplotlib inline\n'


def test_it_is_kept_without_outputs():
    assert len(CODE) > 5
    # Scores move with the machine, and would change with each run.
    assert not any(cell['outputs'] or cell['execution_count'] for cell in CODE)


def test_links_lead_somewhere():
    texts = (''.join(cell['source']) for cell in CELLS if cell['cell_type'] == 'markdown')
    targets = [target for text in texts for target in re.findall(r'\]\(([^)]*)\)', text)]
    assert len(targets) > 5
    assert not [target for target in targets if not (NOTEBOOK.parent / target).is_file()]


@pytest.mark.slow
def test_cells(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DEMO_ROOT', '')  # which the notebook sets, and no later test is to see
    names: dict = {'__name__': '__main__'}
    for number, cell in enumerate(CODE, 1):
        source = ''.join(cell['source']).removeprefix(MAGIC)
        exec(compile(source, f'{NOTEBOOK.name}, code cell {number}', 'exec'), names)
    work_dir = tmp_path / 'work_dirs/tutorial/adaptation'
    history = read_history(work_dir)
    assert [row['iter'] for row in history.validations] == list(range(0, names['ITERATIONS'] + 1, 5))
    assert history.rows[0]['kind'] == 'source'
    assert set(history.header['seen_classes']) >= {'person', 'car', 'bus', 'bicycle'}
    curves, film = names['curves'], names['film']
    assert isinstance(curves, Figure) and isinstance(film, Figure)
    drawn = {line.get_label(): line.get_xydata().tolist() for line in curves.axes[0].lines}
    assert drawn['all classes'] == [[row['iter'], row['mIoU']] for row in history.validations]
    titles = [axes.get_title() for axes in film.axes]
    kept = [f'iteration {i}' for i in RunFolder(work_dir, history).snapshots]
    assert titles == ['photograph', "source's view", *kept, 'truth'] and all(a.images for a in film.axes)
    printed = capsys.readouterr().out
    assert "drop from source's view" in printed and 'seen: ' in printed
