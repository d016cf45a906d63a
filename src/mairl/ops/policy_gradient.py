"""Losses of policy gradients, per sample."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def clipped_surrogate(
    log_prob: Float[Array, "*b"], old_log_prob: Float[Array, "*b"], advantage: Float[Array, "*b"], clip: float
) -> Float[Array, "*b"]:
    """PPO's loss, to be minimised (Schulman et al. 2017, Eq. 7): -min(ρ A, clip(ρ, 1±ε) A), ρ = π(a)/π_old(a).

    ρ is held below e^20, where it would drown every other sample anyway and soon overflow.
    """
    ratio = jnp.exp(jnp.minimum(log_prob - old_log_prob, 20.0))
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def normalise(x: Float[Array, "*b agent"], weight: Float[Array, "*b agent"]) -> Float[Array, "*b agent"]:
    """Each agent's values with mean 0 and deviation 1 under `weight`."""
    axes = tuple(range(x.ndim - 1))
    total = jnp.maximum(jnp.sum(weight, axis=axes), 1.0)
    mean = jnp.sum(weight * x, axis=axes) / total
    deviation = jnp.sqrt(jnp.sum(weight * (x - mean) ** 2, axis=axes) / total)
    return (x - mean) / (deviation + 1e-8)
