"""How docs/rank/validate.py compares a ranking with what was observed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

REPO = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location('validate', REPO / 'docs/rank/validate.py')
validate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(validate)


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
