"""Rewards of learners from how far gradients of reward features explain the changes of their parameters.

    ω_i = argmin Σ_t ‖θ_i^{t+1} - θ_i^t - D_i^t ω_i‖²

with two designs D, both by GPOMDP: `alone` (LOGEL: the others are a world that never changes, so that all play serves
every step, weighed by how likely the agent's own actions have become), and `joint` (I-LOGEL: each snapshot's own play).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import observed_moves, parameters
from mairl.core.errors import Unsupported
from mairl.core.policy import Policy
from mairl.core.stacked import one_of
from mairl.core.transition import Transition
from mairl.ops.gpomdp import gpomdp
from mairl.ops.least_squares import least_squares

Design = Literal["alone", "joint"]

MOST = 5.0
"""Importance ratios are cut off here."""

SHARED = 3
"""How many steps' play serves all steps of `alone`."""


@dataclasses.dataclass(frozen=True)
class GradientReward:
    """A fit of one design.

    Attributes:
        weights: `[agent, feature]`, ω times the step size.
        relative_residual: `[agent]`.
    """

    weights: Float[np.ndarray, "agent feature"]
    relative_residual: Float[np.ndarray, " agent"]


def designs(
    ppo: PPO, record: PPORecord, design: Design, fitted: Sequence[int] | None = None
) -> Float[np.ndarray, "step agent parameter feature"]:
    """D at each recorded update.

    Args:
        fitted: for `alone`: play of these steps serves all (a few of them), and that of the step itself.
    """
    if design == "joint":
        return np.asarray(_joint(ppo, record))
    fitted = range(record.num_steps) if fitted is None else fitted
    shared = fitted[:: max(1, len(fitted) // SHARED)]
    found = []
    for t in range(record.num_steps):
        play = sorted({*shared, t})
        parts = [_alone(ppo, record.steps(slice(t, t + 1)), record.steps(slice(u, u + 1))) for u in play]
        found.append(np.mean(np.stack([np.asarray(p) for p in parts]), axis=0))
    return np.stack(found)


def fit_gradients(design: Float[np.ndarray, "step agent parameter feature"], record: PPORecord) -> GradientReward:
    """The rewards that explain the recorded changes best.

    Raises:
        Unsupported: nobody's parameters changed.
    """
    changes = np.asarray(observed_moves(record), np.float64)
    if not np.sum(changes**2) > 0:
        raise Unsupported(f"over {len(changes)} updates no parameter changed: record agents that still learn")
    weights, residuals = [], []
    for i in range(changes.shape[1]):
        columns = np.asarray(design[:, i], np.float64).reshape(-1, design.shape[-1])
        solved = least_squares(columns, changes[:, i].ravel())
        weights.append(solved.solution)
        residuals.append(solved.relative_residual)
    return GradientReward(np.stack(weights), np.asarray(residuals))


def fit_step(
    design: Float[np.ndarray, "step agent parameter feature"],
    record: PPORecord,
    weights: Float[np.ndarray, "agent feature"],
) -> Float[np.ndarray, "agent feature"]:
    """Given rewards times the step size that explains the recorded changes best, at least 0."""
    push = np.einsum("tapk,ak->tap", np.asarray(design, np.float64), weights)
    changes = np.asarray(observed_moves(record), np.float64)
    size = np.einsum("tap,tap->a", push, changes) / np.maximum(np.einsum("tap,tap->a", push, push), 1e-300)
    return np.maximum(size, 0.0)[:, None] * weights


def moved(policy: Policy, change: Float[Array, "agent parameter"]) -> Policy:
    """A policy whose parameters have changed; the inverse of `parameters`."""
    arrays, static = eqx.partition(policy, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    ends = np.cumsum([x[0].size for x in leaves])[:-1].tolist()
    parts = jnp.split(change, ends, axis=1)
    leaves = [x + part.reshape(x.shape) for x, part in zip(leaves, parts)]
    return eqx.combine(jax.tree.unflatten(structure, leaves), static)


def scores(policy: Policy, steps: Transition) -> Float[Array, "*b agent parameter"]:
    """∇ log π(a | o) of each agent with respect to its own parameters, 0 where it is absent; leaves `[*b, ...]`."""

    def one(obs, actions, allowed, mask):
        def total(policy):
            return jnp.sum(jnp.where(mask, policy.log_prob(obs, actions, allowed), 0.0))

        return parameters(eqx.filter_grad(total)(policy))

    run: Any = one
    for _ in steps.batch_shape:
        run = jax.vmap(run)
    return run(steps.obs, steps.actions, steps.action_mask, steps.mask)


def over(steps: Transition) -> Array:
    """`[*b, agent]` the episode ended with this step."""
    return steps.terminated | steps.truncated[..., None]


def _gpomdp(ppo: PPO, policy: Policy, steps: Transition, features, ratio) -> Float[Array, "agent parameter feature"]:
    ended = jnp.all(steps.terminated, axis=-1) | steps.truncated
    agents = range(features.shape[2])

    def of(i):
        return gpomdp(
            lambda step: scores(policy, step)[:, i], steps, features[:, :, i], ended, ratio[..., i], ppo.discount
        )

    return jnp.stack([of(i) for i in agents])


@eqx.filter_jit
def _joint(ppo: PPO, record: PPORecord) -> Float[Array, "step agent parameter feature"]:
    arrays, static = eqx.partition(record, eqx.is_array)

    def one(step):
        step = eqx.combine(step, static)
        return _gpomdp(ppo, step.before.policy, step.rollout, step.features, jnp.ones(step.features.shape[:3]))

    return jax.lax.map(one, arrays)


@eqx.filter_jit
def _alone(ppo: PPO, now: PPORecord, then: PPORecord) -> Float[Array, "agent parameter feature"]:
    """From the play of another step, weighed for each agent by its own policies alone."""
    (here, there) = (one_of(r, 0) for r in (now, then))
    steps = there.rollout

    def log_prob(policy):
        found = jax.vmap(jax.vmap(policy.log_prob))(steps.obs, steps.actions, steps.action_mask)
        return jnp.where(steps.mask, found, 0.0)

    ratio = jnp.exp(log_prob(here.before.policy) - log_prob(there.before.policy))
    return _gpomdp(ppo, here.before.policy, steps, there.features, jnp.clip(ratio, 1 / MOST, MOST))
