"""LOLA's first form from play (Foerster et al. 2018, Section 4.3): ∇_i J_i + Σ_j λ_ij (∇_i ∇_j J_j) ∇_j J_i.

Both factors of the second term come from independent halves of the play, each in turn, so that their product is
unbiased.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mairl.ops.learners.gradients import look_ahead_pairs, own
from mairl.ops.linear_game import LinearGame
from mairl.ops.rollouts import roll_out
from mairl.ops.sampled.dice import cross_fitted


def sampled_lola_taylor(
    key: Key[Array, ""],
    game: LinearGame,
    logits: Float[Array, "agent state action"],
    weights: Float[Array, "agent feature"],
    look_ahead,
    *,
    episodes: int,
    horizon: int,
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.sampled`."""
    play = roll_out(key, game, logits, episodes=episodes, horizon=horizon)
    halves = cross_fitted(game, weights, play)
    slopes = [jax.jacrev(half) for half in halves]
    gradients = [slope(logits) for slope in slopes]
    agents = logits.shape[0]
    pairs = look_ahead_pairs(look_ahead, agents)[..., None, None]

    def shaping(slope, wanted):
        return jax.vmap(lambda i, w: jax.grad(lambda theta: jnp.sum(w * own(slope(theta))))(logits)[i])(
            jnp.arange(agents), pairs * wanted
        )

    crossed = shaping(slopes[0], gradients[1]) + shaping(slopes[1], gradients[0])
    return (own(gradients[0] + gradients[1]) + crossed) / 2
