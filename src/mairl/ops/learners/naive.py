"""The naive learner: everybody climbs its own return and takes the others as they are.

Δθ_i = ∇_i J_i(θ; u_i)
"""

from __future__ import annotations

from jaxtyping import Array, Float

from mairl.ops.learners.gradients import own_gradients
from mairl.ops.linear_game import LinearGame


def naive(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"], look_ahead=0.0
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.learners.LEARNERS`; `look_ahead` is not read."""
    del look_ahead
    return own_gradients(game, logits, weights)
