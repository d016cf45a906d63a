"""LookAhead from play: a sampled naive step of the others is imagined, and play at what it leads to is answered."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mairl.ops.learners.gradients import look_ahead_pairs
from mairl.ops.linear_game import LinearGame
from mairl.ops.sampled.naive import sampled_naive


def sampled_lookahead(
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
    agents = logits.shape[0]
    pairs = look_ahead_pairs(look_ahead, agents)
    key_inner, key_outer = jax.random.split(key)
    steps = sampled_naive(key_inner, game, logits, weights, episodes=episodes, horizon=horizon)

    def one(key, i, ahead):
        imagined = logits + ahead[:, None, None] * steps
        return sampled_naive(key, game, imagined, weights, episodes=episodes, horizon=horizon)[i]

    return jax.vmap(one)(jax.random.split(key_outer, agents), jnp.arange(agents), pairs)
