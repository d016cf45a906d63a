"""Rewards that average over actions leave out those that are not allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.ma_iq_learn import JointImplicitReward
from mairl.core.transition import Transition
from mairl.games.tabular import random_game
from mairl.networks.build import NetworkConfig, per_agent_network
from mairl.networks.heads import BoltzmannPolicy
from mairl.networks.rewards import ImplicitReward, InducedReward, JointReward, reward_of

GAME = random_game(0, num_agents=2, num_states=4, num_actions=3, horizon=6)
OBS, NEXT = jnp.eye(4)[jnp.array([0, 0])], jnp.eye(4)[jnp.array([2, 2])]
ACTIONS, OVER = jnp.array([1, 0]), jnp.zeros(2, bool)
ALLOWED = jnp.array([[True, True, False], [True, True, True]])


def network(outputs, seed=0):
    return per_agent_network(GAME, outputs, NetworkConfig(width=8), jax.random.key(seed))


def test_the_value_after_a_step_is_that_of_allowed_actions():
    critic = network(3)
    reward = ImplicitReward(critic, jnp.ones(2), 2.0, 0.9)
    paid = reward(OBS, ACTIONS, NEXT, OVER, None, ALLOWED)
    q, after = np.asarray(critic(OBS), float), np.asarray(critic(NEXT), float)
    for i, few in ((0, after[0, :2]), (1, after[1])):
        value = np.log(np.exp(2.0 * few).sum()) / 2.0
        assert float(paid[i]) == pytest.approx(q[i, ACTIONS[i]] - 0.9 * value, abs=1e-5)


def test_the_mean_over_others_is_over_what_they_may_do():
    joint = JointReward(network(9), 3, jnp.array([1.0, 2.0]))
    policy = BoltzmannPolicy(network(3, 1), 1.5)
    reward = InducedReward(joint, policy)
    paid = reward(OBS, ACTIONS, NEXT, OVER, ALLOWED)
    chance = np.exp(np.asarray(policy.log_probs(OBS, ALLOWED), float))
    assert chance[0, 2] == 0
    table = np.asarray(joint.net(OBS), float).reshape(2, 3, 3)
    assert float(paid[1]) == pytest.approx(2.0 * table[1, ACTIONS[1]] @ chance[0], abs=1e-5)
    assert float(paid[1]) != pytest.approx(float(reward(OBS, ACTIONS, NEXT, OVER)[1]), abs=1e-3)


@pytest.mark.parametrize("reading", ["joint", "slice"])
def test_joint_critics_leave_out_own_forbidden_actions(reading):
    critic = network(9)
    shape = {"num_actions": 3, "rationality": 1.0, "discount": 0.9, "reading": reading, "belief": "boltzmann"}
    paid = JointImplicitReward(critic, **shape)(OBS, ACTIONS, NEXT, OVER, None, ALLOWED)
    worthless = critic(NEXT).reshape(2, 3, 3).at[0, 2].set(-1e9).reshape(2, 9)

    def impoverished(obs):
        return jnp.where(jnp.all(obs == NEXT), worthless, critic(obs))

    expected = JointImplicitReward(impoverished, **shape)(OBS, ACTIONS, NEXT, OVER)  # pyright: ignore
    np.testing.assert_allclose(paid, expected, atol=1e-5)


def test_batches_carry_their_masks():
    critic = network(3)
    reward = ImplicitReward(critic, jnp.ones(2), 2.0, 0.9)

    def stack(x):
        return jnp.broadcast_to(x, (5, 4, *x.shape))

    seen = {"obs": stack(OBS), "next_obs": stack(NEXT)}
    masks = {"action_mask": stack(ALLOWED), "next_action_mask": stack(ALLOWED)}
    steps, masked = (
        Transition(stack(ACTIONS), stack(OVER), jnp.zeros((5, 4), bool), stack(~OVER), **seen, **extra)
        for extra in ({}, masks)
    )
    np.testing.assert_allclose(reward_of(reward, steps), stack(reward(OBS, ACTIONS, NEXT, OVER)), rtol=1e-5)
    expected = stack(reward(OBS, ACTIONS, NEXT, OVER, ALLOWED, ALLOWED))
    np.testing.assert_allclose(reward_of(reward, masked), expected, rtol=1e-5)
