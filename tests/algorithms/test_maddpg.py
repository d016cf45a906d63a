"""MADDPG: losses and gradients by hand and by differences, absent agents, and games with known answers."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.fit import fit
from mairl.algorithms.maddpg import MADDPG, Learnt, everything
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.spaces import Box
from mairl.core.transition import Transition
from mairl.games.tabular import random_game
from mairl.networks.build import Flat, NetworkConfig, PerAgent
from mairl.networks.mlp import MLP, Linear
from mairl.ops.gumbel import straight_through
from mairl.testing import check_algorithm
from mairl.testing.probes import chain, cooperative, roles

LINEAR = NetworkConfig(kind="mlp", depth=0)
SMALL = NetworkConfig(kind="mlp", width=16, depth=1, activation="tanh")
KEY = jax.random.key(3)


def linear(weights):
    """A linear layer each, from `[agent, in, out]`."""
    weights = jnp.asarray(weights, jnp.float32)
    return MLP((Linear(weights, jnp.zeros((weights.shape[0], weights.shape[2]))),))


def nets(seed=0):
    """Two agents who see two numbers and have three actions; their critics read (own, other's) sights and acts."""
    draw = np.random.default_rng(seed).normal
    return Learnt(PerAgent(Flat(linear(draw(size=(2, 2, 3))))), PerAgent(linear(draw(size=(2, 10, 1)))))


def steps(**fields):
    """Five steps."""
    draw = np.random.default_rng(9)
    made = {
        "actions": jnp.asarray(draw.integers(3, size=(5, 2))),
        "terminated": jnp.zeros((5, 2), bool),
        "truncated": jnp.zeros(5, bool),
        "mask": jnp.ones((5, 2), bool),
        "obs": jnp.asarray(draw.normal(size=(5, 2, 2)), jnp.float32),
        "next_obs": jnp.asarray(draw.normal(size=(5, 2, 2)), jnp.float32),
        "reward": jnp.asarray(draw.normal(size=(5, 2)), jnp.float32),
    }
    return Transition(**{**made, **fields})


def differences(f, net):
    """Central differences of `f` in every parameter of `net`, flat."""
    arrays, static = eqx.partition(net, eqx.is_array)
    flat, back = jax.flatten_util.ravel_pytree(arrays)
    at = jax.jit(lambda x: f(eqx.combine(back(x), static)))
    moves = 1e-2 * np.eye(flat.size, dtype=np.float32)
    return np.array([(at(flat + m) - at(flat - m)) / 2e-2 for m in moves])


def test_the_critic_reads_its_own_agent_first_and_nothing_of_absent_ones():
    obs = jnp.array([[[1.0, 2.0], [3.0, 4.0]]])
    acts, own = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.array([[[0.5, 0.5], [0.2, 0.8]]])
    there = jnp.array([[True, True]])
    np.testing.assert_allclose(everything(obs, acts, there), [[[1, 2, 1, 0, 3, 4, 0, 1], [3, 4, 0, 1, 1, 2, 1, 0]]])
    np.testing.assert_allclose(
        everything(obs, acts, there, own), [[[1, 2, 0.5, 0.5, 3, 4, 0, 1], [3, 4, 0.2, 0.8, 1, 2, 1, 0]]]
    )
    np.testing.assert_allclose(everything(obs, acts, jnp.array([[True, False]]))[0, 0], [1, 2, 1, 0, 3, 4, 0, 0])


def gradient_of(f, net):
    return eqx.filter_jit(eqx.filter_grad(f))(net)


def soft_value(policy, critic, batch, temperature, noise):
    """What agents expect of the relaxed draws, written out: critics are linear, so that they take them as they are."""
    total = 0.0
    for b in range(5):
        for i in range(2):
            layers = policy.net.mlp.layers[0], critic.net.layers[0]
            logits = batch.obs[b, i] @ layers[0].weight[i] + layers[0].bias[i]
            own = jax.nn.softmax((logits + noise[b, i]) / temperature)
            other = jax.nn.one_hot(batch.actions[b, 1 - i], 3)
            seen = jnp.concatenate([batch.obs[b, i], own, batch.obs[b, 1 - i], other])
            total += (seen @ layers[1].weight[i])[0] / 5
    return total


def test_the_gumbel_gradient_is_that_of_the_relaxed_draw():
    learnt, batch = nets(), steps()
    algorithm = MADDPG(temperature=0.7, logit_penalty=0.0)
    slope = gradient_of(lambda p: algorithm.policy_loss(p, learnt.critic, batch, KEY)[0], learnt.policy)
    noise = jax.random.gumbel(KEY, (5, 2, 3))
    expected = differences(lambda p: -soft_value(p, learnt.critic, batch, 0.7, noise), learnt.policy)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(slope)[0], expected, atol=2e-3)


