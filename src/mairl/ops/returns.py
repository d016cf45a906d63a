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
    present: Bool[Array, "time *b"] | None = None,
) -> Float[Array, "time *b"]:
    """Generalised advantage estimates (Schulman et al. 2016, Eq. 16).

        δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t),    A_t = δ_t + γ λ (1 - over_t) A_{t+1}

    Args:
        next_value: V of the state that each step led to, before any restart.
        terminated: the future is worth 0.
        over: the episode ended here, by termination or time limit; nothing flows back across it. At a time limit the
            future is still worth V(s').
        discount, trace: γ and λ.
        present: steps that count; default: all. Across the others, which an agent sits out, the estimate looks ahead to
            the agent's next own step: V is not trained there, so it is not asked; time goes on, λ is taken once.

    Returns:
        A_t; 0 where the agent is not present.
    """
    here = jnp.ones(value.shape, bool) if present is None else present
    # What comes after the last step is not known to be sat out: its own value stands in.
    follows = jnp.concatenate([here[1:], jnp.ones_like(here[:1])])

    def back(carry, step):
        advantage, ahead = carry
        reward, value, next_value, terminated, over, here, follows = step
        future = jnp.where(over | follows, next_value, ahead)
        future = jnp.where(terminated, 0.0, future)
        advantage = jnp.where(over, 0.0, advantage)
        own = reward + discount * future - value + discount * trace * advantage
        carry = jnp.where(here, own, discount * advantage), jnp.where(here, value, discount * future)
        return carry, jnp.where(here, own, 0.0)

    steps = (reward, value, next_value, terminated, over, here, follows)
    zero = jnp.zeros_like(value[0])
    return jax.lax.scan(back, (zero, zero), steps, reverse=True)[1]
