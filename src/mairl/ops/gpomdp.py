"""Policy gradients of reward features from play (GPOMDP: Baxter & Bartlett 2001; baselines of Peters & Schaal 2008).

    G^k = E[Σ_t γ^t (Σ_{u ≤ t} ∇ log π(a_u | o_u)) (φ_k(t) - b)]

so that the gradient of the return of a reward φ · ω is G ω. b is, for each time, parameter and feature, what makes the
estimate's variance least: E[z² φ] / E[z²], z the sum of the scores so far.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def gpomdp(
    score: Callable[..., Float[Array, "env parameter"]],
    steps,
    features: Float[Array, "time env feature"],
    over: Bool[Array, "time env"],
    ratio: Float[Array, "time env"],
    discount: float,
) -> Float[Array, "parameter feature"]:
    """G of one agent.

    Args:
        score: ∇ log π of one time's entry of `steps` (leaves `[time, env, ...]`), 0 where the agent is absent.
        over: an episode ended with this step: scores and discounting begin anew.
        ratio: π(a | o) over the probability that the player gave it; products of them weigh what follows (1: own play).
    """
    num_envs = features.shape[1]

    def forward(carry, now):
        summed, weight, worth, total = carry
        step, felt, ended, share = now
        summed = summed + score(step)
        weight = weight * share
        square = jnp.square(summed) * weight[:, None]
        mean = square.T @ felt / jnp.maximum(jnp.sum(square, axis=0), 1e-12)[:, None]
        part = (weight * worth)[:, None]
        total = total + summed.T @ (part * felt) - mean * jnp.sum(part * summed, axis=0)[:, None]
        fresh = ended[:, None]
        return (
            jnp.where(fresh, 0.0, summed),
            jnp.where(ended, 1.0, weight),
            jnp.where(ended, 1.0, worth * discount),
            total,
        ), None

    size = jax.eval_shape(score, jax.tree.map(lambda x: x[0], steps)).shape[-1]
    one = jnp.ones(num_envs)
    first = jnp.zeros((num_envs, size)), one, one, jnp.zeros((size, features.shape[-1]))
    (_, _, _, total), _ = jax.lax.scan(forward, first, (steps, features, over, ratio))
    return total / num_envs
