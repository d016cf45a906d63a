"""Rewards as tables, for one-hot observations."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.core.reward import Reward


class TabularReward(Reward):
    """What each agent is paid for a joint action in a state of a `TabularGame`.

    Attributes:
        table: `[S, A_1 … A_n, n]`.
    """

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = True
    table: Float[Array, "*seed state *joint agent"]

    @classmethod
    def new(cls, table) -> TabularReward:
        """From numbers of any precision; kept in float32."""
        return cls(jnp.asarray(np.asarray(table), jnp.float32))

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        return self.table[(jnp.argmax(obs[0]), *(actions[i] for i in range(actions.shape[0])))]
