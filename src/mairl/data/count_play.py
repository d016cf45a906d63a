"""Long play of tables on the host, of which only the counts of actions are kept."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.ops.tables import Tables


def count_play(
    tables: Tables,
    policies: Float[np.ndarray, "agent state action"],
    *,
    episodes: int,
    steps: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "agent state action"]:
    """How often each agent takes each action in each state, over `episodes` of `steps` each; an end ends an episode.

    Args:
        policies: probabilities.
    """
    agents, states, actions = policies.shape
    ladders = np.cumsum(policies, axis=-1)[..., :-1]
    joint = tables.transitions.reshape(-1, states)
    # Where moves are certain, which many tables are, the next state is read off.
    certain = np.argmax(joint, axis=-1) if np.all(joint.max(axis=-1) == 1) else None
    stairs = None if certain is not None else np.cumsum(joint, axis=-1)[:, :-1]
    state = rng.choice(states, size=episodes, p=tables.start)
    counts = np.zeros((agents, states * actions))
    for _ in range(steps):
        code = state
        for i in range(agents):
            action = np.sum(rng.random((episodes, 1)) >= ladders[i][state], axis=-1)
            counts[i] += np.bincount(state * actions + action, minlength=states * actions)
            code = code * actions + action
        if certain is not None:
            state = certain[code]
        elif stairs is not None:
            state = np.sum(rng.random((len(state), 1)) >= stairs[code], axis=-1)
        state = state[~tables.terminal[state]]
        episodes = len(state)
        if not episodes:
            break
    return counts.reshape(agents, states, actions)
