"""Where a joint policy goes: exact visit counts of small Markov games, in float64 on the host."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.core.errors import Unsupported
from mairl.ops.tables import Tables, check_policies, joint_policy


def state_occupancy(
    tables: Tables,
    policies: Float[np.ndarray, "agent state action"],
    *,
    horizon: int | None = None,
    discount: float | None = None,
    normalise: bool = True,
) -> Float[np.ndarray, " state"]:
    """ρ(s) = Σ_t γᵗ P(s_t = s and the game is on). Terminal states, where nobody acts, count 0.

    Args:
        horizon: count t < horizon only (None: for ever).
        discount: γ; the game's own by default. 1 counts steps, as recordings do.
        normalise: scale to a sum of 1; otherwise the sum is the (discounted) mean length of an episode.
    """
    policies = check_policies(tables, policies)
    states = tables.num_states
    gamma = tables.discount if discount is None else discount
    joint = joint_policy(policies).reshape(states, -1)
    alive = ~tables.terminal
    # Nothing goes on from a terminal state, nor into one.
    flow = np.einsum("sj,sjt->st", joint, tables.flow.reshape(states, -1, states)) * alive[:, None]
    if horizon is None:
        try:
            visits = np.linalg.solve(np.eye(states) - gamma * flow.T, tables.start)
        except np.linalg.LinAlgError:
            visits = np.full(states, np.inf)
        if not np.all(np.isfinite(visits)) or visits.min() < -1e-6 * np.abs(visits).max():
            raise Unsupported(f"at discount {gamma} play may never end: lower the discount, or give a horizon")
        visits = np.maximum(visits, 0)
    else:
        visits, now = np.zeros(states), np.array(tables.start, np.float64)
        for _ in range(horizon):
            visits += now
            now = gamma * flow.T @ now
    return visits / visits.sum() if normalise else visits


def joint_occupancy(
    tables: Tables, policies: Float[np.ndarray, "agent state action"], **options
) -> Float[np.ndarray, " state *joint"]:
    """ρ(s, a) = ρ(s) Π_i π_i(a_i | s), `[S, A_1 … A_n]`. Options as in `state_occupancy`."""
    visits = state_occupancy(tables, policies, **options)
    joint = joint_policy(check_policies(tables, policies))
    return joint * visits.reshape(-1, *[1] * (joint.ndim - 1))


def own_occupancy(
    tables: Tables, policies: Float[np.ndarray, "agent state action"], **options
) -> Float[np.ndarray, "agent state action"]:
    """ρ_i(s, a_i) = ρ(s) π_i(a_i | s) of each agent. Options as in `state_occupancy`."""
    return check_policies(tables, policies) * state_occupancy(tables, policies, **options)[:, None]
