"""The grid of "Learning from a Learner" (Jacq et al. 2019), one agent."""

from __future__ import annotations

import numpy as np

from mairl.games.tabular.game import TabularGame
from mairl.games.tabular.open_grid import open_grid

SIZE = 5
ACTIONS = ("down", "up", "left", "right")
CENTRE, GOAL = 12, 24


def lfl_grid(*, horizon: int = 50, discount: float = 0.96) -> TabularGame:
    """A 5×5 grid, started in cell 0. The goal (far corner, 10) and the centre (-1) lead back to the start. Every other
    cell costs 1, but for two traps: the corner to the right of the start costs 12, the one below it nothing. The reward
    is that of the cell that is left.
    """
    paid = np.full(SIZE**2, -1.0)
    paid[[SIZE - 1, SIZE * (SIZE - 1), GOAL]] = -12, 0, 10
    transitions = open_grid(SIZE, ACTIONS, back_to_start=(CENTRE, GOAL))
    reward = np.repeat(paid[:, None, None], len(ACTIONS), axis=1)
    return TabularGame(transitions, reward, horizon=horizon, discount=discount)
