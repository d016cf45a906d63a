"""Cloning recovers policies where the recording goes, and no reward."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from mairl.algorithms.bc import BC, categorical_terms, gaussian_terms
from mairl.algorithms.fit import fit
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.spaces import Box
from mairl.data.collect import record
from mairl.data.demonstrations import demonstrations
from mairl.games.tabular import TabularPolicy, random_game
from mairl.networks.build import NetworkConfig
from mairl.networks.heads import GaussianPolicy
from mairl.ops.equilibrium import logit_equilibrium

LINEAR = NetworkConfig(depth=0)


class Line(MarkovGame):
    """A game that is only looked at: two agents see one number and answer with one."""

    num_agents: int = eqx.field(static=True, default=2)
    action_space: Box = eqx.field(static=True, default=Box(1, -2.0, 2.0))
    observation_spec: jax.ShapeDtypeStruct = eqx.field(static=True, default=jax.ShapeDtypeStruct((1,), jnp.float32))
    horizon: int = eqx.field(static=True, default=8)
    pure = False


def test_recovers_the_policy_of_each_agent_and_no_reward():
    game = random_game(1, num_states=4, num_terminal=1)
    expert = logit_equilibrium(game.tables(), 2.0).policies
    data = record(game, TabularPolicy.new(expert), jax.random.key(0), num_steps=4000)
    algorithm = BC(learning_rate=1e-2, network=LINEAR, updates=8, batch=128)
    found = fit(algorithm, game, data, budget=80, evaluations=1, episodes=0, held_out=None).learned
    policy = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, found.policy)
    states = jnp.broadcast_to(jnp.eye(4)[:3, None], (3, 2, 4))
    logs = np.asarray(jax.vmap(policy.log_probs)(states)).swapaxes(0, 1)
    kl = np.sum(expert[:, :3] * (np.log(expert[:, :3]) - logs), axis=-1)
    assert kl.max() < 0.02
    assert found.reward is None


def test_vector_actions_mean_and_spread():
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(64, 9, 2, 1)).astype(np.float32)
    actions = (
        obs[:, :8] * np.array([0.5, -0.3])[:, None] + rng.normal(size=(64, 8, 2, 1)) * np.array([0.1, 0.3])[:, None]
    )
    flags = np.zeros((64, 8), bool)
    data = demonstrations(
        obs=obs,
        actions=actions.astype(np.float32),
        lengths=np.full(64, 8),
        terminated=np.zeros((64, 8, 2), bool),
        truncated=flags,
        action_space=Line().action_space,
    )
    algorithm = BC(learning_rate=2e-2, network=LINEAR, weight_decay=0.0)
    state = algorithm.init(jax.random.key(0), Line(), data)
    step = eqx.filter_jit(lambda s, k: algorithm.update(k, s, Line(), data, None)[0])
    for key in jax.random.split(jax.random.key(1), 30):
        state = step(state, key)
    policy = algorithm.result(state).policy
    assert isinstance(policy, GaussianPolicy)
    np.testing.assert_allclose(policy.mode(jnp.ones((2, 1)))[:, 0], [0.5, -0.3], atol=0.05)
    np.testing.assert_allclose(jnp.exp(policy.log_std)[:, 0], [0.1, 0.3], rtol=0.15)


def test_losses_by_hand_and_gradients():
    with jax.enable_x64(True):
        logits = jnp.log(jnp.array([[[0.2, 0.3, 0.5]]]))
        allowed = jnp.array([[[True, True, False]]])
        actions = jnp.array([[1]])
        like, entropy = categorical_terms(logits, actions, None, 0.0)
        np.testing.assert_allclose(like, np.log(0.3))
        np.testing.assert_allclose(entropy, -sum(p * np.log(p) for p in (0.2, 0.3, 0.5)))
        smooth, _ = categorical_terms(logits, actions, allowed, 0.5)
        np.testing.assert_allclose(smooth, 0.75 * np.log(0.6) + 0.25 * np.log(0.4))
        check_grads(lambda x: sum(map(jnp.sum, categorical_terms(x, actions, allowed, 0.1))), (logits,), 1, ["rev"])
        x = jnp.array([[[0.3, -0.2]]])
        check_grads(lambda m, s: sum(map(jnp.sum, gaussian_terms(m, s, x + 1, Box(2)))), (x, x[0]), 1, ["rev"])


def test_masked_agents_count_nothing():
    game = random_game(1, num_states=4)
    data = record(game, TabularPolicy.new(np.full((2, 4, 3), 1 / 3)), jax.random.key(0), num_steps=64)
    algorithm = BC(network=LINEAR)
    state = algorithm.init(jax.random.key(0), game, data)
    steps = data.observed(game).transition(jnp.arange(32))
    steps = eqx.tree_at(lambda t: t.mask, steps, steps.mask.at[:16, 1].set(False))
    other = eqx.tree_at(lambda t: t.actions, steps, steps.actions.at[:16, 1].set(0))
    assert not np.array_equal(steps.actions, other.actions)
    losses = [float(algorithm.loss((state.net, None), state.action_space, s)[0]) for s in (steps, other)]
    assert losses[0] == losses[1]


def test_refusals():
    game = random_game(1)
    with pytest.raises(Unsupported, match="demonstrations"):
        BC().check(game, None)
    data = record(game, TabularPolicy.new(np.full((2, 5, 3), 1 / 3)), jax.random.key(0), num_steps=8)
    with pytest.raises(Unsupported, match="label_smoothing must be"):
        BC(label_smoothing=1.0).check(game, data)
    with pytest.raises(Unsupported, match="discrete"):
        BC(label_smoothing=0.1).check(Line(), data)
