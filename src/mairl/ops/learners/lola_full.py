"""LOLA without a Taylor expansion, as LOLA-DiCE estimates it (Foerster et al. 2018b).

Δθ_i = ∇_i [J_i(θ_i, θ_j + λ_ij ∇_j J_j(θ; u_j); u_i)]
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.ops.learners.gradients import look_ahead_pairs, own_gradients
from mairl.ops.linear_game import LinearGame, returns


def lola_full(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"], look_ahead
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.learners.LEARNERS`."""
    agents = logits.shape[0]
    pairs = look_ahead_pairs(look_ahead, agents)

    def one(i, ahead):
        def surrogate(theta):
            imagined = theta + ahead[:, None, None] * own_gradients(game, theta, weights)
            return returns(game, imagined, weights)[i]

        return jax.grad(surrogate)(logits)[i]

    return jax.vmap(one)(jnp.arange(agents), pairs)
