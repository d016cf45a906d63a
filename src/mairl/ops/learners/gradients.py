"""Which way each agent's return rises with each agent's policy: what all learners by gradients are made of."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from mairl.ops.linear_game import LinearGame, returns


def cross_gradients(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"]
) -> Float[Array, "agent other state action"]:
    """∇_j J_i for every pair: `[i, j, S, A]`."""
    return jax.jacrev(returns, argnums=1)(game, logits, weights)


def own_gradients(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"]
) -> Float[Array, "agent state action"]:
    """∇_i J_i: each agent's gradient of its own return."""
    return own(cross_gradients(game, logits, weights))


def own(pairs: Float[Array, "agent agent *b"]) -> Float[Array, "agent *b"]:
    """The entries [i, i] of something given for every pair."""
    return jax.vmap(lambda row, i: row[i])(pairs, jax.numpy.arange(pairs.shape[0]))


def look_ahead_pairs(look_ahead, agents: int) -> Float[Array, "agent other"]:
    """λ as a matrix [i, j] with zeros on the diagonal: nobody anticipates itself.

    Args:
        look_ahead: one number for all, or `[agent, other]`.
    """
    pairs = jax.numpy.broadcast_to(jax.numpy.asarray(look_ahead), (agents, agents))
    return pairs * (1 - jax.numpy.eye(agents, dtype=pairs.dtype))
