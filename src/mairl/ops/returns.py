"""From rewards to advantages."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def gae(
    reward: Float[Array, "time *b"],
    value: Float[Array, "time *b"],
    next_value: Float[Array, "time *b"],
    terminated: Bool[Array, "time *b"],
    over: Bool[Array, "time *b"],
    discount: float,
    trace: float,
) -> Float[Array, "time *b"]:
    """Generalised advantage estimates (Schulman et al. 2016, Eq. 16).

        δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t),    A_t = δ_t + γ λ (1 - over_t) A_{t+1}

    Args:
        next_value: V of the state that each step led to, before any restart.
        terminated: the future is worth 0.
        over: the episode ended here, by termination or time limit; nothing flows back across it. At a time limit the
            future is still worth V(s').
        discount, trace: γ and λ.
    """
    delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value

    def back(advantage, step):
        delta, over = step
        advantage = delta + discount * trace * jnp.where(over, 0.0, advantage)
        return advantage, advantage

    return jax.lax.scan(back, jnp.zeros_like(value[0]), (delta, over), reverse=True)[1]