def test_the_expected_gradient_and_the_critics_against_finite_differences():
    learnt, slow, batch = nets(), nets(1), steps()
    algorithm = MADDPG(gradient="expected", entropy=0.3, logit_penalty=0.1, reward_scale=0.5)

    key_next, key_own = jax.random.split(KEY)

    def of_policy(p):
        return algorithm.policy_loss(p, learnt.critic, batch, key_own)[0]

    def of_critic(c):
        return algorithm.critic_loss(c, slow, batch, key_next)[0]

    slope = gradient_of(lambda both: algorithm.loss(both, slow, batch, KEY)[0], learnt)
    for found, loss, net in ((slope.policy, of_policy, learnt.policy), (slope.critic, of_critic, learnt.critic)):
        np.testing.assert_allclose(jax.flatten_util.ravel_pytree(found)[0], differences(loss, net), atol=2e-3)


def test_both_gradients_agree_on_average():
    learnt, batch = nets(), steps()
    keys = jax.random.split(KEY, 2000)

    def slope(algorithm, key):
        grad = eqx.filter_grad(lambda p: algorithm.policy_loss(p, learnt.critic, batch, key)[0])(learnt.policy)
        return jax.flatten_util.ravel_pytree(grad)[0]

    noisy, low = MADDPG(logit_penalty=0.0), MADDPG(temperature=0.2, logit_penalty=0.0)
    exact = MADDPG(gradient="expected", logit_penalty=0.0)
    value = jax.jit(jax.vmap(lambda k: noisy.policy_loss(learnt.policy, learnt.critic, batch, k)[0]))
    expected = jax.jit(lambda: exact.policy_loss(learnt.policy, learnt.critic, batch, KEY)[0])()
    np.testing.assert_allclose(value(keys).mean(), expected, atol=0.1)
    # A low temperature has little bias.
    found = jax.jit(jax.vmap(lambda k: slope(low, k)))(keys).mean(axis=0)
    np.testing.assert_allclose(found, jax.jit(lambda: slope(exact, KEY))(), atol=0.15)


def test_straight_through_draws_from_the_softmax_of_what_is_allowed():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.0, 0.2]))
    drawn = jax.vmap(lambda k: straight_through(k, logits, 0.5))(jax.random.split(KEY, 4000))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), [0.5, 0.3, 0.0, 0.2], atol=0.03)


@pytest.mark.parametrize(
    ("fields", "options", "future"),
    [
        ({}, {}, [[1, 1]] * 5),
        ({"terminated": jnp.ones((5, 2), bool)}, {}, [[0, 0]] * 5),
        ({"truncated": jnp.ones(5, bool)}, {}, [[1, 1]] * 5),
        ({"truncated": jnp.ones(5, bool)}, {"horizon_ends": True}, [[0, 0]] * 5),
    ],
    ids=["going on", "terminated", "truncated", "horizon ends"],
)
def test_targets_by_hand(fields, options, future):
    """Slow critics that see a bias only: everything they say is 2."""
    learnt, batch = nets(), steps(**fields)
    says = PerAgent(MLP((Linear(jnp.zeros((2, 10, 1)), jnp.full((2, 1), 2.0)),)))
    loss, _ = MADDPG(discount=0.9, reward_scale=0.5, **options).critic_loss(
        learnt.critic, Learnt(learnt.policy, says), batch, KEY
    )
    q = jax.vmap(learnt.critic)(everything(batch.obs, jax.nn.one_hot(batch.actions, 3), batch.mask))[..., 0]
    error = q - 0.5 * batch.reward - 0.9 * 2 * np.array(future)
    np.testing.assert_allclose(loss, (error**2).sum() / 10, rtol=1e-5)


