"""Naive learners whose step sizes change, as another explanation of what looks like anticipation.

A learner with α_t = α_0 / (1 + t) leaves much unexplained at constant α; families that look ahead take up some of it.
LOGEL with unknown steps has an own size for every step and agent. What was not fitted is judged by the direction of the
changes, since sizes of other steps say nothing of theirs.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.algorithms.family_search import share
from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.logel import gradient_jacobians
from mairl.algorithms.recovered import Recovered
from mairl.core.errors import Unsupported
from mairl.data.learning_history import LearningHistory
from mairl.ops.linear_game import LinearGame

ENOUGH = 2
"""Equations for each unknown: with fewer, changing sizes explain any learner."""


def changing_steps(
    game: LinearGame,
    fitted: LearningHistory,
    logits: Float[np.ndarray, "snapshot agent state action"],
    validation: int,
) -> Recovered | None:
    """Naive learners with a size for every step, or None where no such sizes are found or could be told.

    Args:
        fitted: the transitions that are fitted.
        logits: all snapshots; the last `validation` transitions are predicted, their sizes are not.
    """
    try:
        found = i_logel(game, fitted, known=False)
    except Unsupported:
        return None
    steps, directions = fitted.num_snapshots - 1, game.num_states * (game.num_actions - 1)
    if steps * directions < ENOUGH * (steps + max(found.rank)) or found.step_sizes is None:
        return None
    gains = gradient_jacobians(game, logits[-1 - validation : -1])
    changes = np.diff(logits[-1 - validation :], axis=0).reshape(*gains.shape[:3])
    pushes = np.einsum("tirk,ik->tir", gains, found.weights)
    sizes = np.sum(changes * pushes, axis=-1) / np.maximum(np.sum(pushes**2, axis=-1), 1e-300)
    rest = changes - np.maximum(sizes, 0.0)[..., None] * pushes
    moved = [k for k in range(game.num_agents) if found.rank[k]]
    first, last = found.step_sizes[0, moved], found.step_sizes[-1, moved]
    told = "; ".join(f"agent {k}: {a:.3g} first, {b:.3g} last" for k, a, b in zip(moved, first, last))
    return dataclasses.replace(
        found,
        held_out=share(rest, changes, np.diff(fitted.logits(), axis=0)),
        notes=(
            *found.notes,
            f"step sizes change, in units of the agent's mean ({told}); the held-out error is that of the direction",
        ),
    )
