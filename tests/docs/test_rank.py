"""docs/rank.md says what is kept of rankings and adaptations."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

pytestmark = pytest.mark.slow  # reads all records

REPO = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location('validate', REPO / 'docs/rank/validate.py')
validate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(validate)


@pytest.fixture(scope='module')
def kept():
    return validate.load()


def test_every_number_of_the_page_is_that_of_what_is_kept(kept):
    assert validate.render(*kept) == validate.PAGE.read_text(), 'run docs/rank/validate.py'


def test_each_source_was_adapted_and_is_the_one_that_was_ranked(kept):
    sets, settings = kept
    for sources in sets.values():
        assert all(sources.histories.values())
        for name, runs in sources.histories.items():
            headers = [run.header for run in runs]
            own = sources.sources[name]
            assert {header['model']['parameters'] for header in headers} == {own['parameters']}
            assert {header['model']['multiply_adds'] for header in headers} == {own['multiply_adds']}
            digests = {(header['source_checkpoint'] or {}).get('digest') for header in headers}
            assert digests <= {own['checkpoint']['digest'], None}
    # 10 pairs of five sources, and one in each of four settings of two.
    assert len(sets['real'].sources) == 5 and len(settings.names) == 5 and len(settings.pairs) == 14


def test_the_views_of_real_sources_are_near_those_of_the_records(kept):
    """On other photographs: training here, validation there."""
    real = kept[0]['real']
    for name, source in real.sources.items():
        view = source['source_view']
        rows = [row for row in real.histories[name][0].rows if row['kind'] == 'source']
        assert (view is None) == (rows == [])
        assert view is None or abs(view[0] - rows[0]['mIoU.labelled']) < 5


def test_the_first_sentence_is_about_yardsticks(kept):
    sets, _ = kept
    won = [name for sources in sets.values() for name in sources.winners()]
    first = validate.PAGE.read_text().splitlines()[2]
    assert first.startswith('No score') == (won == [])
    if not won:
        assert 'rank.py' not in (REPO / 'README.md').read_text()


def test_tau_is_that_of_each_resample(monkeypatch):
    """Resamples by repeated rows, each by SciPy's tau-b."""
    monkeypatch.setattr(validate, 'RESAMPLES', 40)
    rng = np.random.default_rng(1)
    predicted, observed = rng.integers(0, 4, 7).astype(float), rng.normal(size=(7, 3))
    found = validate.tau(predicted, observed)
    rng = np.random.default_rng(0)
    times = rng.multinomial(7, [1 / 7] * 7, 40)
    shares = rng.multinomial(3, [1 / 3] * 3, 40) / 3
    drawn = []
    for own, share in zip(times, shares, strict=True):
        rows = np.repeat(np.arange(7), own)
        drawn.append(kendalltau(predicted[rows], (observed @ share)[rows]).statistic)
    assert found.value == kendalltau(predicted, observed.mean(axis=1)).statistic
    expected = np.nanquantile(drawn, [0.025, 0.975])
    assert found[1:] == pytest.approx((*expected, 7))


def test_tau_by_hand():
    # Pairs: 5 of 6 agree, one does not: (5 - 1) / 6.
    found = validate.tau(np.array([1.0, 2, 3, 4]), np.array([[10.0], [20], [40], [30]]))
    assert found.value == pytest.approx(4 / 6)
    assert found.low <= found.value <= found.high
    assert validate.tau_text(validate.tau(np.array([1.0, 2]), np.ones((2, 1)))) == '-'