@pytest.mark.parametrize("gradient", ["gumbel", "expected"])
def test_absent_agents_neither_learn_nor_spoil(gradient):
    """Agent 1 is not there in steps 2 to 4, and what is written there is not a number."""
    here = jnp.array([[True, True]] * 2 + [[True, False]] * 3)
    options = jnp.ones((5, 2, 3), bool).at[:, 0, 1].set(False).at[2:, 1].set(False)
    junk = jnp.where(here[..., None], 0.0, jnp.nan)
    whole = steps(mask=here, terminated=~here, action_mask=options, next_action_mask=options)
    batch = eqx.tree_at(
        lambda s: (s.obs, s.next_obs, s.reward),
        whole,
        (whole.obs + junk, whole.next_obs + junk, whole.reward + junk[..., 0]),
    )
    algorithm = MADDPG(gradient=gradient, entropy=0.1, logit_penalty=0.0)
    slow = nets(1)
    loss = eqx.filter_jit(eqx.filter_value_and_grad(lambda both, s: algorithm.loss(both, slow, s, KEY)[0]))
    found, clean = loss(nets(), batch), loss(nets(), whole)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(clean), strict=True):
        assert np.isfinite(x).all()
        np.testing.assert_array_equal(x, y)
    away = eqx.tree_at(lambda s: s.mask, batch, here.at[:, 1].set(False))
    _, slope = loss(nets(), away)
    assert all((np.asarray(x)[1] == 0).all() for x in jax.tree.leaves(slope))
    # Nobody is pushed towards what is forbidden.
    assert (slope.policy.net.mlp.layers[0].weight[0, :, 1] == 0).all()


@pytest.mark.parametrize(
    ("probe", "gradient"),
    [(roles(), "gumbel"), (cooperative(), "gumbel"), (chain(4), "gumbel"), (cooperative(), "expected")],
    ids=["roles", "cooperative", "chain", "cooperative, expected"],
)
def test_finds_the_known_policies(probe, gradient):
    algorithm = MADDPG(
        gradient=gradient,
        discount=probe.game.discount,
        noise=0.2,
        policy_rate=0.01,
        critic_rate=0.02,
        target_rate=0.05,
        num_envs=8,
        batch=64,
        network=SMALL,
    )
    result = fit(algorithm, probe.game, budget=150 * 64, evaluations=1, episodes=0, select="last")
    policy = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, result.learned.policy)
    n, num_states = probe.game.num_agents, probe.game.num_states
    states = np.flatnonzero(~np.asarray(probe.game.terminal))
    seen = jnp.broadcast_to(jnp.eye(num_states)[states, None], (len(states), n, num_states))
    probs = jnp.exp(jax.vmap(policy.log_probs)(seen))
    right = (probs * probe.policies[:, states].swapaxes(0, 1)).sum(axis=-1)
    assert (right > 0.8).all(), right


def test_keeps_the_contract():
    game = random_game(1, num_states=4, num_terminal=1, horizon=6)
    options = {"num_envs": 4, "num_steps": 4, "batch": 8, "updates": 2, "buffer": 64, "anneal_updates": 4}
    check_algorithm(MADDPG(network=LINEAR, **options), game, reads_reward=True)


def test_refuses_what_it_cannot_do():
    class Steered(MarkovGame):
        num_agents, action_space, observation_spec, horizon = 1, Box(2), None, 1

    with pytest.raises(Unsupported, match="use ppo"):
        MADDPG().check(Steered(), None)
    with pytest.raises(Unsupported, match="use 'gumbel' or 'expected'"):
        MADDPG(gradient="exact").check(roles().game, None)  # pyright: ignore[reportArgumentType]
