"""Policies whose distribution a network gives."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mairl.core.policy import DiscretePolicy, Policy
from mairl.networks.build import PerAgent
from mairl.ops.clipped_normal import clipped_normal_log_prob


class CategoricalPolicy(DiscretePolicy):
    """softmax(net(obs)) for each agent."""

    net: PerAgent

    def logits(self, obs: PyTree[Array]) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.logits`."""
        return self.net(obs)


class BoltzmannPolicy(DiscretePolicy):
    """softmax(λ Q(obs, ·)) for each agent: Eq. 3 of the MAMQL paper. `rationality` is λ, in 1 / units of reward;
    `sharpness`, if given, is a factor of it for each agent."""

    critic: PerAgent
    rationality: float = eqx.field(static=True)
    sharpness: Float[Array, " agent"] | None = None

    def logits(self, obs: PyTree[Array]) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.logits`."""
        logits = self.rationality * self.critic(obs)
        return logits if self.sharpness is None else self.sharpness[:, None] * logits


class GaussianPolicy(Policy):
    """Independent normals around net(obs), clipped to the box when sampled. `log_std` is `[agent, size]`, or
    `[1, size]` where all share it."""

    net: PerAgent
    log_std: Float[Array, "#agent size"]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    def mode(self, obs, action_mask=None) -> Array:
        """See `Policy.mode`."""
        return jnp.clip(self.net(obs), self.low, self.high)

    def sample(self, key, obs, action_mask=None) -> Array:
        """See `Policy.sample`."""
        mean = self.net(obs)
        return jnp.clip(mean + jnp.exp(self.log_std) * jax.random.normal(key, mean.shape), self.low, self.high)

    def log_prob(self, obs, actions, action_mask=None) -> Float[Array, " agent"]:
        """See `Policy.log_prob`; at a bound it is the probability of being clipped there."""
        return clipped_normal_log_prob(actions, self.net(obs), self.log_std, self.low, self.high)
