"""MA-LfL from play: planted soft improvers are found and predicted."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.algorithms.ma_lfl_approximate import improvement_reward, predict_improvement
from mairl.algorithms.ppo import State
from mairl.algorithms.ppo_record import PPORecord
from mairl.core.policy import DiscretePolicy
from mairl.core.transition import Transition
from mairl.networks.heads import GaussianPolicy

STEPS, TIME, ENVS, AGENTS, ACTIONS = 3, 20, 30, 2, 3
WORTH = np.array([[1.0, 0.0], [-0.5, 0.7]])
"""What each agent gets for each feature, over the temperature."""


class Table(DiscretePolicy):
    """The same whatever is seen."""

    table: Any

    def logits(self, obs):
        """See `DiscretePolicy.logits`."""
        return self.table


class Push(eqx.Module):
    """A mean that is the same whatever is seen."""

    mean: Any

    def __call__(self, obs):
        """The mean of every agent."""
        return self.mean


def made(before, after, actions, features):
    """A record of episodes of one step, everybody always seeing noise."""
    rng = np.random.default_rng(5)
    lead = (STEPS, TIME, ENVS)
    obs, next_obs = (jnp.asarray(rng.normal(size=(*lead, AGENTS, 2)), jnp.float32) for _ in range(2))
    rollout = Transition(
        actions=actions,
        terminated=jnp.ones((*lead, AGENTS), bool),
        truncated=jnp.zeros(lead, bool),
        mask=jnp.ones((*lead, AGENTS), bool),
        obs=obs,
        next_obs=next_obs,
    )
    none: Any = None
    return PPORecord(State(before, none, none), after, jnp.zeros((STEPS, 2), jnp.uint32), rollout, features)


def improvers():
    """Learners for whom actions 1 and 2 have a feature each, and who improve softly once per snapshot."""
    rng = np.random.default_rng(0)
    before = jnp.asarray(rng.normal(size=(STEPS, AGENTS, ACTIONS)) * 0.3, jnp.float32)
    logits = jnp.asarray(np.concatenate([np.zeros((AGENTS, 1)), WORTH], axis=1), jnp.float32)
    after = jnp.broadcast_to(logits, (STEPS, AGENTS, ACTIONS))
    actions = jnp.asarray(rng.integers(ACTIONS, size=(STEPS, TIME, ENVS, AGENTS)), jnp.int32)
    features = jax.nn.one_hot(actions, ACTIONS)[..., 1:]
    return made(Table(before), Table(after), actions, features), logits


def test_what_soft_improvers_want_is_found_and_predicts():
    record, logits = improvers()
    features = np.asarray(record.features, np.float64)
    found = improvement_reward(record, features, 0.9)
    np.testing.assert_allclose(found.weights, WORTH, atol=1e-4)
    assert found.relative_residual.max() < 1e-8
    rewards = np.einsum("stnak,ak->stna", features, found.weights)
    guess = predict_improvement(record, rewards, 0.9).log_probs
    want = np.broadcast_to(jax.nn.log_softmax(logits), guess.shape)
    np.testing.assert_allclose(np.exp(guess), np.exp(want), atol=0.03)
    # With another reward it predicts another policy.
    other = predict_improvement(record, -rewards, 0.9).log_probs
    assert np.abs(np.exp(other) - np.exp(want)).max() > 0.3


def test_gaussian_improvers_go_to_the_best_action():
    # Paid -(a - 1)² / (2 · 0.2²): the improved policy is a normal at 1 with deviation 0.2.
    rng = np.random.default_rng(1)
    size, deviation = 2, 0.2
    mean = jnp.zeros((STEPS, AGENTS, size))
    old = GaussianPolicy(Push(mean), jnp.full((STEPS, AGENTS, size), np.log(0.6)), -9.0, 9.0)  # type: ignore[arg-type]
    actions = jnp.asarray(0.6 * rng.normal(size=(STEPS, TIME, ENVS, AGENTS, size)), jnp.float32)
    paid = -np.sum((np.asarray(actions, np.float64) - 1) ** 2, axis=-1) / (2 * deviation**2)
    record = made(old, old, actions, jnp.asarray(paid[..., None], jnp.float32))
    guess = predict_improvement(record, paid, 0.9)
    assert np.median(np.abs(np.asarray(guess.mean) - 1)) < 0.15
    np.testing.assert_allclose(np.exp(guess.log_std), deviation, atol=0.03)
    # Where Q has no maximum the deviation stays.
    flat = predict_improvement(record, np.zeros_like(paid), 0.9)
    np.testing.assert_allclose(np.exp(flat.log_std), 0.6, rtol=1e-4)
    np.testing.assert_allclose(flat.mean, 0.0, atol=1e-3)
