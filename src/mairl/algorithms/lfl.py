"""LfL: the reward of one agent from soft policy improvements (Jacq, Geist, Paiva & Pietquin 2019).

The learner moves from π to π' ∝ exp(Q_soft^π / τ). Then, with one shared r and one potential f_k a step,

    r(s, a) + f_k(s) - γ E[f_k(s')] = τ log π_{k+1}(a | s) + τ γ E[KL(π_k ‖ π_{k+1})(s')]

is linear in r and f_k. A free r(s, a) is found up to shaping, which changes no best answer; one that is tied to the
state is found itself, up to a constant. It is MA-LfL with one agent.
"""

from __future__ import annotations

from typing import Literal

from mairl.algorithms.ma_lfl import SoftImprovementReward, ma_lfl
from mairl.core.errors import InvalidGame
from mairl.data.learning_history import LearningHistory
from mairl.ops.tables import Tables


def lfl(
    tables: Tables, history: LearningHistory, *, temperature: float = 1.0, tie: Literal["state", "own"] = "state"
) -> SoftImprovementReward:
    """The reward of one learner. Arguments and errors as in `ma_lfl`.

    Raises:
        InvalidGame: a game of several agents.
    """
    if tables.num_agents != 1:
        raise InvalidGame(f"LfL explains one learner, the game has {tables.num_agents}: use ma_lfl")
    return ma_lfl(tables, history, temperature=temperature, tie=tie)
