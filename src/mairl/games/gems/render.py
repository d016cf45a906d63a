"""A picture of a Gems state."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from mairl.games.gems.types import BLUE, PURPLE, RED, GemsState

CELL = 24
"""Pixels along a cell's side."""

BACKGROUND, LINES, OUTLINE = (246, 244, 239), (222, 219, 211), (40, 40, 46)
COLOURS = {BLUE: (38, 98, 190), RED: (200, 55, 55), PURPLE: (132, 62, 172)}


def render(game, state: GemsState) -> UInt8[np.ndarray, "height width 3"]:
    """Gems are diamonds, agents are discs; two agents in one cell share it as half discs."""
    size = game.size
    image = np.empty((size * CELL, size * CELL, 3), np.uint8)
    image[:] = BACKGROUND
    image[::CELL, :] = image[:, ::CELL] = image[-1, :] = image[:, -1] = LINES
    along = (np.arange(CELL) + 0.5) / CELL * 2 - 1
    u, v = np.meshgrid(along, along)
    radius = np.hypot(u, v)

    def paint(cell, where, colour):
        x, y = (int(c) for c in cell)
        image[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL][where] = colour

    for cell, alive, colour in zip(np.asarray(state.gems), np.asarray(state.alive), game.colours):
        if alive:
            paint(cell, np.abs(u) + np.abs(v) < 0.72, OUTLINE)
            paint(cell, np.abs(u) + np.abs(v) < 0.58, COLOURS[int(colour)])
    agents = np.asarray(state.agents)
    shared = bool((agents[0] == agents[1]).all())
    for i, colour in enumerate((BLUE, RED)):
        half = (u < 0 if i == 0 else u >= 0) if shared else np.ones_like(u, bool)
        # A ring rather than a full disc, so that a gem under the agent stays visible.
        paint(agents[i], half & (radius < 0.95) & (radius > 0.5), OUTLINE)
        paint(agents[i], half & (radius < 0.88) & (radius > 0.57), COLOURS[colour])
    return image
