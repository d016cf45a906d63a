"""Matrix games: one state, played again and again until the horizon."""

from __future__ import annotations

import numpy as np

from mairl.games.tabular.game import TabularGame


def matrix_game(payoff, *, horizon: int = 10, discount: float = 0.9) -> TabularGame:
    """A repeated game. `payoff` is `[A_1 … A_n, n]`: what each agent is paid for a joint action."""
    reward = np.asarray(payoff, np.float64)[None]
    transitions = np.ones((*reward.shape[:-1], 1))
    return TabularGame(transitions, reward, horizon=horizon, discount=discount)


def prisoners_dilemma(*, horizon: int = 10, discount: float = 0.9) -> TabularGame:
    """Actions: cooperate, defect. Defecting dominates (5 or 1, against 3 or 0), though both would have 3."""
    return matrix_game([[[3, 3], [0, 5]], [[5, 0], [1, 1]]], horizon=horizon, discount=discount)


def stag_hunt(*, horizon: int = 10, discount: float = 0.9) -> TabularGame:
    """Actions: stag, hare. Both stag pays 4 each, a hare 3 (whatever the other does), stag alone 0."""
    return matrix_game([[[4, 4], [0, 3]], [[3, 0], [3, 3]]], horizon=horizon, discount=discount)


def coordination(num_actions: int = 2, *, horizon: int = 10, discount: float = 0.9) -> TabularGame:
    """Both are paid 1 if they choose the same action, else 0."""
    return matrix_game(np.repeat(np.eye(num_actions)[..., None], 2, axis=-1), horizon=horizon, discount=discount)


def matching_pennies(*, horizon: int = 10, discount: float = 0.9) -> TabularGame:
    """Agent 0 is paid 1 if both choose alike and -1 if not; agent 1 the opposite. Optimal play is uniform."""
    return matrix_game([[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]], horizon=horizon, discount=discount)
