"""GAIL, AIRL and their multi-agent forms: what the discriminators must find, and what they cannot."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from mairl.algorithms.airl import AIRL
from mairl.algorithms.fit import fit
from mairl.algorithms.gail import GAIL, discriminator_loss, train_discriminator
from mairl.algorithms.ma_airl import MAAIRL
from mairl.algorithms.ma_gail import MAGAIL
from mairl.algorithms.ppo import PPO
from mairl.core.errors import Unsupported
from mairl.data.collect import play, record, reset
from mairl.games.tabular import TabularGame, TabularPolicy, random_game
from mairl.networks.build import NetworkConfig
from mairl.networks.discriminator import DiscriminatorConfig
from mairl.ops.equilibrium import logit_equilibrium

EXACT = DiscriminatorConfig(NetworkConfig(depth=0), 2e-2, batch=512, updates=150, gradient_penalty=0.0, normalise=False)
ALL = {
    "gail": GAIL(discriminator=EXACT),
    "ma-gail": MAGAIL(discriminator=EXACT),
    "ma-gail-central": MAGAIL(sharing="centralised", discriminator=EXACT),
    "airl": AIRL(inputs="own", discriminator=EXACT),
    "ma-airl": MAAIRL(discriminator=EXACT),
}


@pytest.fixture(scope="module")
def two():
    """A game of two agents, its expert's recording, and a rollout of uniform play."""
    game = random_game(1, num_states=4, num_terminal=1)
    expert = logit_equilibrium(game.tables(), 2.0).policies
    data = record(game, TabularPolicy.new(expert), jax.random.key(0), num_steps=4000)
    uniform = TabularPolicy.new(np.full((2, 4, 3), 1 / 3))
    _, rollout = play(game, uniform, jax.random.key(1), reset(game, jax.random.key(2), 64), 64)
    return game, data, uniform, rollout


def trained(algorithm, game, data, rollout, policy=None, rounds=2):
    state = algorithm.init(jax.random.key(0), game, data)
    train = eqx.filter_jit(train_discriminator)
    for key in range(rounds):
        state, metrics = train(algorithm.discriminator, jax.random.key(key), state, game, data, rollout, policy)
    return state, metrics


@pytest.mark.parametrize("name", ALL)
def test_tells_the_expert_from_random_play_and_nothing_from_itself(name, two):
    game, data, uniform, rollout = two
    policy = uniform if "airl" in name else None
    _, apart = trained(ALL[name], game, data, rollout, policy)
    assert float(apart["discriminator_loss"]) < 2 * np.log(2) - 0.01
    if policy is None:
        own = data.observed(game).transition(jnp.arange(4000))
        again = jax.tree.map(lambda x: x.reshape(40, 100, *x.shape[1:]), own)
        _, same = trained(ALL[name], game, data, again)
        # The optimum is flat: here GAIL's reward says nothing of what the expert wants.
        assert float(same["discriminator_loss"]) == pytest.approx(2 * np.log(2), abs=0.01)


def test_gail_logit_is_the_log_ratio_of_visits(two):
    game, data, _, rollout = two
    state, _ = trained(GAIL(discriminator=EXACT), game, data, rollout)
    steps = data.transition(jnp.arange(data.num_steps))

    def visits(steps):
        index, actions = np.asarray(steps.state.index).ravel(), np.asarray(steps.actions)[..., 0].ravel()
        return np.bincount(index * 3 + actions, minlength=12)[:9] / index.size

    ratio = np.log(visits(steps) / visits(rollout))
    g = state.discriminator.g
    logit = np.array(
        [[g(jnp.eye(4)[jnp.array([s, s])], jnp.eye(3)[jnp.array([a, a])])[0] for a in range(3)] for s in range(3)]
    )
    np.testing.assert_allclose(logit.ravel(), ratio, atol=0.15)


