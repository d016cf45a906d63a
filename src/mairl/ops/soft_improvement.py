"""What one step of soft policy improvement says about the reward: equations that are linear in it.

Dividing by the temperature τ and taking the normaliser out of π' = softmax(Q̄ / τ) leaves, for every state s and own
action a of an agent (Jacq et al. 2019; Caliskan, Chini & Maghsudi 2023),

    E_{a_-i}[r(s, a)] + f(s) - γ E_{a_-i, s'}[f(s')] = Y(s, a_i)
    Y(s, a_i) = τ log π'_i(a_i | s) + τ γ E_{a_-i, s'}[KL(π_i(s') ‖ π'_i(s'))],   f = -τ log Σ_a exp(Q̄ / τ),

where the others play their old policies. f is an unknown potential, another one at each step. Rows of terminal states
are no equations: nothing is done there.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.ops.tables import Tables, expect_others


def improvement_target(
    tables: Tables,
    before: Float[np.ndarray, "agent state action"],
    after: Float[np.ndarray, "agent state action"],
    agent: int,
    temperature: float,
) -> Float[np.ndarray, "state action"]:
    """Y of one agent, from everybody's log-policies before and its own after the step."""
    policies = np.exp(before)
    divergence = np.sum(policies[agent] * (before[agent] - after[agent]), axis=-1)
    ahead = expect_others(tables.flow, policies, agent) @ divergence
    return temperature * (after[agent] + tables.discount * ahead)


def shaping_design(
    tables: Tables, before: Float[np.ndarray, "agent state action"], agent: int
) -> Float[np.ndarray, "row state"]:
    """What multiplies the potential: rows (state, own action) of f(s) - γ E[f(s')]."""
    states = tables.num_states
    ahead = expect_others(tables.flow, np.exp(before), agent)
    here = np.eye(states)[:, None, :]
    return (here - tables.discount * ahead).reshape(-1, states)


def reward_design(
    before: Float[np.ndarray, "agent state action"], agent: int, tie: str
) -> Float[np.ndarray, "row unknown"]:
    """What multiplies the reward's table: rows (state, own action), columns as `tie` says.

    Args:
        tie: "state": r(s); "own": r(s, a_i); "joint": r(s, a_1 … a_n), columns in C order.
    """
    agents, states, actions = before.shape
    rows = states * actions
    if tie == "state":
        return np.repeat(np.eye(states), actions, axis=0)
    if tie == "own":
        return np.eye(rows)
    policies = np.exp(before)
    # [state, own action, joint]: the chance of each joint action, given the own one.
    chance = np.ones((states, actions, 1))
    for other in range(agents):
        factor = np.eye(actions)[None] if other == agent else policies[other][:, None, :]
        chance = (chance[..., None] * factor[:, :, None, :]).reshape(states, actions, -1)
    joint = chance.shape[-1]
    design = np.zeros((states, actions, states, joint))
    design[np.arange(states), :, np.arange(states)] = chance
    return design.reshape(rows, states * joint)
