"""Multi-agent soft policy improvement: everybody moves to its soft answer to the others' present policies.

    Q̄_i(s, a_i) = E_{a_-i, s'}[r_i + γ V_i(s')],  V_i(s) = Σ_a π_i (Q̄_i - τ log π_i),  π_i' = softmax(Q̄_i / τ)

All agents at once (Caliskan, Chini & Maghsudi 2023; for one agent Jacq et al. 2019). Only u = ω / τ matters: dividing
by τ shows that the new policy depends on rewards in units of the temperature.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.ops.linear_game import LinearGame, centred, mean_over, solve_values


def ma_spi(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"], look_ahead=0.0
) -> Float[Array, "agent state action"]:
    """One step: from the policies to the improved ones, both as centred logits. `weights` are u = ω / τ; `look_ahead`
    is not read. Further arguments as in `mairl.ops.learners.LEARNERS`."""
    del look_ahead
    log_policies = jax.nn.log_softmax(logits, axis=-1)
    policies = jnp.exp(log_policies)
    entropy = -jnp.sum(policies * log_policies, axis=-1)
    rewards = jnp.einsum("...nk,nk->...n", game.features, weights)
    paid = mean_over(rewards, policies) + entropy.T
    values = solve_values(mean_over(game.flow, policies), paid, game.discount)

    def q(i):
        own = mean_over(rewards[..., i], policies, i) + jnp.zeros(policies.shape[1:])
        return own + game.discount * mean_over(game.flow, policies, i) @ values[:, i]

    return jnp.stack([centred(q(i)) for i in range(policies.shape[0])]) - centred(logits)
