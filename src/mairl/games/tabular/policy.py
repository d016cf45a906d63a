"""Policies as tables, for one-hot observations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.core.arrays import on_device
from mairl.core.policy import DiscretePolicy


class TabularPolicy(DiscretePolicy):
    """Plays given probabilities in a `TabularGame`: exact equilibria as experts.

    Attributes:
        log_table: `[agent, state, action]` log-probabilities (nats), -inf where an action is never played.
    """

    log_table: Float[Array, "agent state action"]

    @classmethod
    def new(cls, policies) -> TabularPolicy:
        """From probabilities `[agent, state, action]`."""
        with np.errstate(divide="ignore"):
            return cls(on_device(np.log(np.asarray(policies, np.float64)), jnp.float32))

    def logits(self, obs: Float[Array, "agent state"]) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.logits`."""
        return jax.vmap(lambda table, seen: table[jnp.argmax(seen)])(self.log_table, obs)
