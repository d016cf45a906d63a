"""DQN: its targets by hand, its exploration, and games with known answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.dqn import DQN, EpsilonGreedy
from mairl.algorithms.fit import fit
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.spaces import Box
from mairl.core.transition import Transition
from mairl.games.tabular import random_game
from mairl.networks.build import Flat, NetworkConfig, PerAgent
from mairl.networks.mlp import MLP, Linear
from mairl.testing import check_algorithm
from mairl.testing.probes import chain, roles

LINEAR = NetworkConfig(kind="mlp", depth=0)
FAST = {"num_envs": 8, "num_steps": 8, "batch": 64, "learning_rate": 0.02, "target_rate": 0.05, "network": LINEAR}


def table(values):
    """Critics whose values are rows of a table: observations are one-hot."""
    values = jnp.asarray(values, jnp.float32)
    return PerAgent(Flat(MLP((Linear(values, jnp.zeros((values.shape[0], values.shape[2]))),))))


def steps(**fields):
    """Two agents, one step from state 0 to state 1."""
    see = jnp.broadcast_to(jnp.eye(2)[:, None], (2, 2, 2))
    made = {
        "actions": jnp.array([[1, 0]]),
        "terminated": jnp.zeros((1, 2), bool),
        "truncated": jnp.zeros(1, bool),
        "mask": jnp.ones((1, 2), bool),
        "obs": see[:1],
        "next_obs": see[1:],
        "reward": jnp.array([[0.1, -0.2]]),
    }
    return Transition(**{**made, **fields})


# [agent, state, action]: each picks its next action by the first table, which the second one values.
OWN = table([[[0.5, 0.3], [1.0, 2.0]], [[0.0, 0.4], [3.0, 0.0]]])
SLOW = table([[[9.0, 9.0], [5.0, 0.6]], [[9.0, 9.0], [0.8, 5.0]]])


def expected(targets):
    errors = np.abs(np.array([0.3, 0.0]) - np.array(targets))
    return np.where(errors < 1, 0.5 * errors**2, errors - 0.5).sum()


@pytest.mark.parametrize(
    ("fields", "options", "targets"),
    [
        ({}, {}, (0.1 + 0.9 * 0.6, -0.2 + 0.9 * 0.8)),
        ({"terminated": jnp.array([[True, False]])}, {}, (0.1, -0.2 + 0.9 * 0.8)),
        ({"truncated": jnp.array([True])}, {}, (0.1 + 0.9 * 0.6, -0.2 + 0.9 * 0.8)),
        ({"truncated": jnp.array([True])}, {"horizon_ends": True}, (0.1, -0.2)),
        ({"next_action_mask": jnp.array([[[True, False], [True, True]]])}, {}, (0.1 + 0.9 * 5, -0.2 + 0.9 * 0.8)),
        ({"mask": jnp.array([[True, False]])}, {}, (0.1 + 0.9 * 0.6, 0.0)),
        ({"reward": jnp.array([[0.1, jnp.nan]]), "mask": jnp.array([[True, False]])}, {}, (0.1 + 0.9 * 0.6, 0.0)),
    ],
    ids=["double", "terminated", "truncated", "horizon ends", "next mask", "absent", "absent's reward"],
)
def test_targets_by_hand(fields, options, targets):
    loss, _ = DQN(discount=0.9, **options).loss(OWN, SLOW, steps(**fields))
    np.testing.assert_allclose(loss, expected(targets), rtol=1e-5)


def test_gradient_against_finite_differences_and_none_through_the_target():
    algorithm, batch = DQN(discount=0.9), steps()
    slope = eqx.filter_grad(lambda c: algorithm.loss(c, SLOW, batch)[0])(OWN).net.mlp.layers[0].weight
    weight = OWN.net.mlp.layers[0].weight
    for at in np.ndindex(weight.shape):
        moved = [table(weight.at[at].add(e)) for e in (1e-2, -1e-2)]
        up, down = (float(algorithm.loss(c, SLOW, batch)[0]) for c in moved)
        np.testing.assert_allclose(slope[at], (up - down) / 2e-2, atol=1e-4)
    assert (slope[:, 1] == 0).all()


def test_exploration_by_hand():
    obs = jnp.broadcast_to(jnp.eye(2)[0], (2, 2))
    policy = EpsilonGreedy(OWN, jnp.array(0.2))
    np.testing.assert_allclose(jnp.exp(policy.log_probs(obs)), [[0.9, 0.1], [0.1, 0.9]], rtol=1e-6)
    only = jnp.array([[False, True], [True, True]])
    np.testing.assert_allclose(jnp.exp(policy.log_probs(obs, only)), [[0.0, 1.0], [0.1, 0.9]], rtol=1e-6)
    assert policy.mode(obs).tolist() == [0, 1]
    drawn = jax.vmap(lambda k: policy.sample(k, obs))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(drawn.mean(axis=0), [0.1, 0.9], atol=0.02)


def test_exploration_falls_over_the_anneal():
    game = roles().game
    algorithm = DQN(epsilon=1.0, final_epsilon=0.1, anneal_updates=10, buffer=512, network=LINEAR)
    state = algorithm.init(jax.random.key(0), game, None)
    for done, epsilon in ((0, 1.0), (5, 0.55), (10, 0.1), (30, 0.1)):
        state = eqx.tree_at(lambda s: s.iterations, state, jnp.asarray(done))
        np.testing.assert_allclose(algorithm.behaviour(state).epsilon, epsilon, rtol=1e-6)


@pytest.mark.parametrize("probe", [roles(), chain(4)], ids=lambda p: p.name)
def test_finds_the_known_values(probe):
    algorithm = DQN(discount=probe.game.discount, epsilon=1.0, final_epsilon=0.3, anneal_updates=150, **FAST)
    result = fit(algorithm, probe.game, budget=150 * 64, seeds=2, evaluations=1, episodes=0, select="last")
    states = np.flatnonzero(~np.asarray(probe.game.terminal))
    for seed in range(2):
        critic = jax.tree.map(lambda x, s=seed: x[s] if eqx.is_array(x) else x, result.learned.policy.critic)
        for s in states:
            q = critic(
                jnp.broadcast_to(jnp.eye(probe.game.num_states)[s], (probe.game.num_agents, probe.game.num_states))
            )
            np.testing.assert_allclose(q.max(axis=-1), probe.values[:, s], atol=0.05)
            np.testing.assert_array_equal(q.argmax(axis=-1), probe.policies[:, s].argmax(axis=-1))


def test_keeps_the_contract():
    game = random_game(1, num_states=4, num_terminal=1, horizon=6)
    options = {"num_envs": 4, "num_steps": 4, "batch": 8, "updates": 2, "buffer": 64, "anneal_updates": 4}
    check_algorithm(DQN(network=LINEAR, **options), game, reads_reward=True)


def test_refuses_vector_actions():
    class Steered(MarkovGame):
        num_agents, action_space, observation_spec, horizon = 1, Box(2), None, 1

    with pytest.raises(Unsupported, match="use ppo"):
        DQN().check(Steered(), None)
