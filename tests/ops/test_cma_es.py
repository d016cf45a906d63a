"""CMA-ES on functions with known minima."""

import numpy as np
import pytest

from mairl.core.errors import Unsupported
from mairl.ops.cma_es import cma_es


def ellipsoid(points):
    return np.sum((10.0 ** np.linspace(0, 3, points.shape[1]) * (points - 1)) ** 2, axis=1)


def test_scales_and_turns_are_learned():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    found = cma_es(lambda x: ellipsoid(x @ turn), np.zeros(6), spread=0.5, evaluations=8000, target=1e-12)
    assert found.value <= 1e-12
    np.testing.assert_allclose(found.point @ turn, 1, atol=1e-5)
    assert found.evaluations < 8000
    # Without a covariance of its own a sample of that size comes nowhere near.
    blind = np.random.default_rng(0).normal(size=(8000, 6))
    assert ellipsoid(blind).min() > 1


def test_the_budget_is_kept_and_seeds_repeat():
    first, second = (cma_es(ellipsoid, np.zeros(3), spread=1.0, evaluations=160, seed=s) for s in (1, 1))
    assert first.evaluations == 160
    np.testing.assert_array_equal(first.point, second.point)


def test_values_that_are_not_finite_are_bad():
    found = cma_es(
        lambda x: np.where(x[:, 0] < 0, np.nan, ellipsoid(x)), np.zeros(2), spread=0.5, evaluations=4000, target=1e-10
    )
    assert found.value <= 1e-10
    with pytest.raises(Unsupported, match="none of 16 points"):
        cma_es(lambda x: np.full(len(x), np.nan), np.zeros(2), spread=0.5)


def test_too_few_points_are_refused():
    for few in ({"population": 1}, {"evaluations": 0}):
        with pytest.raises(Unsupported, match="population of at least 2 and at least 1 evaluation"):
            cma_es(ellipsoid, np.zeros(2), spread=0.5, **few)
