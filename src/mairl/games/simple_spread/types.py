"""What Simple Spread is made of."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float, Int

RADIUS = 0.15
"""Of every agent."""

FEATURES = ("coverage", "collisions", "nearest", "apart", "speed", "effort")
"""Of a step, at its end: minus the sum over landmarks of the distance to whoever is nearest, the same for all; how many
others one touches; one's distance to the nearest landmark; one's mean distance to the others; one's speed; the square
of one's push, 1 for the largest along one axis. The game pays for the first two only."""

ACTIONS = ("stay", "left", "right", "down", "up")


class SpreadState(eqx.Module):
    """Attributes:
    place, velocity: of each agent, in units in which the arena at the start is [-1, 1]², and per second.
    landmark: places.
    time: steps so far.
    """

    place: Float[Array, "agent 2"]
    velocity: Float[Array, "agent 2"]
    landmark: Float[Array, "landmark 2"]
    time: Int[Array, ""]
