"""MA-LfL from what improvers do: policies are cloned from counts, and each equation counts as much as is known of it.

The equations are those of `mairl.algorithms.ma_lfl`. Their noise is that of log π̂', which is known to about
1 / n(s, a): once in the equation's own entry, and once in the divergence KL(π ‖ π̂') of the states that follow. Each
equation is weighted by one over the sum of both. Rewards have a normal prior,

    minimise over r_i   Σ ‖left - Y‖²_w + ridge ‖r_i‖²

and the ridge is the one of `RIDGES` with which the equations of the last step are predicted best by the others.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve

from mairl.algorithms.cloning import PRIOR, cloned
from mairl.algorithms.logel import check_moved
from mairl.algorithms.ma_lfl import Tie, reward_table
from mairl.core.errors import InvalidData, Unsupported
from mairl.ops.host_softmax import log_softmax
from mairl.ops.soft_improvement import improvement_target, reward_design, shaping_design
from mairl.ops.tables import Tables, expect_others

RIDGES = tuple(10.0**k for k in range(-3, 4))
"""1 / variance of the reward's entries, in units of its own."""

UNSEEN = 0.01
"""What an action that was never seen counts as: its log-probability is known to ten nats."""


@dataclasses.dataclass(frozen=True)
class SampledReward:
    """Rewards that explain sampled soft improvement.

    Attributes:
        rewards: `[S, A_1 … A_n, n]`, in the units of the temperature that was given.
        ridge: `[agent]`, what was chosen.
        relative_residual: of the equations, weighted, over all steps.
    """

    rewards: Float[np.ndarray, "state *joint agent"]
    ridge: tuple[float, ...]
    relative_residual: float


def ma_lfl_from_counts(
    tables: Tables,
    counts: Float[np.ndarray, "step agent state action"],
    *,
    temperature: float = 1.0,
    tie: Tie = "state",
    prior: float = PRIOR,
    ridges: tuple[float, ...] = RIDGES,
) -> SampledReward:
    """One reward for each agent, from how often each action was taken in each state by each snapshot.

    Args:
        tables: the game; its reward is not read.
        temperature, tie: as in `ma_lfl`.
        prior: of `cloned`.
        ridges: that are tried.

    Raises:
        Unsupported: a temperature or a ridge that is not positive, or γ = 1.
        InvalidData: fewer than two transitions: one is needed to choose the ridge.
    """
    if temperature <= 0 or not tables.discount < 1 or min(ridges) <= 0:
        raise Unsupported(
            f"MA-LfL from samples needs a positive temperature and ridge and γ < 1, got {temperature}, {min(ridges)} "
            f"and {tables.discount}"
        )
    if len(counts) < 3 and len(ridges) > 1:
        raise InvalidData(f"{len(counts)} snapshots: two transitions are needed, one to choose how smooth rewards are")
    logits = cloned(counts, prior)
    check_moved(np.diff(logits, axis=0))
    logs = log_softmax(logits)
    shape = (tables.num_states, *[tables.num_actions] * tables.num_agents)
    rewards, chosen = np.zeros((*shape, tables.num_agents)), []
    off = size = 0.0
    for i in range(tables.num_agents):
        steps: list[tuple[np.ndarray, np.ndarray]] = [
            _weighted(tables, now, after, i, temperature, tie, information(tables, now, seen, i, temperature))
            for (now, after), seen in zip(itertools.pairwise(logs), counts[1:, i])
        ]
        grams = [design.T @ design for design, _ in steps]
        sums = [design.T @ target for design, target in steps]
        ridge = min(ridges)
        if len(ridges) > 1:
            design, target = steps[-1]
            tries = [_solve(sum(grams[:-1]), sum(sums[:-1]), r) for r in ridges]
            ridge = ridges[int(np.argmin([np.sum((design @ one - target) ** 2) for one in tries]))]
        found = _solve(sum(grams), sum(sums), ridge)
        rewards[..., i] = reward_table(found, shape, i, tie)
        chosen.append(ridge)
        off += sum(float(np.sum((design @ found - target) ** 2)) for design, target in steps)
        size += sum(float(target @ target) for _, target in steps)
    return SampledReward(rewards, tuple(chosen), off / size)


def information(
    tables: Tables, before, seen: Float[np.ndarray, "state action"], agent: int, temperature: float
) -> Float[np.ndarray, "state action"]:
    """One over the variance of each equation of a step.

    Args:
        before: log-policies before the step.
        seen: counts of the agent's actions after it.
    """
    variance = 1 / np.maximum(seen, UNSEEN)
    policies = np.exp(before)
    divergence = np.sum(policies[agent] ** 2 * variance, axis=-1)
    ahead = expect_others(tables.flow, policies, agent) ** 2 @ divergence
    return 1 / (temperature**2 * (variance + tables.discount**2 * ahead))


def _weighted(tables: Tables, before, after, agent: int, temperature: float, tie: Tie, weight):
    """One step's equations for the reward alone, each entry weighted before the potential is taken out."""
    # In terminal states nothing is done, so that nothing is told there.
    root = np.sqrt(weight * ~tables.terminal[:, None]).ravel()
    shaping = root[:, None] * shaping_design(tables, before, agent)
    # States that nobody visited have no equations, so that the potential's columns may depend on each other.
    basis, sizes, _ = np.linalg.svd(shaping, full_matrices=False)
    basis = basis[:, sizes > 1e-10 * sizes.max()]
    design = root[:, None] * reward_design(before, agent, tie)
    target = root * improvement_target(tables, before, after, agent, temperature).ravel()
    return design - basis @ (basis.T @ design), target - basis @ (basis.T @ target)


def _solve(gram, total, ridge: float):
    return cho_solve(cho_factor(gram + ridge * np.eye(len(gram))), total)
