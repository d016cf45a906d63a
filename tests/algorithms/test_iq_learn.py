"""IQ-Learn, alone and over joint actions: policies and rewards that it must recover, and what it refuses."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from mairl.algorithms.fit import fit
from mairl.algorithms.iq_learn import IQLearn
from mairl.algorithms.ma_iq_learn import MAIQLearn, recorded_next
from mairl.algorithms.mamql import MAMQL
from mairl.core.errors import Unsupported
from mairl.core.transition import Transition
from mairl.data.collect import record
from mairl.games.tabular import TabularPolicy, random_game
from mairl.networks.build import NetworkConfig
from mairl.ops.equilibrium import logit_equilibrium
from mairl.testing.probes import cooperative

LINEAR = NetworkConfig(depth=0)
GAME = random_game(1, num_states=4, num_terminal=1)
EXPERT = logit_equilibrium(GAME.tables(), 2.0).policies
OPTIONS = {"discount": 0.9, "rationality": 2.0, "learning_rate": 1e-2, "network": LINEAR, "alpha": 5.0}
LEARNERS = {
    "online": (IQLearn(**OPTIONS), 12_000),
    "cloned": (IQLearn(partners="cloned", **OPTIONS), 20_000),
    "offline": (IQLearn(offline=True, value_term="expert", chi2_on="expert", **OPTIONS), 150),
    "joint": (MAIQLearn(reading="joint", **OPTIONS), 12_000),
    "slice": (MAIQLearn(reading="slice", next_slice="data", **OPTIONS), 12_000),
}


@pytest.fixture(scope="module")
def data():
    return record(GAME, TabularPolicy.new(EXPERT), jax.random.key(0), num_steps=4000)


def first_seed(tree):
    return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, tree)


@pytest.mark.parametrize("name", LEARNERS)
def test_recovers_policies(name, data):
    algorithm, budget = LEARNERS[name]
    run = fit(algorithm, GAME, data, budget=budget, evaluations=1, episodes=0, held_out=None)
    assert not run.failures
    policy = first_seed(run.learned.policy)
    states = jnp.broadcast_to(jnp.eye(4)[:3, None], (3, 2, 4))
    logs = np.asarray(jax.vmap(policy.log_probs)(states)).swapaxes(0, 1)
    kl = np.sum(EXPERT[:, :3] * (np.log(EXPERT[:, :3]) - logs), axis=-1)
    assert kl.max() < 0.03
    assert run.learned.reward is not None


def test_cooperative_rewards_agree_and_rank_actions():
    """In one step there is no shaping: r_i(s, a) is known up to a constant, in the mean over the partner."""
    probe = cooperative()
    expert = logit_equilibrium(probe.game.tables(), 2.0, initial=np.tile([0.3, 0.7], (2, 2, 1))).policies
    data = record(probe.game, TabularPolicy.new(expert), jax.random.key(0), num_steps=4000)
    algorithm = dataclasses.replace(LEARNERS["offline"][0], alpha=20.0, batch=1024)
    found = fit(algorithm, probe.game, data, budget=200, evaluations=1, episodes=0, held_out=None).learned
    reward = first_seed(found.reward)
    obs = jnp.broadcast_to(jnp.eye(2)[0], (2, 2))
    over = jnp.ones(2, bool)
    r = np.array([reward(obs, jnp.array([a, a]), obs, over) for a in (0, 1)])
    true = np.array([0.5 * expert[0, 0, 0], 1.0 * expert[0, 0, 1]])
    np.testing.assert_allclose(r[:, 0], r[:, 1], atol=0.08)
    np.testing.assert_allclose(r[1] - r[0], true[1] - true[0], atol=0.08)


def test_same_critic_step_as_mamql_with_one_recorded_next_state(data):
    """What the docstring says: with equal options the two critics' losses are one."""
    common = {"discount": 0.9, "rationality": 2.0, "alpha": 2.0, "chi2_on": "both", "value_term": "mixture"}
    steps = data.observed(GAME)
    expert, played = steps.transition(jnp.arange(64)), steps.transition(jnp.arange(64, 128))
    alone, marginal = IQLearn(network=LINEAR, **common), MAMQL(critic_network=LINEAR, **common)
    critic = alone.init(jax.random.key(0), GAME, data).critic
    learnt = eqx.tree_at(lambda x: x.critic, marginal.init(jax.random.key(1), GAME, data).learnt, critic)
    ours = eqx.filter_jit(eqx.filter_grad(lambda c: alone.loss((c, None), expert, played)[0]))(critic)
    theirs = eqx.filter_jit(
        eqx.filter_grad(lambda x: marginal.loss(x, critic, jax.random.key(0), GAME, expert, played)[0])
    )(learnt)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs.critic)):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("reading", ["alone", "joint", "slice"])
