"""Tabular policies from what was done: counts of actions, cloned snapshot after snapshot."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float

from mairl.core.errors import InvalidData
from mairl.data.demonstrations import Demonstrations
from mairl.data.learning_history import LearningHistory

PRIOR = 1.0
"""Samples of each state that the policy before counts for (of the first snapshot: uniform play)."""


def action_counts(
    history: LearningHistory, num_states: int, num_actions: int
) -> Float[np.ndarray, "step agent state action"]:
    """How often each agent of each snapshot took each action in each state.

    Raises:
        InvalidData: no recordings, or recordings of no table.
    """
    if not history.trajectories:
        raise InvalidData("the history has no recordings: record some of every snapshot, or give its policies")
    return np.stack([_counts(play, num_states, num_actions) for play in history.trajectories])


def state_indices(play: Demonstrations) -> np.ndarray:
    """`[episode, time]`, the state before each step of a recording of a table.

    Raises:
        InvalidData: a recording of another game.
    """
    index = getattr(play.state, "index", None)
    if index is not None:
        return np.asarray(index)[:, :-1]
    leaves = jax.tree.leaves(play.obs)
    if len(leaves) != 1 or leaves[0].ndim != 4:
        raise InvalidData("recordings of tables hold states, or what agents see as one-hot vectors: this holds neither")
    return np.argmax(np.asarray(leaves[0])[:, :-1, 0], axis=-1)


def _counts(play: Demonstrations, num_states: int, num_actions: int):
    where, mask, actions = state_indices(play), np.asarray(play.mask), np.asarray(play.actions)
    if where.max() >= num_states or (actions.ndim == 3 and actions.max() >= num_actions) or actions.ndim != 3:
        raise InvalidData(
            f"the recordings hold states up to {where.max()} and actions of shape {actions.shape}, the game has "
            f"{num_states} states and {num_actions} actions: name the game that was recorded"
        )
    counts = np.zeros((play.num_agents, num_states, num_actions))
    for agent in range(play.num_agents):
        here = mask[..., agent]
        np.add.at(counts[agent], (where[here], actions[..., agent][here]), 1)
    return counts


def cloned(
    counts: Float[np.ndarray, "step agent state action"], prior: float = PRIOR
) -> Float[np.ndarray, "step agent state action"]:
    """Centred logits of the most likely policies, each started from the one before.

    The prior of a snapshot is Dirichlet, around the policy before it: π_t = (n_t + prior π_{t-1}) / (N_t + prior).
    Where nothing was seen nothing changes.

    Raises:
        InvalidData: a prior that is not positive: actions that were never seen would have no logit.
    """
    if prior <= 0:
        raise InvalidData(f"the prior must be positive, got {prior}: actions that were never seen have no logit else")
    policy = np.full(counts.shape[1:], 1 / counts.shape[-1])
    found = []
    for seen in counts:
        policy = (seen + prior * policy) / (seen.sum(axis=-1, keepdims=True) + prior)
        found.append(np.log(policy))
    logits = np.stack(found)
    return logits - logits.mean(axis=-1, keepdims=True)
