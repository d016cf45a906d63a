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


class MarginalPolicy(DiscretePolicy):
    """π_i(a_i | o_i) = Σ_a_-i b_i(a_-i | o_i) softmax over a_i of λ Q_i(o_i, a_i, a_-i).

    Attributes:
        critic: `[agent, joint]`, own action first (see `mairl.networks.rewards.joint_index`).
        num_actions: A.
        rationality: λ.
        belief: b_i, "boltzmann" or "uniform".
    """

    critic: PerAgent
    num_actions: int = eqx.field(static=True)
    rationality: float = eqx.field(static=True)
    belief: str = eqx.field(static=True, default="boltzmann")

    def logits(self, obs) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.logits`."""
        scaled = self.rationality * by_own_action(self.critic(obs), self.num_actions)
        if self.belief == "uniform":
            scaled = jax.nn.log_softmax(scaled, axis=1)
        return jax.nn.logsumexp(scaled, axis=2)


def by_own_action(row: Float[Array, "agent joint"], num_actions: int) -> Float[Array, "agent action others"]:
    """A critic's row over joint actions as a table: own action, and the others' together."""
    return row.reshape(row.shape[0], num_actions, -1)


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
