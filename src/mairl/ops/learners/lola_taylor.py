"""LOLA as first published (Foerster et al. 2018, Eq. 4.4): a first-order guess at how the others' learning pays.

    Δθ_i = ∇_i J_i + Σ_j λ_ij (∇_i ∇_j J_j) ∇_j J_i

The others' step ∇_j J_j is differentiated through, the point at which ∇_j J_i is taken is not moved.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.ops.learners.gradients import cross_gradients, look_ahead_pairs, own, own_gradients
from mairl.ops.linear_game import LinearGame


def lola_taylor(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"], look_ahead
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.learners.LEARNERS`."""
    agents = logits.shape[0]
    pairs = look_ahead_pairs(look_ahead, agents)
    gradients = cross_gradients(game, logits, weights)

    def shaping(i, wanted):
        """∇_i Σ_j ⟨wanted_j, ∇_j J_j⟩ with what agent i wants of the others held fixed."""
        value = jax.grad(lambda theta: jnp.sum(wanted * own_gradients(game, theta, weights)))
        return value(logits)[i]

    return own(gradients) + jax.vmap(shaping)(jnp.arange(agents), pairs[..., None, None] * gradients)
