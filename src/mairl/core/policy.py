"""Policies: from what each agent sees to a distribution over what it does."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mairl.core.spaces import Box, Discrete


class Policy(eqx.Module):
    """One policy per agent, acting independently given the observation. Unbatched; `vmap` at the call."""

    def sample(
        self, key: Key[Array, ""], obs: PyTree[Array], action_mask: Bool[Array, "agent action"] | None = None
    ) -> Array:
        """Draws the joint action: `[agent]` int32, or `[agent, size]` float32."""
        raise NotImplementedError

    def mode(self, obs: PyTree[Array], action_mask: Bool[Array, "agent action"] | None = None) -> Array:
        """The most likely joint action, shaped as in `sample`."""
        raise NotImplementedError

    def log_prob(
        self, obs: PyTree[Array], actions: Array, action_mask: Bool[Array, "agent action"] | None = None
    ) -> Float[Array, " agent"]:
        """Log-likelihood (nats) of each agent's own action; a density for Box actions."""
        raise NotImplementedError


class DiscretePolicy(Policy):
    """A policy over `Discrete` actions: subclasses give `logits` only."""

    def logits(self, obs: PyTree[Array]) -> Float[Array, "agent action"]:
        """Unnormalised log-probabilities before any action mask."""
        raise NotImplementedError

    def log_probs(
        self, obs: PyTree[Array], action_mask: Bool[Array, "agent action"] | None = None
    ) -> Float[Array, "agent action"]:
        """Log-probability (nats) of every action of every agent; -inf where masked."""
        return jax.nn.log_softmax(masked(self.logits(obs), action_mask), axis=-1)

    def sample(self, key, obs, action_mask=None) -> Int[Array, " agent"]:
        """See `Policy.sample`."""
        return jax.random.categorical(key, masked(self.logits(obs), action_mask), axis=-1).astype(jnp.int32)

    def mode(self, obs, action_mask=None) -> Int[Array, " agent"]:
        """See `Policy.mode`; ties go to the lowest action."""
        return jnp.argmax(masked(self.logits(obs), action_mask), axis=-1).astype(jnp.int32)

    def log_prob(self, obs, actions, action_mask=None) -> Float[Array, " agent"]:
        """See `Policy.log_prob`."""
        return jnp.take_along_axis(self.log_probs(obs, action_mask), actions[:, None], axis=-1)[:, 0]


def masked(
    logits: Float[Array, "*b action"], action_mask: Bool[Array, "*b action"] | None
) -> Float[Array, "*b action"]:
    """Sets the logits of forbidden actions to -inf."""
    return logits if action_mask is None else jnp.where(action_mask, logits, -jnp.inf)


class UniformPolicy(Policy):
    """Random play: uniform over allowed actions, or over the box."""

    num_agents: int = eqx.field(static=True)
    action_space: Discrete | Box = eqx.field(static=True)

    def _logits(self, action_mask):
        assert isinstance(self.action_space, Discrete)
        return masked(jnp.zeros((self.num_agents, self.action_space.n)), action_mask)

    def sample(self, key, obs, action_mask=None) -> Array:
        """See `Policy.sample`."""
        space = self.action_space
        if isinstance(space, Box):
            return jax.random.uniform(key, (self.num_agents, space.size), minval=space.low, maxval=space.high)
        if action_mask is None:
            return jax.random.randint(key, (self.num_agents,), 0, space.n, jnp.int32)
        return jax.random.categorical(key, self._logits(action_mask), axis=-1).astype(jnp.int32)

    def mode(self, obs, action_mask=None) -> Array:
        """The first allowed action, or the centre of the box."""
        space = self.action_space
        if isinstance(space, Box):
            return jnp.full((self.num_agents, space.size), (space.low + space.high) / 2)
        return jnp.argmax(self._logits(action_mask), axis=-1).astype(jnp.int32)

    def log_prob(self, obs, actions, action_mask=None) -> Float[Array, " agent"]:
        """See `Policy.log_prob`."""
        space = self.action_space
        if isinstance(space, Box):
            return jnp.full(self.num_agents, -space.size * jnp.log(space.high - space.low))
        log_probs = jax.nn.log_softmax(self._logits(action_mask), axis=-1)
        return jnp.take_along_axis(log_probs, actions[:, None], axis=-1)[:, 0]


class NoisyPolicy(DiscretePolicy):
    """Another policy, its choice replaced by a uniform one with probability `noise`.

    Attributes:
        noise: in [0, 1].
        greedy: the other policy's likeliest action instead of its distribution.
    """

    policy: DiscretePolicy
    noise: float = eqx.field(static=True)
    greedy: bool = eqx.field(static=True, default=False)

    def log_probs(self, obs, action_mask=None) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.log_probs`; the uniform choice is among the allowed actions."""
        log_probs = self.policy.log_probs(obs, action_mask)
        count = log_probs.shape[-1]
        chosen = jax.nn.one_hot(jnp.argmax(log_probs, axis=-1), count) if self.greedy else jnp.exp(log_probs)
        allowed = jnp.ones(log_probs.shape) if action_mask is None else action_mask.astype(log_probs.dtype)
        uniform = allowed / jnp.maximum(jnp.sum(allowed, axis=-1, keepdims=True), 1.0)
        mixed = (1 - self.noise) * chosen + self.noise * uniform
        return jnp.where(mixed > 0, jnp.log(jnp.where(mixed > 0, mixed, 1.0)), -jnp.inf)

    def logits(self, obs) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.logits`: with all actions allowed."""
        return self.log_probs(obs)

    def sample(self, key, obs, action_mask=None) -> Int[Array, " agent"]:
        """See `Policy.sample`."""
        return jax.random.categorical(key, self.log_probs(obs, action_mask), axis=-1).astype(jnp.int32)

    def mode(self, obs, action_mask=None) -> Int[Array, " agent"]:
        """See `Policy.mode`."""
        return self.policy.mode(obs, action_mask)
