"""Moves on a square grid without walls inside: what several published grids share."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1), "stay": (0, 0)}
"""(row, column) of each action."""


def open_grid(
    size: int, actions: tuple[str, ...], back_to_start: tuple[int, ...]
) -> Float[np.ndarray, "cell action next"]:
    """Where each action leads: `[cell, action, cell]`, 0 or 1. The border stops; cells are counted along the rows.

    Args:
        actions: names among `MOVES`.
        back_to_start: cells from which every action leads to cell 0.
    """
    row, column = np.divmod(np.arange(size**2), size)
    moves = np.array([MOVES[name] for name in actions])
    rows = np.clip(row[:, None] + moves[:, 0], 0, size - 1)
    columns = np.clip(column[:, None] + moves[:, 1], 0, size - 1)
    target = rows * size + columns
    target[list(back_to_start)] = 0
    return np.eye(size**2)[target]


def steps_between(size: int) -> Float[np.ndarray, "cell cell"]:
    """How many moves lie between every two cells (their L1 distance)."""
    row, column = np.divmod(np.arange(size**2), size)
    return np.abs(row[:, None] - row) + np.abs(column[:, None] - column).astype(np.float64)