def test_airl_recovers_a_state_reward_up_to_a_constant():
    """Deterministic, reward of the state alone: at the expert's own policy f is its log, g the reward."""
    transitions = np.eye(4)[np.stack([(np.arange(4) + 1) % 4, (np.arange(4) + 3) % 4, np.arange(4)], axis=1)]
    true = np.array([0.0, 1.0, -0.5, 0.3])
    game = TabularGame(
        transitions, np.tile(true[:, None, None], (1, 3, 1)), start=np.full(4, 0.25), discount=0.8, horizon=20
    )
    expert = TabularPolicy.new(logit_equilibrium(game.tables(), 1.0).policies)
    data = record(game, expert, jax.random.key(0), num_steps=8000)
    # The rollout is the expert's own, as at convergence: visits are alike, and D's optimum is f = log π.
    _, rollout = play(game, expert, jax.random.key(1), reset(game, jax.random.key(2), 128), 64)
    algorithm = AIRL(PPO(discount=0.8), EXACT)
    state, _ = trained(algorithm, game, data, rollout, expert, rounds=8)
    learned = state.discriminator
    g = np.array([learned.g(jnp.eye(4)[s][None], jnp.ones((1, 1)))[0] for s in range(4)])
    np.testing.assert_allclose(g - g.mean(), true - true.mean(), atol=0.15)


@pytest.mark.parametrize("name", ALL)
def test_gradients(name, two):
    game, data, uniform, _ = two
    config = DiscriminatorConfig(NetworkConfig(depth=1, width=4, activation="tanh"), gradient_penalty=0.5)
    state = ALL[name].init(jax.random.key(0), game, data)
    steps = data.observed(game)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64) if eqx.is_inexact_array(x) else x, steps)
        first, second = wide.transition(jnp.arange(6)), wide.transition(jnp.arange(6, 12))
        params, static = eqx.partition(state.discriminator, eqx.is_inexact_array)
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)

        def loss(params):
            d = eqx.combine(params, static)
            return discriminator_loss(d, None, first, second, uniform, jax.random.key(0), config)[0]

        check_grads(jax.jit(loss), (params,), 1, ["rev"], atol=1e-4, rtol=1e-4)


def test_masked_agents_have_no_influence(two):
    game, data, _, _ = two
    algorithm = MAAIRL(inputs="own", discriminator=EXACT)
    d = algorithm.init(jax.random.key(0), game, data).discriminator
    steps = data.observed(game)
    first, second = steps.transition(jnp.arange(8)), steps.transition(jnp.arange(8, 16))
    first = eqx.tree_at(lambda t: t.mask, first, first.mask.at[:4, 1].set(False))
    other = eqx.tree_at(lambda t: (t.obs, t.terminated), first, (first.obs.at[:4, 1].add(5.0), ~first.terminated))
    other = eqx.tree_at(lambda t: t.terminated, other, first.terminated.at[:4, 1].set(True))
    config = DiscriminatorConfig(gradient_penalty=1.0)
    loss = eqx.filter_jit(lambda x: discriminator_loss(d, None, x, second, None, jax.random.key(0), config)[0])
    losses = [loss(x) for x in (first, other)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_whole_loop_runs_and_shaping_tells_its_rewards_apart(two):
    game, data, _, _ = two
    ppo = PPO(num_envs=8, num_steps=8, epochs=1, minibatches=1, network=NetworkConfig(depth=0))
    run = fit(MAAIRL(ppo), game, data, budget=128, evaluations=1, episodes=0, held_out=None)
    assert not run.failures
    learned = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, run.learned)
    obs = jnp.broadcast_to(jnp.eye(4)[0], (2, 4))
    acts, over = jnp.zeros(2, jnp.int32), jnp.ones(2, bool)
    # Shaping alone is what tells the two rewards apart: f = g - h after termination.
    d = learned.shaped_reward.discriminator
    h = d.h(learned.shaped_reward.moments.normalise(obs), jnp.ones((2, 1)))
    g, f = learned.reward(obs, acts, obs, over), learned.shaped_reward(obs, acts, obs, over)
    np.testing.assert_allclose(f, g - h, atol=1e-5)


def test_refusals(two):
    game, data, _, _ = two
    with pytest.raises(Unsupported, match="demonstrations"):
        GAIL().check(game, None)
    with pytest.raises(Unsupported, match="label_smoothing"):
        AIRL(discriminator=DiscriminatorConfig(label_smoothing=0.5)).check(game, data)
    with pytest.raises(Unsupported, match="actions='joint'"):
        MAGAIL(sharing="centralised", actions="own").check(game, data)
