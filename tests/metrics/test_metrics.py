"""Measures by hand, and what they must not notice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mairl.metrics.convergence import episodes_to_converge
from mairl.metrics.intervals import mean_interval
from mairl.metrics.reward_distance import (
    affine_fit,
    compare,
    epic_distance,
    pearson,
    pearson_distance,
    ranks,
    spearman,
    starc_distance,
)

GAMMA = 0.9


def test_mean_interval_is_students():
    values = np.random.default_rng(0).normal(size=10)
    mean, (low, high) = mean_interval(values)
    expected = stats.t.interval(0.95, 9, loc=values.mean(), scale=stats.sem(values))
    assert mean == pytest.approx(values.mean())
    np.testing.assert_allclose((low, high), expected, rtol=1e-3)


def test_one_value_has_no_interval():
    assert mean_interval(np.array([3.0])) == (3.0, [None, None])
    assert np.isnan(mean_interval(np.array([np.nan]))[0])


def test_episodes_to_converge_by_hand():
    returns = [0.0, 9.6, 9.0, 9.7, 9.8, 10.0, 10.0, 10.0, 10.0]
    episodes = [10 * k for k in range(9)]
    # The last five average 9.96; 95% of it is 9.462; 9.6 alone is not three in a row.
    assert episodes_to_converge(returns, episodes) == 30.0
    assert episodes_to_converge([0.0, 0.0], [1, 2]) is None
    assert episodes_to_converge([-4.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0], list(range(7))) == 1.0


def test_affine_fit_by_hand():
    found, truth = np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 8.0])
    slope = 3.5
    fit = affine_fit(found, truth)
    assert fit["slope"] == pytest.approx(slope)
    line = slope * found + truth.mean() - slope
    assert fit["mse"] == pytest.approx(np.mean((truth - line) ** 2))
    assert affine_fit(-found, truth)["slope"] == 0.0  # an upside-down reward explains nothing


def test_ranks_and_correlations_against_scipy():
    generator = np.random.default_rng(1)
    a = generator.integers(0, 5, 60).astype(float)
    b = a + generator.normal(size=60)
    np.testing.assert_array_equal(ranks(a), stats.rankdata(a) - 1)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b)[0])
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0])
    assert pearson(a, np.ones(60)) is None
    assert pearson_distance(a, -a) == pytest.approx(1.0)


def test_constant_rewards_are_named():
    found, truth = np.zeros((5, 1)), np.arange(5.0)[:, None]
    one = compare(found, truth, np.ones((5, 1), bool))[0]
    assert one["found_constant"]
    assert not one["truth_constant"]
    assert one["pearson"] is None
    assert one["unexplained"] == pytest.approx(1.0)


def table(seed):
    generator = np.random.default_rng(seed)
    flow = generator.dirichlet(np.ones(4), size=(4, 3))
    return generator.normal(size=(4, 3, 4)), flow, generator.normal(size=4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_epic_sees_neither_shaping_nor_scale_nor_constants(seed, scale, constant):
    reward, _, potential = table(seed)
    shaped = scale * reward + GAMMA * potential[None, None] - potential[:, None, None] + constant
    states, actions = np.full(4, 0.25), np.full(3, 1 / 3)
    assert epic_distance(reward, shaped, states, actions, GAMMA) == pytest.approx(0.0, abs=1e-6)
    assert epic_distance(reward, -reward, states, actions, GAMMA) == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_starc_sees_neither_shaping_nor_scale(seed, scale):
    reward, flow, potential = table(seed)
    induced = np.sum(flow * reward, axis=-1)
    shaped = scale * induced + GAMMA * flow @ potential - potential[:, None]
    uniform = np.full((4, 3), 1 / 3)
    assert starc_distance(induced, shaped, flow, uniform, GAMMA) == pytest.approx(0.0, abs=1e-6)
    assert starc_distance(induced, -induced, flow, uniform, GAMMA) == pytest.approx(1.0)
    assert starc_distance(np.zeros((4, 3)), induced, flow, uniform, GAMMA) is None
