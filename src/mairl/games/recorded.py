"""A game known only from its recordings: enough of one for learners that never step it."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree

from mairl.core.errors import InvalidGame, Unsupported
from mairl.core.game import MarkovGame, State, TimeStep
from mairl.core.spaces import ActionSpace, Box, Discrete
from mairl.data.demonstrations import Demonstrations

_REMEDY = "name the game it was recorded in, or use a learner that needs recordings only"


class RecordedGame(MarkovGame):
    """Shapes and sizes of the game behind a recording. It cannot be reset or stepped.

    Attributes:
        num_agents: agents in the recording.
        action_space: see `of`.
        observation_spec: one agent's observation.
        horizon: the longest recorded episode.
    """

    num_agents: int
    action_space: ActionSpace
    observation_spec: PyTree[jax.ShapeDtypeStruct]
    horizon: int
    pure = False

    @classmethod
    def of(cls, data: Demonstrations, action_space: ActionSpace | None = None) -> RecordedGame:
        """Derives the game from a recording that holds observations.

        Args:
            action_space: if None: the recording's own; where it has none, as many actions as the action mask has, else
                the largest recorded action + 1; for vector actions, the smallest and the largest recorded component.

        Raises:
            InvalidGame: the recording holds game states only, from which nothing can be observed.
        """
        if data.obs is None:
            raise InvalidGame(
                f"the recording holds states of {data.metadata.game or 'an unnamed game'} but no observations: "
                "name the game it was recorded in"
            )
        spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[3:], x.dtype), data.obs)
        space = action_space or data.action_space or _space(data)
        return cls(data.num_agents, space, spec, int(np.max(np.asarray(data.lengths))))

    def reset(self, key: Key[Array, ""]) -> tuple[State, PyTree[Array]]:
        """Raises `Unsupported`."""
        raise Unsupported(f"a recorded game cannot be played: {_REMEDY}")

    def step(self, key: Key[Array, ""], state: State, actions: Array) -> tuple[State, TimeStep]:
        """Raises `Unsupported`."""
        raise Unsupported(f"a recorded game cannot be played: {_REMEDY}")

    def observe(self, state: State) -> PyTree[Array]:
        """Raises `Unsupported`."""
        raise Unsupported(f"a recorded game cannot be observed: {_REMEDY}")

    def state_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """Raises `Unsupported`."""
        raise Unsupported(f"a recorded game has no states: {_REMEDY}")

    def action_mask(self, state: State) -> Bool[Array, "agent action"] | None:
        """None: masks of recorded steps travel with the steps."""
        return None


def _space(data: Demonstrations) -> ActionSpace:
    actions, mask = np.asarray(data.actions), np.asarray(data.mask)
    if actions.ndim == 3:
        allowed = data.action_mask
        return Discrete(allowed.shape[-1] if allowed is not None else int(actions[mask].max(initial=0)) + 1)
    seen = actions[mask]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (-1.0, 1.0)
    if low == high:
        low, high = low - 1.0, high + 1.0
    return Box(actions.shape[-1], low, high)
