"""All first-order terms of full LOLA: Taylor's, and that the others will have moved when agent i's step is taken.

Δθ_i = ∇_i J_i + Σ_j λ_ij [(∇_i ∇_j J_j) ∇_j J_i + (∇_i ∇_j J_i) ∇_j J_j]
     = ∇_i [J_i + Σ_j λ_ij ⟨∇_j J_i, ∇_j J_j⟩]
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.ops.learners.gradients import cross_gradients, look_ahead_pairs, own
from mairl.ops.linear_game import LinearGame, returns


def first_order_complete(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"], look_ahead
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.learners.LEARNERS`."""
    pairs = look_ahead_pairs(look_ahead, logits.shape[0])

    def surrogates(theta):
        gradients = cross_gradients(game, theta, weights)
        shaping = jnp.einsum("ijsa,jsa->ij", gradients, own(gradients))
        return returns(game, theta, weights) + jnp.sum(pairs * shaping, axis=1)

    return own(jax.jacrev(surrogates)(logits))
