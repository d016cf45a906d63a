"""The two-agent grid on which multi-agent learning from a learner was published (Caliskan, Chini & Maghsudi 2023)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from mairl.core.errors import InvalidGame
from mairl.games.tabular.game import TabularGame
from mairl.games.tabular.open_grid import open_grid, steps_between

SIZE = 3
CELLS = SIZE**2
ACTIONS = ("down", "up", "left", "right", "stay")


def ma_lfl_grid(
    *, reward: Literal["disjoint", "joint"] = "disjoint", horizon: int = 50, discount: float = 0.9
) -> TabularGame:
    """Two agents on a 3×3 grid, both started in cell 0, free to share cells. From the goal, cell 8, an agent goes back
    to cell 0 whatever it does. State `9 i + j`: agent 0 on cell i, agent 1 on cell j.

    Args:
        reward: paid for where the agents are, before they move. "disjoint": -d(own, goal) + d(own, other), "joint":
            -d(own, goal) - d(own, other), with d counted in moves.
    """
    if reward not in ("disjoint", "joint"):
        raise InvalidGame(f"unknown reward {reward!r}: use 'disjoint' or 'joint'")
    alone = open_grid(SIZE, ACTIONS, back_to_start=(CELLS - 1,))
    transitions = np.einsum("iax,jby->ijabxy", alone, alone)
    transitions = transitions.reshape(CELLS**2, len(ACTIONS), len(ACTIONS), CELLS**2)
    weights = np.array([-1.0, 1.0 if reward == "disjoint" else -1.0, 0.0, 0.0])
    paid = ma_lfl_features() @ weights
    table = np.broadcast_to(paid.T[:, None, None], (*transitions.shape[:-1], 2))
    return TabularGame(transitions, table, horizon=horizon, discount=discount, layout=("." * SIZE,) * SIZE)


def ma_lfl_features() -> Float[np.ndarray, "agent state feature"]:
    """Four features of each agent's place, in which both rewards are linear: moves to the goal, moves to the other
    agent, the other's moves to the goal, and whether the agent stands on the goal."""
    i, j = np.divmod(np.arange(CELLS**2), CELLS)
    between = steps_between(SIZE)
    goal = CELLS - 1

    def seen(own, other):
        return np.stack([between[own, goal], between[own, other], between[other, goal], own == goal], axis=-1)

    return np.stack([seen(i, j), seen(j, i)])
