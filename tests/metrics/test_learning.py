"""Predicted updates and induced returns: by hand."""

import numpy as np
import pytest

from mairl.core.errors import Unsupported
from mairl.metrics import learning
from mairl.metrics.learning import interquartile_mean, normalised_return, play_divergence, skill, update_divergence


def test_divergence_by_hand():
    after = np.log(np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [0.2, 0.8]]]))
    predicted = np.log(np.array([[[0.25, 0.75], [0.9, 0.1]], [[0.5, 0.5], [0.2, 0.8]]])) + 7.0
    first = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    # One of two agents is wrong, in a state that is visited three times in four.
    assert update_divergence(after, predicted, np.array([3.0, 1.0])) == pytest.approx(first / 2 * 0.75)
    assert update_divergence(after, after, np.ones(2)) == 0


def test_rounding_leaves_no_divergence_below_zero(monkeypatch):
    each = np.array([-3e-7, 2.0]).reshape(2, 1, 1, 1) * np.ones((2, 2, 1, 3))
    monkeypatch.setattr(learning, "divergence", lambda *_: each)
    real = predicted = None
    found = play_divergence(real, predicted, np.ones(each.shape, bool))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, [0, 2])


def test_skill_is_a_ratio_of_sums():
    assert skill([0.1, 0.3], [1.0, 3.0]) == pytest.approx(0.9)
    assert skill([2.0], [1.0]) == -1
    assert skill([0.0], [0.0]) is None


def test_returns_are_normalised_where_there_is_something_to_gain():
    np.testing.assert_allclose(normalised_return(np.array([1.0, 3.0]), 5.0, 1.0), [0, 0.5])
    for expert in (1.0, 1.02, 0.5, np.nan):
        with pytest.raises(Unsupported, match="not well above random"):
            normalised_return(1.0, expert, 1.0)


def test_interquartile_mean_by_hand():
    middle, (low, high) = interquartile_mean(np.array([100.0, 2, 3, -50]))
    assert middle == 2.5
    assert low < 2.5 < high
    # Of five values the outer quarters take one and a quarter each: (0.75 · 2 + 3 + 0.75 · 9) / 2.5.
    assert interquartile_mean(np.array([1.0, 2, 3, 9, 100]))[0] == pytest.approx((1.5 + 3 + 6.75) / 2.5)
    assert interquartile_mean(np.array([4.0])) == (4.0, [None, None])
    assert interquartile_mean(np.full(10, 3.0)) == (pytest.approx(3), [pytest.approx(3), pytest.approx(3)])
