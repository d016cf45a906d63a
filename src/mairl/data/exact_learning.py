"""Histories of agents that learn exactly, in games that are tables."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.core.errors import InvalidData, Unsupported
from mairl.data.demonstrations import Metadata
from mairl.data.learning_history import LearningHistory, learning_history
from mairl.ops.learners import LEARNERS
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame, centred


def exact_learning(
    game: LinearGame,
    learner: str,
    weights: Float[np.ndarray, "agent feature"],
    look_ahead: float,
    *,
    transitions: int,
    seed: int,
    spread: float = 1.0,
    metadata: Metadata = Metadata(),
) -> LearningHistory:
    """Joint policies of agents that learn without noise, from random ones.

    Args:
        learner: a name in `mairl.ops.learners.LEARNERS`.
        weights, look_ahead: u and λ as there: rewards times step sizes.
        transitions: learning steps, at least one.
        spread: standard deviation of the first logits.

    Raises:
        Unsupported: an unknown learner.
        InvalidData: no transition, or policies that are not finite any more.
    """
    if learner not in LEARNERS:
        raise Unsupported(f"unknown learner {learner!r}; there are {', '.join(LEARNERS)}")
    if transitions < 1:
        raise InvalidData(f"{transitions} learning steps: agents must change at least once to be learned from")
    rng = np.random.default_rng(seed)
    logits = [centred(spread * rng.normal(size=(game.num_agents, game.num_states, game.num_actions)))]
    for step in range(transitions):
        logits.append(next_logits(learner, game, logits[-1], weights, look_ahead))
        if not np.all(np.isfinite(logits[-1])):
            raise InvalidData(f"after {step + 1} steps policies are not finite: take smaller steps or look less ahead")
    return learning_history(np.stack(logits), metadata=metadata)
