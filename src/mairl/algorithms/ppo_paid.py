"""PPO paid otherwise than by its game: by a recovered reward on the game's features, or on what agents see and do.

Host games show features with every step, so that here, unlike with `RewardedGame`, they can be played for any weights.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.algorithms.base import Algorithm
from mairl.algorithms.ppo import PPO
from mairl.core.reward import Reward
from mairl.core.transition import Transition, features, observe
from mairl.networks.feature_values import Basis


class Payment(Protocol):
    """Rewards of observed steps with leaves `[time, env, ...]`."""

    def __call__(
        self, steps: Transition, features: Float[Array, "time env agent feature"]
    ) -> Float[Array, "time env agent"]:
        """What each agent is paid."""
        ...


class LinearPayment(eqx.Module):
    """φ · ω on the game's own features."""

    weights: Float[Array, "agent feature"]

    def __call__(self, steps: Transition, features: Array) -> Array:
        """See `Payment`."""
        return jnp.sum(features * self.weights, axis=-1)


class FreeReward(Reward):
    """A reward that is linear in (basis of what an agent sees) × (its action); see `columns`.

    Attributes:
        basis: leaves `[agent, ...]`.
        weights: `[agent, basis · action]`.
        actions: how many discrete ones; 0 for Box.
    """

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False

    basis: Basis
    weights: Float[Array, "agent column"]
    actions: int = eqx.field(static=True)

    def __call__(self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None):
        """See `Reward`."""
        return jnp.sum(columns(self.basis, self.actions, obs, actions) * self.weights, axis=-1)


class FreePayment(eqx.Module):
    """A reward of what agents see and do."""

    reward: FreeReward

    @property
    def weights(self) -> Float[Array, "agent column"]:
        """The reward's."""
        return self.reward.weights

    def __call__(self, steps: Transition, features: Array) -> Array:
        """See `Payment`."""
        return jax.vmap(jax.vmap(self.reward))(steps.obs, steps.actions, steps.next_obs, steps.terminated)


def columns(basis: Basis, actions: int, obs, acted) -> Float[Array, "agent column"]:
    """b(o_i) ⊗ e(a_i) of a joint step: e is one-hot of discrete actions; of Box ones 1, the action and its squares."""

    def one(basis, obs, acted):
        done = jax.nn.one_hot(acted, actions) if actions else jnp.concatenate([jnp.ones(1), acted, acted**2])
        return jnp.outer(basis(obs), done).ravel()

    return jax.vmap(one)(basis, obs, acted)


def seen_and_done(basis: Basis, actions: int, steps: Transition) -> Float[Array, "time env agent column"]:
    """`columns` of steps with leaves `[time, env, agent, ...]`."""
    return jax.vmap(jax.vmap(lambda obs, acted: columns(basis, actions, obs, acted)))(steps.obs, steps.actions)


class PaidPPO(Algorithm):
    """`ppo`, its rollouts paid by `payment`. The true reward is not read."""

    ppo: PPO
    payment: Payment

    def check(self, game, data):
        """See `Algorithm.check`."""
        self.ppo.check(game, data)

    def collection(self, game):
        """As PPO's."""
        return self.ppo.collection(game)

    def init(self, key, game, data):
        """As PPO's."""
        return self.ppo.init(key, game, data)

    def behaviour(self, state):
        """As PPO's."""
        return self.ppo.behaviour(state)

    def update(self, key, state, game, data, rollout):
        """PPO's on the same play, paid otherwise."""
        assert rollout is not None
        paid = self.payment(observe(game, rollout), features(game, rollout))
        paid = jax.lax.stop_gradient(paid)
        return self.ppo.update(key, state, game, data, eqx.tree_at(lambda r: r.reward, rollout, paid))

    def result(self, state):
        """As PPO's."""
        return self.ppo.result(state)
