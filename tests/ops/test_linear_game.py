"""Exact returns in JAX against the solver on the host, their derivatives against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame, Unsupported
from mairl.games.tabular import ma_lfl_features, ma_lfl_grid, random_game
from mairl.ops.equilibrium import evaluate
from mairl.ops.linear_game import LinearGame, centred, feature_expectations, mean_over, returns, solve_values
from mairl.ops.tables import expect_others


def full_features(tables):
    """The reward itself as the only feature."""
    return tables.reward[..., None]


@pytest.mark.parametrize(("agents", "terminal"), [(1, 1), (2, 0), (3, 1)])
def test_returns_are_those_of_the_host(agents, terminal):
    tables = random_game(3, num_agents=agents, num_terminal=terminal).tables()
    game = LinearGame.of(tables, full_features(tables))
    logits = np.random.default_rng(1).normal(size=(agents, 5, 3))
    policies = np.asarray(jax.nn.softmax(logits.astype(np.float32)))
    with jax.enable_x64(True):
        policies = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
        found = np.asarray(returns(game, jnp.asarray(logits), jnp.ones((agents, 1))))
        expected = np.asarray(feature_expectations(game, jnp.asarray(logits)))[:, 0]
    np.testing.assert_allclose(found, evaluate(tables, policies) @ tables.start, rtol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_means_over_the_others():
    tables = random_game(0, num_agents=3).tables()
    policies = np.random.default_rng(0).dirichlet(np.ones(3), size=(3, 5))
    with jax.enable_x64(True):
        for keep in range(3):
            found = mean_over(jnp.asarray(tables.flow), jnp.asarray(policies), keep)
            np.testing.assert_allclose(found, expect_others(tables.flow, policies, keep), atol=1e-15)


def test_slow_discounts_are_solved_to_rounding():
    rng = np.random.default_rng(0)
    flow, paid = rng.dirichlet(np.ones(20), size=20), rng.normal(size=20)
    with jax.enable_x64(True):
        for discount in (0.0, 0.5, 0.999):
            found = solve_values(jnp.asarray(flow), jnp.asarray(paid), discount)
            want = np.linalg.solve(np.eye(20) - discount * flow, paid)
            np.testing.assert_allclose(found, want, rtol=1e-10)


def test_shaping_moves_nobody():
    """γ E[Φ(s')] - Φ(s) changes each return by a constant, whatever the policies: its gradients are rounding."""
    tables = ma_lfl_grid().tables()
    potential = np.random.default_rng(0).normal(size=tables.num_states)
    shaping = tables.discount * tables.flow @ potential - potential[:, None, None]
    features = np.stack([tables.reward, np.repeat(shaping[..., None], 2, axis=-1)], axis=-1)
    game = LinearGame.of(tables, features)
    logits = np.random.default_rng(1).normal(size=(2, 81, 5))
    with jax.enable_x64(True):
        slopes = jax.jit(jax.jacrev(feature_expectations, argnums=1))(game, logits)
    assert np.abs(slopes[:, 1]).max() < 1e-14
    assert np.abs(slopes[:, 0]).max() > 1e-3


def test_rewards_of_weights():
    tables = ma_lfl_grid(reward="joint").tables()
    game = LinearGame.of(tables, ma_lfl_features())
    assert (game.num_agents, game.num_states, game.num_actions, game.num_features) == (2, 81, 5, 4)
    np.testing.assert_allclose(game.reward([[-1, -1, 0, 0]] * 2), tables.reward)
    one_hot = LinearGame.of(tables, np.eye(81))
    np.testing.assert_allclose(one_hot.reward(tables.reward[:, 0, 0].T), tables.reward)
    np.testing.assert_allclose(centred(np.array([1.0, 2.0, 6.0])), [-2, -1, 3])


def test_faults_are_named():
    tables = random_game(0).tables()
    with pytest.raises(InvalidGame, match=r"features have shape \(4, 2\).*with 5 states, 3 actions and 2 agents"):
        LinearGame.of(tables, np.zeros((4, 2)))
    with pytest.raises(InvalidGame, match="10 values that are not finite"):
        LinearGame.of(tables, np.full((5, 1), np.nan))
    with pytest.raises(Unsupported, match=r"discount below 1, got 1\.0"):
        LinearGame.of(random_game(0, discount=1.0).tables(), np.eye(5))
