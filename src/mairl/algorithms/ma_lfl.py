"""MA-LfL: rewards of several agents that improve their policies softly and all at once (Caliskan et al. 2023).

    minimise over r_i and one potential f_h a step   Σ_h ‖E_{a_-i ~ π_-i^h}[r_i + f_h(s) - γ f_h(s')] - Y_i^h‖²

with Y_i^h known from two successive policies (`mairl.ops.soft_improvement`). For each agent:

    take f_h out of each step's equations (project on what no potential can reach);
    solve the rest for r_i, the shortest of all solutions.

A free reward r(s, a_1 … a_n) is not determined by any number of steps: what the others do at random is never told from
what they could do. Tied to the state it is determined, up to a constant and up to shaping that the tie allows.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

import numpy as np
from jaxtyping import Float

from mairl.algorithms.logel import check_moved
from mairl.algorithms.recovered import open_directions
from mairl.core.errors import InvalidGame, Unsupported
from mairl.data.learning_history import LearningHistory
from mairl.ops.least_squares import least_squares
from mairl.ops.soft_improvement import improvement_target, reward_design, shaping_design
from mairl.ops.tables import Tables

Tie = Literal["state", "own", "joint"]


@dataclasses.dataclass(frozen=True)
class SoftImprovementReward:
    """Rewards that explain soft policy improvement.

    Attributes:
        rewards: `[S, A_1 … A_n, n]`, in the units of the temperature that was given.
        tie: what they were allowed to depend on.
        relative_residual: Σ‖left - Y‖² / Σ‖Y‖², both without what a potential can reach.
        rank: `[agent]` of how many directions of the reward are told, of `unknowns`.
        null_space: for each agent `[unknown, free]`, an orthonormal basis of those that are not.
        notes: what the user should know, in sentences.
    """

    rewards: Float[np.ndarray, "state *joint agent"]
    tie: Tie
    relative_residual: float
    rank: tuple[int, ...]
    null_space: tuple[Float[np.ndarray, "unknown free"], ...]
    notes: tuple[str, ...] = ()

    @property
    def unknowns(self) -> int:
        """How many numbers each agent's reward consists of."""
        return len(self.null_space[0])


def ma_lfl(
    tables: Tables, history: LearningHistory, *, temperature: float = 1.0, tie: Tie = "state"
) -> SoftImprovementReward:
    """One reward for each agent.

    Args:
        tables: the game; its reward is not read.
        temperature: τ of the learners. Unknown: leave it at 1, rewards are then in units of it.
        tie: what a reward may depend on: the state, the own action too, or all actions.

    Raises:
        InvalidGame: policies of another game.
        Unsupported: a temperature that is not positive, γ = 1, or policies that do not change.
    """
    if temperature <= 0 or not tables.discount < 1:
        raise Unsupported(f"MA-LfL needs a positive temperature and γ < 1, got {temperature} and {tables.discount}")
    logits = history.logits()
    want = (tables.num_agents, tables.num_states, tables.num_actions)
    if logits.shape[1:] != want:
        raise InvalidGame(f"policies are {logits.shape[1:]} = (agents, states, actions), the game is {want}")
    check_moved(np.diff(logits, axis=0))
    top = logits.max(axis=-1, keepdims=True)
    logs = logits - top - np.log(np.sum(np.exp(logits - top), axis=-1, keepdims=True))
    shape = (tables.num_states, *[tables.num_actions] * tables.num_agents)
    rewards, spaces = np.zeros((*shape, tables.num_agents)), []
    off = size = 0.0
    for i in range(tables.num_agents):
        designs, targets = zip(
            *(_equations(tables, now, after, i, temperature, tie) for now, after in itertools.pairwise(logs))
        )
        solved = least_squares(np.concatenate(designs), target := np.concatenate(targets))
        rewards[..., i] = reward_table(solved.solution, shape, i, tie)
        spaces.append(solved.null_space)
        off += solved.relative_residual * float(target @ target)
        size += float(target @ target)
    return SoftImprovementReward(
        rewards=rewards,
        tie=tie,
        relative_residual=off / size,
        rank=tuple(len(basis) - basis.shape[1] for basis in spaces),
        null_space=tuple(spaces),
        notes=open_directions(spaces),
    )


def _equations(tables: Tables, before, after, agent: int, temperature: float, tie: Tie):
    """One step's equations for the reward alone: those combinations in which the potential cancels. Terminal states
    have none: nothing is done there."""
    alive = ~tables.terminal
    rows = np.repeat(alive, tables.num_actions)
    shaping = shaping_design(tables, before, agent)[rows][:, alive]
    blind = np.linalg.qr(shaping, mode="complete")[0][:, shaping.shape[1] :]
    target = improvement_target(tables, before, after, agent, temperature).ravel()[rows]
    return blind.T @ reward_design(before, agent, tie)[rows], blind.T @ target


def reward_table(solution, shape, agent: int, tie: Tie):
    """The reward's table over all joint actions, from the numbers that it is tied to."""
    if tie == "joint":
        return solution.reshape(shape)
    own = [1] * (len(shape) - 1)
    if tie == "own":
        own[agent] = shape[1]
    return np.broadcast_to(solution.reshape(shape[0], *own), shape)
