"""PPO: advantages by hand, masks, and a game with a known answer."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.fit import fit
from mairl.algorithms.ppo import PPO
from mairl.core.errors import Unsupported
from mairl.games.tabular import matrix_game
from mairl.networks.build import NetworkConfig
from mairl.ops.policy_gradient import clipped_surrogate, normalise
from mairl.ops.returns import gae

SMALL = NetworkConfig(kind="mlp", width=8, depth=1)


def test_gae_by_hand():
    # One step to a time limit: A = r + γ V(s') - V(s); before it, δ + γλ A.
    reward, value, after = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.25]), jnp.array([0.25, 4.0])
    no = jnp.zeros(2, bool)
    cut = gae(reward, value, after, no, jnp.array([False, True]), 0.9, 0.8)
    last = 2.0 + 0.9 * 4.0 - 0.25
    np.testing.assert_allclose(cut, [1.0 + 0.9 * 0.25 - 0.5 + 0.72 * last, last], rtol=1e-6)
    ended = gae(reward, value, after, jnp.array([False, True]), jnp.array([False, True]), 0.9, 0.8)
    np.testing.assert_allclose(ended[1], 2.0 - 0.25, rtol=1e-6)


def test_nothing_flows_back_across_an_episode_end():
    reward = jnp.array([0.0, 100.0])
    zero = jnp.zeros(2)
    advantage = gae(reward, zero, zero, jnp.array([True, True]), jnp.array([True, True]), 0.9, 0.9)
    assert advantage[0] == 0.0


def test_steps_that_an_agent_sits_out_take_time_and_nothing_else():
    reward, value = jnp.array([1.0, 0.0, 2.0]), jnp.array([0.5, 1e6, 0.25])
    after, no = jnp.array([-1e6, 0.25, 4.0]), jnp.zeros(3, bool)
    here, over = jnp.array([True, False, True]), jnp.array([False, False, True])
    found = gae(reward, value, after, no, over, 0.9, 0.8, here)
    last = 2.0 + 0.9 * 4.0 - 0.25
    first = 1.0 + 0.81 * 0.25 - 0.5 + 0.8 * 0.81 * last
    np.testing.assert_allclose(found, [first, 0.0, last], rtol=1e-6)


def test_clipped_surrogate_is_flat_beyond_the_clip():
    for advantage, log_ratio in ((1.0, 0.5), (-1.0, -0.5)):
        slope = jax.grad(lambda x, a=advantage: clipped_surrogate(x, jnp.zeros(()), jnp.array(a), 0.2))(log_ratio)
        assert slope == 0.0
    assert jax.grad(lambda x: clipped_surrogate(x, jnp.zeros(()), jnp.array(1.0), 0.2))(0.0) == pytest.approx(-1.0)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("log_ratio", [-200.0, 200.0])
def test_clipped_surrogate_never_overflows(advantage, log_ratio):
    def loss(x):
        return clipped_surrogate(x, jnp.zeros(()), jnp.array(advantage), 0.2)

    value, slope = jax.value_and_grad(loss)(log_ratio)
    assert np.isfinite([float(value), float(slope)]).all()


def test_normalise_leaves_out_what_weighs_nothing():
    x = jnp.array([[1.0], [3.0], [1e6]])
    done = normalise(x, jnp.array([[1.0], [1.0], [0.0]]))
    np.testing.assert_allclose(done[:2, 0], [-1.0, 1.0], rtol=1e-5)


def test_finds_the_dominant_action():
    # Prisoner's dilemma, one step: action 1 pays 1 more whatever the other does.
    game = matrix_game(np.array([[[3.0, 3.0], [0.0, 4.0]], [[4.0, 0.0], [1.0, 1.0]]]), horizon=1)
    algorithm = PPO(num_envs=16, num_steps=8, minibatches=2, network=SMALL, learning_rate=1e-2, entropy=0.0)
    result = fit(algorithm, game, budget=8_000, seeds=2, evaluations=1, episodes=8, select="last")
    for seed in range(2):
        policy = jax.tree.map(lambda x, s=seed: x[s] if eqx.is_array(x) else x, result.learned.policy)
        obs = game.reset(jax.random.key(0))[1]
        assert np.exp(policy.log_probs(obs))[:, 1].min() > 0.9


def test_refuses_minibatches_that_do_not_divide():
    with pytest.raises(Unsupported, match="do not divide"):
        fit(PPO(num_envs=10, minibatches=4), matrix_game(np.zeros((2, 2, 2))), budget=10)


def test_a_share_takes_steps_in_which_agents_take_part_first():
    algorithm = PPO(share=0.5, minibatches=2, network=dataclasses.replace(SMALL, shared=True))
    mask = jax.random.uniform(jax.random.key(0), (8, 4, 3)) < 0.3
    chosen = algorithm._taking_part_first(jax.random.key(1), mask)
    assert chosen.shape == (2, 8, 3)
    flat = np.asarray(chosen).reshape(-1)
    assert len(set(flat.tolist())) == 48
    assert set(np.flatnonzero(np.asarray(mask)).tolist()) <= set(flat.tolist())
    crowded = algorithm._taking_part_first(jax.random.key(1), jnp.ones((8, 4, 3), bool).at[0].set(False))
    assert np.asarray(crowded).min() >= 12


def test_with_a_share_it_finds_the_dominant_action_too():
    game = matrix_game(jnp.array([[[1.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]]))
    network = dataclasses.replace(SMALL, shared=True)
    algorithm = PPO(learning_rate=0.02, entropy=0.0, share=0.5, num_steps=8, num_envs=16, network=network)
    result = fit(algorithm, game, None, budget=16 * 8 * 40, episodes=0, select="last", evaluations=1)
    policy = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, result.learned.policy)
    obs = game.reset(jax.random.key(0))[1]
    assert float(policy.log_prob(obs, jnp.zeros(2, jnp.int32)).min()) > np.log(0.9)


def test_a_share_needs_one_network_for_all():
    for algorithm in (PPO(share=0.5), PPO(share=1.5, network=dataclasses.replace(SMALL, shared=True))):
        with pytest.raises(Unsupported, match="shared=True"):
            algorithm.check(matrix_game(jnp.zeros((2, 2, 2))), None)
