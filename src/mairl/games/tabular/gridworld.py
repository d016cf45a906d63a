"""Two agents that must pass each other on a small grid, as a tabular game."""

from __future__ import annotations

import numpy as np

from mairl.core.errors import InvalidGame
from mairl.games.tabular.game import TabularGame

CORRIDOR = ("a..b", ".##.", "B..A")
"""The default map: a ring with two ways round, on which the agents may meet."""

ACTIONS = ("up", "down", "left", "right", "stay")
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))
"""(row, column) of each action."""


def gridworld(
    layout: tuple[str, ...] | list[str] = CORRIDOR,
    *,
    arrival_reward: float = 1.0,
    step_cost: float = 0.1,
    bump_cost: float = 0.2,
    slip: float = 0.0,
    horizon: int = 30,
    discount: float = 0.9,
) -> TabularGame:
    """Each agent walks to its goal; the game is over when both are there.

    Actions: up, down, left, right, stay. Walls stop an agent. Agents that want the same cell, or to swap, both stay
    and pay. State `i * cells + j` means agent 0 on cell i and agent 1 on cell j, cells counted along the rows.

    Args:
        layout: lines of equal length: `#` wall, `.` floor, `a`, `b` starts and `A`, `B` goals of agents 0 and 1.
        arrival_reward: to both, when both have arrived.
        step_cost: of each step to an agent that does not stand on its goal after it.
        bump_cost: to both, for wanting the same cell or to swap.
        slip: probability with which each agent's action becomes "stay", independently.

    Raises:
        InvalidGame: a map with lines of unequal length, unknown signs, or without one start and one goal each.
    """
    layout = tuple(layout)
    text = "".join(layout)
    if len({len(line) for line in layout}) != 1 or set(text) - set("#.abAB") or any(text.count(c) != 1 for c in "abAB"):
        raise InvalidGame(f"a map needs equally long lines of '#.' and one each of a, b, A, B; got {list(layout)}")
    if not 0 <= slip < 1:
        raise InvalidGame(f"slip is a probability below 1, got {slip}")
    free = floor(layout)
    number = {cell: k for k, cell in enumerate(free)}
    marks = {layout[r][c]: number[r, c] for r, c in free if layout[r][c] != "."}
    cells, states, actions = len(free), len(free) ** 2, len(MOVES)
    target = np.array([[number.get((r + dr, c + dc), number[r, c]) for dr, dc in MOVES] for r, c in free])
    # Both intended cells of every state and joint action.
    i, j = np.divmod(np.arange(states), cells)
    want_i, want_j = np.broadcast_arrays(target[i][:, :, None], target[j][:, None, :])
    now_i, now_j = i[:, None, None], j[:, None, None]
    bump = (want_i == want_j) | ((want_i == now_j) & (want_j == now_i) & (now_i != now_j))
    next_i, next_j = np.where(bump, now_i, want_i), np.where(bump, now_j, want_j)
    home = np.stack([next_i == marks["A"], next_j == marks["B"]], axis=-1)
    paid = arrival_reward * home.all(axis=-1, keepdims=True) - step_cost * ~home - bump_cost * bump[..., None]
    moves = np.eye(states)[next_i * cells + next_j]
    slips = (1 - slip) * np.eye(actions) + slip * np.eye(actions)[[actions - 1] * actions]
    transitions = np.einsum("ax,by,sxyt->sabt", slips, slips, moves)
    reward = np.einsum("ax,by,sxyn->sabn", slips, slips, paid)
    start = np.eye(states)[marks["a"] * cells + marks["b"]]
    terminal = np.arange(states) == marks["A"] * cells + marks["B"]
    return TabularGame(transitions, reward, start, terminal, horizon=horizon, discount=discount, layout=layout)


def floor(layout: tuple[str, ...]) -> list[tuple[int, int]]:
    """(row, column) of each cell that is no wall, in the order of their numbers."""
    return [(r, c) for r, line in enumerate(layout) for c, sign in enumerate(line) if sign != "#"]
