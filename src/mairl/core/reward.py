"""Recovered rewards: functions of a step, one value per agent."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree


class Reward(eqx.Module):
    """What each agent was paid for a step, as recovered. Unbatched; `vmap` at the call.

    Attributes:
        uses_next: whether the value depends on `next_obs` (a shaped reward does).
        uses_others: whether agent i's value depends on the other agents' actions (a joint reward does).
    """

    uses_next: eqx.AbstractClassVar[bool]
    uses_others: eqx.AbstractClassVar[bool]

    def __call__(
        self,
        obs: PyTree[Array],
        actions: Array,
        next_obs: PyTree[Array],
        terminated: Array,
        action_mask: Bool[Array, "agent action"] | None = None,
        next_action_mask: Bool[Array, "agent action"] | None = None,
    ) -> Float[Array, " agent"]:
        """The reward of each agent.

        Args:
            obs: leaves `[agent, ...]`, before the step.
            actions: the joint action, `[agent]` or `[agent, size]`.
            next_obs: leaves `[agent, ...]`, after the step (ignored unless `uses_next`).
            terminated: `[agent]`, the future after the step is worth 0 (ignored unless `uses_next`).
            action_mask, next_action_mask: allowed actions before and after the step, all if None: for rewards that
                average over what may be done.
        """
        raise NotImplementedError
