"""All first-order terms of full LOLA from play: ∇_i [J_i + Σ_j λ_ij ⟨∇_j J_i, ∇_j J_j⟩].

The two factors of the inner product come from independent halves of the play, each in turn: by the product rule each
term of the derivative is then a product of independent estimates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mairl.ops.learners.gradients import look_ahead_pairs, own
from mairl.ops.linear_game import LinearGame
from mairl.ops.rollouts import roll_out
from mairl.ops.sampled.dice import cross_fitted


def sampled_first_order_complete(
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
    first, second = cross_fitted(game, weights, play)
    pairs = look_ahead_pairs(look_ahead, logits.shape[0])

    def surrogates(theta):
        one, other = jax.jacrev(first)(theta), jax.jacrev(second)(theta)
        shaping = jnp.einsum("ijsa,jsa->ij", one, own(other)) + jnp.einsum("ijsa,jsa->ij", other, own(one))
        return (first(theta) + second(theta) + jnp.sum(pairs * shaping, axis=1)) / 2

    return own(jax.jacrev(surrogates)(logits))