def test_gradients(reading, data):
    algorithm = IQLearn(**OPTIONS) if reading == "alone" else MAIQLearn(reading=reading, **OPTIONS)
    steps = data.observed(GAME)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64) if eqx.is_inexact_array(x) else x, steps)
        expert, played = wide.transition(jnp.arange(6)), wide.transition(jnp.arange(6, 12))
        params, static = eqx.partition(algorithm.init(jax.random.key(0), GAME, data).critic, eqx.is_inexact_array)
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)

        def loss(params):
            critic = eqx.combine(params, static)
            if reading == "alone":
                return algorithm.loss((critic, None), expert, played)[0]
            # Recorded next actions, so that no sample jumps under the differences.
            known = (played.actions, jnp.ones(6, bool))
            return algorithm.loss(critic, jax.random.key(0), expert, None, None, known, num_actions=3)[0]

        if reading != "alone":
            algorithm = dataclasses.replace(algorithm, value_term="expert")
        check_grads(jax.jit(loss), (params,), 1, ["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("reading", ["alone", "joint", "slice"])
def test_masked_agents_and_actions_have_no_influence(reading, data):
    algorithm = IQLearn(**OPTIONS) if reading == "alone" else MAIQLearn(reading=reading, belief="boltzmann", **OPTIONS)
    critic = algorithm.init(jax.random.key(0), GAME, data).critic
    steps = data.observed(GAME)

    @eqx.filter_jit
    def loss(critic, expert: Transition):
        played = steps.transition(jnp.arange(8))
        allowed = jnp.ones((8, 2, 3), bool)
        played = dataclasses.replace(played, action_mask=allowed, next_action_mask=allowed)
        if reading == "alone":
            return algorithm.loss((critic, None), expert, played)[0]
        return algorithm.loss(critic, jax.random.key(0), expert, played, num_actions=3)[0]

    expert = steps.transition(jnp.arange(8))
    allowed = jnp.ones((8, 2, 3), bool)
    expert = dataclasses.replace(
        expert, mask=expert.mask.at[:4, 1].set(False), action_mask=allowed, next_action_mask=allowed
    )
    other = dataclasses.replace(
        expert, obs=expert.obs.at[:4, 1].multiply(7.0), next_obs=expert.next_obs.at[:4, 1].add(1.0)
    )
    np.testing.assert_allclose(loss(critic, expert), loss(critic, other), rtol=1e-6)
    # Forbid agent 0's action 2 wherever it was not taken: its value there no longer counts.
    narrow = dataclasses.replace(expert, action_mask=expert.action_mask.at[:, 0, 2].set(expert.actions[:, 0] == 2))
    assert abs(float(loss(critic, expert)) - float(loss(critic, narrow))) > 1e-4


def test_recorded_next_actions_stop_at_the_end_of_an_episode(data):
    index = jnp.arange(data.num_steps)
    actions, follows = recorded_next(data, index)
    episode = np.asarray(data.steps[:, 0])
    np.testing.assert_array_equal(follows, np.append(episode[1:] == episode[:-1], False))
    flat = np.asarray(data.transition(index).actions)
    np.testing.assert_array_equal(np.asarray(actions)[:-1][follows[:-1]], flat[1:][follows[:-1]])


def test_refusals(data):
    with pytest.raises(Unsupported, match="demonstrations"):
        IQLearn().check(GAME, None)
    with pytest.raises(Unsupported, match="no rollouts"):
        MAIQLearn(offline=True).check(GAME, data)
    with pytest.raises(Unsupported, match="belief='boltzmann'"):
        MAIQLearn(belief="uniform").check(GAME, data)
    many = random_game(0, num_states=2, num_actions=5, num_agents=6)
    with pytest.raises(Unsupported, match="15625 joint actions"):
        MAIQLearn().check(many, data)
