"""LOLA-DiCE (Foerster et al. 2018b, Section 4.2): ∇_i [J_i(θ_i, θ_j + λ_ij ∇_j J_j(θ))], through sampled inner steps.

The inner step is a function of θ_i by the DiCE objective of play at θ; play at what it leads to gives the outer return.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mairl.ops.learners.gradients import look_ahead_pairs, own
from mairl.ops.linear_game import LinearGame
from mairl.ops.rollouts import roll_out
from mairl.ops.sampled.dice import cross_fitted


def sampled_lola_full(
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
    inner = cross_fitted(game, weights, roll_out(key_inner, game, logits, episodes=episodes, horizon=horizon))

    def one(key, i, ahead):
        def imagined(theta):
            first, second = (jax.jacrev(half)(theta) for half in inner)
            steps = own(first + second) / 2
            return theta + ahead[:, None, None] * steps

        there, back = jax.vjp(imagined, logits)
        play = roll_out(key, game, there, episodes=episodes, horizon=horizon)
        outer = cross_fitted(game, weights, play)
        slope = sum(jax.grad(lambda theta, half=half: half(theta)[i])(there) for half in outer) / 2
        return back(slope)[0][i]

    return jax.vmap(one)(jax.random.split(key_outer, agents), jnp.arange(agents), pairs)
