"""MAMQL's losses at the edges: masks, the end of a game, the size of the reward, agents with one interest."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.fit import fit
from mairl.algorithms.mamql import MAMQL
from mairl.algorithms.mamql_exact import likely_scale
from mairl.data.collect import record
from mairl.games.tabular import TabularPolicy, random_game
from mairl.networks.build import NetworkConfig
from mairl.ops.equilibrium import logit_equilibrium
from mairl.testing.probes import cooperative

LINEAR = NetworkConfig(depth=0)
GAME = random_game(1, num_states=4, num_terminal=1, horizon=8)
EXPERT = logit_equilibrium(GAME.tables(), 2.0).policies
BASE = MAMQL(
    discount=0.9, rationality=2.0, critic_network=LINEAR, reward_network=LINEAR, learning_rate=2e-2,
    reward_learning_rate=2e-2, batch=256, updates=10, offline=True, value_term="expert", chi2_on="expert",
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return record(GAME, TabularPolicy.new(EXPERT), jax.random.key(0), num_steps=8000)


@pytest.fixture(scope="module")
def loss(data):
    """All gradients of the loss on 32 expert and 32 played steps."""
    learnt = BASE.init(jax.random.key(0), GAME, data).learnt
    learnt = jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(1), x.shape) if eqx.is_array(x) else x, learnt)
    steps = data.observed(GAME)
    played = everything_allowed(steps.transition(jnp.arange(32, 64)))

    @eqx.filter_jit
    def gradients(expert):
        return eqx.filter_grad(lambda x: BASE.loss(x, x.critic, jax.random.key(0), GAME, expert, played)[0])(learnt)

    return gradients, everything_allowed(steps.transition(jnp.arange(32)))


def everything_allowed(steps):
    allowed = jnp.ones((*steps.actions.shape, 3), bool)
    return dataclasses.replace(steps, action_mask=allowed, next_action_mask=allowed)


def distance(a, b):
    return max(float(jnp.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def test_absent_agents_have_no_influence_on_their_own_losses(loss):
    gradients, expert = loss
    absent = dataclasses.replace(expert, mask=expert.mask.at[:9, 1].set(False))
    other = dataclasses.replace(
        absent, next_obs=absent.next_obs.at[:9, 1].add(5.0), terminated=absent.terminated.at[:9, 1].set(True)
    )
    assert distance(gradients(absent), gradients(other)) == 0
    assert distance(gradients(absent), gradients(expert)) > 1e-3


def test_values_end_at_termination_but_not_at_a_time_limit(loss):
    gradients, expert = loss
    over = dataclasses.replace(expert, terminated=jnp.ones_like(expert.terminated))
    elsewhere = dataclasses.replace(over, next_obs=over.next_obs + 1.0)
    assert distance(gradients(over), gradients(elsewhere)) == 0
    assert distance(gradients(over), gradients(expert)) > 1e-3
    cut = dataclasses.replace(expert, truncated=jnp.ones_like(expert.truncated))
    assert distance(gradients(cut), gradients(expert)) == 0


def test_forbidden_actions_have_no_value(data, loss):
    _, expert = loss
    free = (jnp.arange(3) == expert.actions[..., None]) | (jnp.arange(3) == 0)
    masked = dataclasses.replace(expert, action_mask=free, next_action_mask=free.at[..., 1].set(True))
    critic = BASE.init(jax.random.key(0), GAME, data).learnt.critic

    def value(critic):
        return BASE.values(critic, critic, jax.random.key(0), GAME, masked)[2]

    def row_gradient(critic):
        # Q̄ enters V(s) by a bias of its own here, so that slopes are the probabilities of allowed actions.
        return jax.jacobian(lambda b: value(eqx.tree_at(bias, critic, b)))(bias(critic))

    slopes = jnp.einsum("biia->bia", row_gradient(critic))
    np.testing.assert_allclose(slopes.sum(-1), 1, atol=1e-5)
    assert float(jnp.abs(jnp.where(free, 0.0, slopes)).max()) == 0


def bias(critic):
    """The last layer's constants, `[agent, action]`."""
    return critic.net.mlp.layers[0].bias


def test_the_scale_makes_the_expert_most_likely(data):
    """φ with a small α softens the policy and so shrinks the reward; the scale finds what is missing, on its own."""
    steps = data.transition(jnp.arange(data.num_steps))
    scales = {}
    for alpha in (0.5, 100.0):
        algorithm = dataclasses.replace(BASE, alpha=alpha, anneal=200)
        run = fit(algorithm, GAME, data, budget=200, evaluations=1, episodes=0, held_out=None)
        learnt = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, run.state.learnt)
        scales[alpha] = np.exp(np.asarray(learnt.log_scale))
        q = np.asarray(jax.vmap(learnt.critic)(jnp.broadcast_to(jnp.eye(4)[:, None], (4, 2, 4))), np.float64)
        for i in range(2):
            taken = np.zeros((4, 3))
            np.add.at(taken, (np.asarray(steps.state.index), np.asarray(steps.actions[:, i])), 1 / data.num_steps)
            assert scales[alpha][i] == pytest.approx(likely_scale(q[:, i], taken, 2.0), rel=0.03)
    assert scales[0.5].min() > 1.15
    assert np.abs(scales[100.0] - 1).max() < 0.05


def test_agents_with_one_interest_get_near_identical_rewards():
    """One step, so that nothing is hidden by shaping: each agent's reward, up to a constant, is the shared one in the
    mean over its partner."""
    probe = cooperative()
    expert = logit_equilibrium(probe.game.tables(), 2.0, initial=np.tile([0.3, 0.7], (2, 2, 1))).policies
    recording = record(probe.game, TabularPolicy.new(expert), jax.random.key(0), num_steps=4000)
    algorithm = dataclasses.replace(BASE, alpha=30.0, batch=1024)
    run = fit(algorithm, probe.game, recording, budget=60, evaluations=1, episodes=0, held_out=None)
    learned = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, run.learned)
    obs, over = jnp.broadcast_to(jnp.eye(2)[0], (2, 2)), jnp.ones(2, bool)
    rewards = np.array([learned.induced_reward(obs, jnp.array([a, a]), obs, over) for a in (0, 1)])
    true = np.array([0.5 * expert[0, 0, 0], 1.0 * expert[0, 0, 1]])
    np.testing.assert_allclose(rewards[1] - rewards[0], np.full(2, true[1] - true[0]), atol=0.08)
    np.testing.assert_allclose(rewards[:, 0], rewards[:, 1], atol=0.08)
