"""LookAhead (Zhang & Lesser 2010): everybody answers where the others' naive step would lead.

    Δθ_i = ∇_i J_i(θ_i, stop_gradient(θ_j + λ ∇_j J_j(θ; u_j)); u_i)

That the others' step depends on θ_i is not seen: no agent tries to shape the others' learning.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.ops.learners.gradients import look_ahead_pairs, own_gradients
from mairl.ops.linear_game import LinearGame, returns


def lookahead(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"], look_ahead
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.learners.LEARNERS`."""
    agents = logits.shape[0]
    pairs = look_ahead_pairs(look_ahead, agents)
    steps = own_gradients(game, logits, weights)

    def one(i, ahead):
        imagined = logits + ahead[:, None, None] * steps
        return jax.grad(lambda theta: returns(game, theta, weights)[i])(imagined)[i]

    return jax.vmap(one)(jnp.arange(agents), pairs)
