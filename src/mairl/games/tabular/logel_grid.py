"""The grid of LOGEL (Ramponi, Drappo & Restelli 2020), one agent: a reward that is linear in the kind of the cell."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.games.tabular.game import TabularGame
from mairl.games.tabular.open_grid import open_grid

SIZE = 5
ACTIONS = ("down", "up", "left", "right")
LAYOUT = ("NNNRR", "NNNNR", "NNVNN", "PNNNN", "PPNNG")
KINDS = "RVNPG"
WEIGHTS = (0.0, -5.0, -1.0, -3.0, 7.0)
"""What a cell of each kind pays."""


def logel_grid(*, horizon: int = 20, discount: float = 0.96) -> TabularGame:
    """A 5×5 grid, started in cell 0. The goal (kind G, the far corner) leads back to the start. The reward is that of
    the kind of the cell that is left."""
    transitions = open_grid(SIZE, ACTIONS, back_to_start=(SIZE**2 - 1,))
    paid = logel_features() @ np.array(WEIGHTS)
    reward = np.repeat(paid[:, None, None], len(ACTIONS), axis=1)
    return TabularGame(transitions, reward, horizon=horizon, discount=discount)


def logel_features() -> Float[np.ndarray, "state feature"]:
    """One-hot kind of every cell, in the order of `KINDS`. They sum to 1: a constant cannot be told."""
    kinds = [KINDS.index(sign) for line in LAYOUT for sign in line]
    return np.eye(len(KINDS))[kinds]
