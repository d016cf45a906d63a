"""The naive learner from play: GPOMDP with baselines by state (Baxter & Bartlett 2001)."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float, Key

from mairl.ops.learners.gradients import own
from mairl.ops.linear_game import LinearGame
from mairl.ops.rollouts import roll_out
from mairl.ops.sampled.dice import cross_fitted


def sampled_naive(
    key: Key[Array, ""],
    game: LinearGame,
    logits: Float[Array, "agent state action"],
    weights: Float[Array, "agent feature"],
    look_ahead=0.0,
    *,
    episodes: int,
    horizon: int,
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.sampled`; `look_ahead` is not read."""
    del look_ahead
    play = roll_out(key, game, logits, episodes=episodes, horizon=horizon)
    first, second = cross_fitted(game, weights, play)
    return own((jax.jacrev(first)(logits) + jax.jacrev(second)(logits)) / 2)
