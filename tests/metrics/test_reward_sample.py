"""Sampled reward distances against what is known: shaping is not seen, other rewards are."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.learned import Learned
from mairl.core.policy import NoisyPolicy, UniformPolicy
from mairl.core.reward import Reward
from mairl.games.tabular import TabularPolicy, random_game
from mairl.metrics.reward_sample import Values, sample
from mairl.metrics.rewards import rewards
from mairl.metrics.shaping import epic_sampled, least_shaped, shaping_free
from mairl.ops.equilibrium import logit_equilibrium

STATES, ACTIONS, DISCOUNT = 5, 3, 0.9


class TableReward(Reward):
    """scale · r_i(s, a) + γ Φ(s') - Φ(s) of a table; the potential is the same for all agents."""

    uses_next: ClassVar[bool] = True
    uses_others: ClassVar[bool] = True
    table: jax.Array
    potential: jax.Array
    scale: float

    def __call__(self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None):
        state, after = jnp.argmax(obs[0]), jnp.argmax(next_obs[0])
        there = jnp.where(terminated, 0.0, self.potential[after])
        return self.scale * self.table[state, actions[0], actions[1]] + DISCOUNT * there - self.potential[state]


@pytest.fixture(scope="module")
def game():
    return random_game(0, num_states=STATES, num_actions=ACTIONS, discount=DISCOUNT)


@pytest.fixture(scope="module")
def expert(game):
    return TabularPolicy.new(logit_equilibrium(game.tables(), rationality=2.0).policies)


def learned(game, expert, potential, scale=3.0, table=None):
    reward = TableReward(game.reward if table is None else table, jnp.asarray(potential), scale)
    return jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, Learned(expert, None, reward))


def measured(game, expert, one):
    return rewards(one, 1, game, expert, 0, discount=DISCOUNT, episodes=64, steps=2048)["shaped_reward"]


def test_the_true_reward_shaped_and_scaled_is_at_no_distance(game, expert):
    potential = 10 * np.random.default_rng(1).normal(size=STATES)
    for agent in measured(game, expert, learned(game, expert, potential)):
        assert agent["pearson"]["mean"] < 0.5  # single payments look unrelated
        # Features of five one-hot states span every potential; EPIC's next states are a sample.
        assert agent["starc"]["mean"] < 0.03
        assert agent["unshaped_pearson"]["mean"] > 0.99
        assert agent["epic"]["mean"] < 0.2


def test_another_reward_is_far_whatever_the_shaping(game, expert):
    other = jnp.asarray(np.random.default_rng(2).normal(size=game.reward.shape), jnp.float32)
    for potential in (np.zeros(STATES), np.arange(STATES) / 4):
        for agent in measured(game, expert, learned(game, expert, potential, table=other)):
            assert agent["starc"]["mean"] > 0.4
            assert agent["epic"]["mean"] > 0.4


def test_the_true_induced_reward_is_the_mean_over_what_the_others_do(game, expert):
    one = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, learned(game, expert, np.zeros(STATES)))
    draw = eqx.filter_jit(sample)
    drawn = draw(jax.random.key(0), game, one, expert, expert_greedy=False, episodes=8, count=32)
    chance = np.exp(np.asarray(expert.log_table))
    table = np.asarray(game.reward)
    states = np.asarray(drawn.features)[:, 0, :STATES].argmax(-1)
    for k in range(32):
        s, (a, b) = states[k], np.asarray(drawn.actions)[k]
        assert np.asarray(drawn.truth["induced_reward"].paid)[k, 0] == pytest.approx(
            chance[1, s] @ table[s, a, :, 0], abs=1e-5
        )
        assert np.asarray(drawn.truth["induced_reward"].paid)[k, 1] == pytest.approx(
            chance[0, s] @ table[s, :, b, 1], abs=1e-5
        )
        assert np.asarray(drawn.truth["reward"].paid)[k, 0] == pytest.approx(table[s, a, b, 0], abs=1e-5)
        assert np.asarray(drawn.truth["reward"].mean)[k, 0] == pytest.approx(table[s, :, :, 0].mean(), abs=1e-5)


def test_least_shaped_leaves_what_no_potential_explains():
    generator = np.random.default_rng(3)
    difference = generator.normal(size=(4000, 6))
    own = generator.normal(size=4000)
    reward = own + difference @ generator.normal(size=6) + 7.0
    left = least_shaped(reward, difference, generator.integers(0, 40, 4000), ridge=1e-6)
    assert np.corrcoef(left, own)[0, 1] > 0.99
    noise = least_shaped(own, generator.normal(size=(4000, 500)), generator.integers(0, 40, 4000))
    assert np.var(noise) > 0.95 * np.var(own)  # fitted on other episodes, features of noise explain nothing


def test_epic_by_hand():
    zero = np.zeros(3)
    truth = Values(np.array([1.0, 0.0, 0.0]), zero, zero)
    shaped = Values(
        truth.paid + 0.9 * np.array([2.0, 5.0, 1.0]) - np.array([3.0, 2.0, 5.0]),
        -np.array([3.0, 2.0, 5.0]),
        -np.array([2.0, 5.0, 1.0]),
    )
    assert epic_sampled(shaped, truth, 0.9) == pytest.approx(0.0, abs=1e-6)
    assert epic_sampled(Values(-truth.paid, zero, zero), truth, 0.9) == pytest.approx(1.0)


def test_constant_rewards_have_no_distance():
    zero = np.zeros(4)
    facts = shaping_free(
        Values(zero, zero, zero), Values(np.arange(4.0), zero, zero), np.eye(4), np.eye(4), zero > 0, np.arange(4), 0.9
    )
    assert facts["epic"] is None
    assert facts["starc"] is None


def test_noisy_policies_mix_in_uniform_allowed_actions(expert):
    obs = jnp.eye(STATES)[:2]
    allowed = jnp.array([[True, True, False], [True, True, True]])
    chance = np.exp(np.asarray(NoisyPolicy(expert, 0.4).log_probs(obs, allowed)))
    own = np.exp(np.asarray(expert.log_probs(obs, allowed)))
    np.testing.assert_allclose(chance[0], 0.6 * own[0] + 0.4 * np.array([0.5, 0.5, 0]), atol=1e-6)
    greedy = np.asarray(NoisyPolicy(expert, 0.0, True).log_probs(obs))
    assert sorted(greedy[0].tolist()) == [-np.inf, -np.inf, 0.0]


def test_unknown_experts_leave_the_learner_as_its_own_measure(game):
    policy = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, UniformPolicy(2, game.action_space))
    reward = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, TableReward(game.reward, jnp.zeros(STATES), 1.0))
    assert rewards(Learned(policy, reward), 1, game, None, 0) == {}  # nobody's choices can be averaged over
