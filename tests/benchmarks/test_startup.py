"""The benchmark of starting: what it measures and what it writes, without a run."""

import pytest

from benchmarks import startup
from benchmarks.startup import IMPORTS, MARKS, MOMENTS, OURS, STOCK, lines, measure, start
from benchmarks.tables import write_between_marks

SAYS = """
import sys
sys.stderr.write('an error is kept')
sys.exit(int(sys.argv[1]))
"""


def test_a_process_is_measured_at_its_end():
    figures = start('-c', SAYS, 0)
    assert figures['seconds'] > 0 and figures['cpu'] > 0 and figures['mb'] > 1


def test_a_process_that_fails_is_no_measurement():
    with pytest.raises(RuntimeError, match=r'exit code 3\n(.*\n)*.*an error is kept'):
        start('-c', SAYS, 3)


def test_medians_without_the_first_round(monkeypatch):
    values = iter([100.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(startup, 'start', lambda *arguments: {'cpu': next(values)})
    assert measure({'a': ()}, 3) == {'a': {'cpu': 2.0}}


def test_tables(tmp_path):
    end = dict(cpu=2.0, seconds=4.0, mb=100.0)
    found = {'`tools/a.py --help`': end, **dict.fromkeys(IMPORTS, end)}
    for moment in MOMENTS:
        found[f'{STOCK}, to {moment}'] = dict(cpu=8.0, seconds=10.0, mb=900.0)
        found[f'{OURS}, to {moment}'] = dict(cpu=6.0, seconds=5.0, mb=900.0)
    text = '\n'.join(lines(found))
    assert '| `tools/a.py --help` | 2.00 | 4.00 | 100 |\n' in text
    assert '| `import torch` | 2.00 | 4.00 | 100 | 1.00 | 1.00 |' in text
    # 6 / 8 and 5 / 10
    assert '| ours, to the end of iteration 1 | 6.00 | 5.00 | 900 | 0.75 | 0.50 |' in text
    page = tmp_path / 'speed.md'
    page.write_text(f'above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n')
    write_between_marks(page, text, MARKS)
    assert page.read_text() == f'above\n{MARKS[0]}\n{text}\n{MARKS[1]}\nbelow\n'
