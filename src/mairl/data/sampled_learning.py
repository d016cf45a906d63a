"""Histories of agents that learn from samples, in games that are tables."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
from jaxtyping import Float

from mairl.core.errors import InvalidData, Unsupported
from mairl.data.demonstrations import Metadata
from mairl.data.learning_history import LearningHistory, learning_history
from mairl.ops.linear_game import LinearGame, centred
from mairl.ops.sampled import SAMPLED


def sampled_learning(
    game: LinearGame,
    learner: str,
    weights: Float[np.ndarray, "agent feature"],
    look_ahead: float,
    *,
    transitions: int,
    episodes: int,
    horizon: int,
    seed: int,
    metadata: Metadata = Metadata(),
) -> LearningHistory:
    """Joint policies of agents whose steps come from play, from random policies.

    Args:
        learner: a name in `mairl.ops.sampled.SAMPLED`.
        weights, look_ahead: u and λ: rewards times step sizes.
        episodes, horizon: what each step is estimated from.

    Raises:
        Unsupported: an unknown learner.
        InvalidData: no transition, fewer than two episodes, or policies that are not finite any more.
    """
    if learner not in SAMPLED:
        raise Unsupported(f"unknown learner {learner!r}; there are {', '.join(SAMPLED)}")
    if transitions < 1 or episodes < 2 or horizon < 1:
        raise InvalidData(
            f"{transitions} learning steps of {episodes} episodes of {horizon}: give at least 1, 2 (halves are kept "
            "apart) and 1"
        )
    shape = (game.num_agents, game.num_states, game.num_actions)
    logits = [centred(np.random.default_rng(seed).normal(size=shape))]
    for k in range(transitions):
        key = jax.random.fold_in(jax.random.key(seed), k)
        with jax.enable_x64(True):
            move = _step(learner, episodes, horizon)(key, game, logits[-1], weights, look_ahead)
            logits.append(logits[-1] + np.asarray(move))
        if not np.all(np.isfinite(logits[-1])):
            raise InvalidData(f"after {k + 1} steps policies are not finite: take smaller steps or look less ahead")
    return learning_history(np.stack(logits), metadata=metadata)


@cache
def _step(learner: str, episodes: int, horizon: int):
    def one(key, *arguments):
        return SAMPLED[learner](key, *arguments, episodes=episodes, horizon=horizon)

    return jax.jit(one)
