"""Gems: its state, its actions, its fixed layout."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

ACTIONS = ("up", "down", "left", "right", "stay")
"""Names of the five actions, in order. Up is towards y = 0, the first row of a picture."""

MOVES = np.array([[0, -1], [0, 1], [-1, 0], [1, 0], [0, 0]], np.int8)
"""`[action, (x, y)]`: what each action adds to an agent's cell."""

BLUE, RED, PURPLE = 0, 1, 2
"""Colours of gems. Agent 0 is blue, agent 1 is red; purple gems need both."""

FIXED_X = (11, 6, 2, 5, 11, 2, 4, 2, 10, 13, 6, 8, 1, 9, 6, 12, 7)
FIXED_Y = (2, 12, 9, 10, 1, 3, 4, 12, 3, 4, 8, 8, 5, 10, 4, 10, 10)
"""The fixed layout: five blue, five red, five purple gems, the blue agent, the red agent."""


class GemsState(eqx.Module):
    """Where everything is. Coordinates count cells from the upper left corner.

    Attributes:
        agents: `[agent, (x, y)]`, blue then red.
        gems: `[gem, (x, y)]`, all blue ones, then all red ones, then all purple ones.
        alive: `[gem]`, not collected yet.
        time: steps played.
    """

    agents: Int[Array, "2 2"]
    gems: Int[Array, "gem 2"]
    alive: Bool[Array, " gem"]
    time: Int[Array, ""]


def fixed_layout() -> tuple[Int[Array, "2 2"], Int[Array, "gem 2"]]:
    """Cells of the agents and of the gems in the fixed layout (15 x 15 cells, 5 + 5 + 5 gems)."""
    cells = np.stack([FIXED_X, FIXED_Y], axis=-1).astype(np.int8)
    return jnp.asarray(cells[15:]), jnp.asarray(cells[:15])
