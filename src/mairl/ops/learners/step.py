"""One step of a learner by name, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mairl.ops.learners import LEARNERS
from mairl.ops.linear_game import LinearGame, centred


@cache
def compiled_step(family: str) -> Callable[..., Any]:
    """The change of the logits, as in `LEARNERS`, under `jit`. Call it under `jax.enable_x64(True)`."""
    return jax.jit(LEARNERS[family])


def next_logits(
    family: str,
    game: LinearGame,
    logits: Float[np.ndarray, "agent state action"],
    weights: Float[np.ndarray, "agent feature"],
    look_ahead: float | Float[np.ndarray, "agent other"],
) -> Float[np.ndarray, "agent state action"]:
    """The logits after one step of a learner, with mean 0 over the actions; in float64, on the host."""
    logits = centred(np.asarray(logits, np.float64))
    with jax.enable_x64(True):
        return logits + np.asarray(compiled_step(family)(game, logits, weights, look_ahead))
