"""What the methods say of PPO learners, as tables T2 and T3 keep it (see `mairl.algorithms.explain_ppo`).

KL(1a) is that of the policies that a method predicts with the true reward, KL(1b) with the recovered one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.explain_ppo import (
    METHODS,
    Answer,
    ByReplay,
    Case,
    ExplainsPPO,
    linear,
    to_learn_from,
)
from mairl.algorithms.ppo_paid import Payment
from mairl.core.game import MarkovGame
from mairl.metrics.explained_ppo import against_truth, predicted
from mairl.reproduce.ilola import add_rows

TRUE = "true-reward"
LESS: dict[str, ExplainsPPO] = {"i-lola-critic": ByReplay("critic"), "i-lola-play": ByReplay("play")}
"""`i-lola` without Adam's moments, and without the critics too: what knowing them is worth."""

ROWS: dict[str, ExplainsPPO] = {**METHODS, **LESS, TRUE: METHODS["i-lola"]}
"""The last is the upper bound: nothing is recovered, updates are predicted as `i-lola` does."""


def grow(folder: Path, table: str, rows: list[dict[str, Any]]) -> None:
    """Adds rows to their table; those that know less are a table of their own (`t2_less.json`)."""
    order = list(ROWS)
    for name, less in ((table, False), (f"{table}_less", True)):
        mine = [row for row in rows if (row["method"] in LESS) == less]
        if mine:
            add_rows(folder / f"{name}.json", mine, lambda row: order.index(row["method"]))


def true_weights(game: MarkovGame, case: Case) -> Float[np.ndarray, "agent feature"]:
    """What the features in the case are worth."""
    return np.asarray(game.feature_weights(), np.float64)[:, case.used]


def measure(game: MarkovGame, case: Case, row: str) -> tuple[dict[str, Any], Payment]:
    """One row's figures on one case, and its reward on the game's features, each agent's with deviation 1 in the
    fitted play."""
    true, method = true_weights(game, case), ROWS[row]
    start = time.perf_counter()
    answer = Answer(linear(true), method.next_with(case, true)) if row == TRUE else method.explain(case)
    result = {"seed": case.seed, "seconds": time.perf_counter() - start, **predicted(case, answer)}
    result |= {"kl_1a": result["kl_1b"]} if row == TRUE else against_truth(case, method, answer.payment, true)
    return result, to_learn_from(case, answer.payment)
