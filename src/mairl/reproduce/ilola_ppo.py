"""What the methods say of PPO learners, as tables T2 and T3 keep it (see `mairl.algorithms.explain_ppo`).

KL(1a) is that of the policies that a method predicts with the true reward, KL(1b) with the recovered one. What more
than the play would be worth to `i-lola` is beside it, in `levels`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.explain_ppo import (
    METHODS,
    Answer,
    ByGradients,
    ByReplay,
    Case,
    ExplainsPPO,
    linear,
    to_learn_from,
)
from mairl.algorithms.ppo_paid import Payment
from mairl.core.game import MarkovGame
from mairl.metrics.explained_ppo import against_truth, predicted
from mairl.metrics.learning import skill

TRUE = "true-reward"
ROWS = (*METHODS, TRUE)
"""The last is the upper bound: nothing is recovered, updates are predicted as `i-lola` does."""

LEVELS: dict[str, ExplainsPPO] = {
    "effective": ByGradients("effective"),
    "critic": ByReplay("critic"),
    "all": ByReplay("all"),
}
"""What is known of the learner, beside "play", which is `i-lola`'s own: as little to first order, or more."""


def true_weights(game: MarkovGame, case: Case) -> Float[np.ndarray, "agent feature"]:
    """What the features in the case are worth."""
    return np.asarray(game.feature_weights(), np.float64)[:, case.used]


def measure(game: MarkovGame, case: Case, row: str) -> tuple[dict[str, Any], Payment]:
    """One row's figures on one case, and its reward on the game's features, each agent's with deviation 1 in the
    fitted play."""
    true = true_weights(game, case)
    start = time.perf_counter()
    if row == TRUE:
        method = METHODS["i-lola"]
        answer = Answer(linear(true), method.next_with(case, true))
    else:
        method = METHODS[row]
        answer = method.explain(case)
    result = {"seed": case.seed, "seconds": time.perf_counter() - start, **predicted(case, answer)}
    result |= against_truth(case, method, answer.payment, true)
    if row == "i-lola":
        explained = {"play": (method, answer)} | {name: (level, level.explain(case)) for name, level in LEVELS.items()}
        result["levels"] = {name: _level(case, *one, true) for name, one in explained.items()}
    return result, to_learn_from(case, answer.payment)


def _level(case: Case, method: ExplainsPPO, answer: Answer, true) -> dict[str, Any]:
    """One level of knowledge, in short."""
    figures = {**predicted(case, answer), **against_truth(case, method, answer.payment, true)}
    return {
        "skill_1a": skill(figures["kl_1a"], figures["kl_0"]),
        "skill_1b": skill(figures["kl_1b"], figures["kl_0"]),
        "cosine": figures["cosine"],
        "relative_residual": figures["relative_residual"],
    }
