"""Pictures of tabular games."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

CELL = 32
"""Pixels along a cell's side."""

BACKGROUND, LINES, WALL, ACTIVE = (246, 244, 239), (222, 219, 211), (70, 70, 78), (228, 150, 40)
AGENTS = ((38, 98, 190), (200, 55, 55))


def render_states(terminal: np.ndarray, index: int) -> UInt8[np.ndarray, "height width 3"]:
    """The states in a row: the present one filled, terminal ones with a dark frame."""
    image = _empty(1, len(terminal))
    for k, over in enumerate(terminal):
        box = image[:, k * CELL : (k + 1) * CELL]
        if over:
            box[2:-2, 2:-2] = WALL
            box[5:-5, 5:-5] = BACKGROUND
        if k == index:
            box[8:-8, 8:-8] = ACTIVE
    return image


def render_grid(layout: tuple[str, ...], index: int) -> UInt8[np.ndarray, "height width 3"]:
    """A map with walls, goals (frames) and agents (discs; half discs where they share a cell)."""
    from mairl.games.tabular.gridworld import floor

    free = floor(layout)
    image = _empty(len(layout), len(layout[0]))
    along = (np.arange(CELL) + 0.5) / CELL * 2 - 1
    u, v = np.meshgrid(along, along)

    def box(row, column):
        return image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]

    for r, line in enumerate(layout):
        for c, sign in enumerate(line):
            if sign == "#":
                box(r, c)[:] = WALL
            elif sign in "AB":
                edge = np.maximum(np.abs(u), np.abs(v))
                box(r, c)[(edge > 0.75) & (edge < 0.9)] = AGENTS["AB".index(sign)]
    places = divmod(index, len(free))
    for k, place in enumerate(places):
        half = (u < 0 if k == 0 else u >= 0) if places[0] == places[1] else np.ones_like(u, bool)
        box(*free[place])[half & (np.hypot(u, v) < 0.6)] = AGENTS[k]
    return image


def _empty(rows: int, columns: int) -> np.ndarray:
    image = np.empty((rows * CELL, columns * CELL, 3), np.uint8)
    image[:] = BACKGROUND
    image[::CELL, :] = image[:, ::CELL] = image[-1, :] = image[:, -1] = LINES
    return image
