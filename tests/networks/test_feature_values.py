"""Values of features by least-squares temporal differences, where they are known."""

import numpy as np

from mairl.networks.feature_values import basis_on, feature_values, make_basis


def test_values_of_a_walk_are_exact_where_the_basis_can_say_them():
    # x' = x / 2, paid x and 1, never over: V = x / (1 - γ/2) and 1 / (1 - γ).
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(400, 1)).astype(np.float32)
    basis = make_basis(obs, 0, 0)
    features = np.concatenate([obs, np.ones_like(obs)], axis=1)
    table = feature_values(basis, obs, obs / 2, np.zeros(400, bool), features, 0.9, ridge=0.0)
    found = basis_on(basis, np.array([[0.8]], np.float32)) @ table
    np.testing.assert_allclose(found, [[0.8 / 0.55, 10.0]], rtol=1e-3)


def test_where_it_is_over_the_future_is_worth_nothing():
    obs = np.random.default_rng(1).normal(size=(300, 2)).astype(np.float32)
    basis = make_basis(obs, 4, 0)
    table = feature_values(basis, obs, obs, np.ones(300, bool), np.ones((300, 1)), 0.99, ridge=0.0)
    np.testing.assert_allclose(basis_on(basis, obs) @ table, 1.0, rtol=1e-4)
