"""The iterated prisoner's dilemma with one step of memory, where learners that shape each other first stood out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.games.tabular.game import TabularGame

PAYOFF = np.array([[[-1.0, -1.0], [-3.0, 0.0]], [[0.0, -3.0], [-2.0, -2.0]]])
"""`[own, other, agent]` for cooperate, defect (Foerster et al. 2018, Table 1)."""


def iterated_dilemma(*, horizon: int = 50, discount: float = 0.96) -> TabularGame:
    """Actions: cooperate, defect. State 0 is the start; state 1 + 2 a + b follows on agent 0's action a and agent 1's
    action b, so that a policy is an answer to what was done last."""
    states = 5
    transitions = np.zeros((states, 2, 2, states))
    for a in range(2):
        for b in range(2):
            transitions[:, a, b, 1 + 2 * a + b] = 1
    reward = np.repeat(PAYOFF[None], states, axis=0)
    return TabularGame(transitions, reward, horizon=horizon, discount=discount)


def iterated_dilemma_features() -> Float[np.ndarray, "state own other agent feature"]:
    """One feature for each outcome of a step: the payoffs are their weights, `PAYOFF[..., i].ravel()`."""
    outcomes = np.eye(4).reshape(2, 2, 1, 4)
    return np.array(np.broadcast_to(outcomes, (5, 2, 2, 2, 4)))
