"""The benchmark of starting: what it measures and what it writes, without a run."""

import pytest

from benchmarks.startup import IMPORTS, MARKS, OURS, STOCK, lines, measure, start
from benchmarks.tables import write_between_marks

SAYS = """
import json, sys, time
print('other output')
print(json.dumps(dict(moment='half way', clock=time.monotonic(), cpu=0.5, mb=7)))
sys.stderr.write('an error is kept')
sys.exit(int(sys.argv[1]))
"""


def test_a_process_is_measured_at_its_moments_and_its_end():
    (moment, half), (end, whole) = start('-c', SAYS, 0)
    assert (moment, end) == ('half way', 'the end')
    assert (half['cpu'], half['mb']) == (0.5, 7)
    assert 0 < half['seconds'] <= whole['seconds'] and whole['cpu'] > 0 and whole['mb'] > 1


def test_a_process_that_fails_is_no_measurement():
    with pytest.raises(RuntimeError, match=r'exit code 3\n(.*\n)*.*an error is kept'):
        list(start('-c', SAYS, 3))


def test_medians_without_the_first_round():
    values = iter([100.0, 3.0, 1.0, 2.0])
    found = measure({'a': lambda: [('the end', {'cpu': next(values)})]}, 3)
    assert found == {'a': {'the end': {'cpu': 2.0}}}


def test_tables(tmp_path):
    end = {'the end': dict(cpu=2.0, seconds=4.0, mb=100.0)}
    first = {'iteration 1': dict(cpu=8.0, seconds=10.0, mb=900.0), **end}
    ours = {'iteration 1': dict(cpu=6.0, seconds=5.0, mb=900.0), **end}
    found = {'tools/a.py': end, **dict.fromkeys(IMPORTS, end), STOCK: first, OURS: ours}
    text = '\n'.join(lines(found))
    assert '| `tools/a.py --help` | 2.00 | 4.00 | 100 |\n' in text
    assert '| `import torch` | 2.00 | 4.00 | 100 | 1.00 | 1.00 |' in text
    # 6 / 8 and 5 / 10
    assert '| ours, to iteration 1 | 6.00 | 5.00 | 900 | 0.75 | 0.50 |' in text
    page = tmp_path / 'speed.md'
    page.write_text(f'above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n')
    write_between_marks(page, text, MARKS)
    assert page.read_text() == f'above\n{MARKS[0]}\n{text}\n{MARKS[1]}\nbelow\n'
