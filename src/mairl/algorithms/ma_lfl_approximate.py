"""MA-LfL from play, with function approximation: what soft policy improvers want, from snapshots of any policies.

A soft improver's next policy is π' ∝ exp(Q/α), Q the soft action values of π, so that along play of π

    log π'(a_i | o_i) + γ KL(π ‖ π')(o_i') ≈ φ(o_i, a_i, …) · u_i + f_t(o_i) - γ f_t(o_i'),    u_i = ω_i / α

The potentials f_t are linear in a basis of what the agent sees, one set a snapshot; u_i and all f_t are the solution by
least squares. The next policy is predicted from soft action values that are fitted to the play and regressed on what
was done: of categorical policies on (basis, action), of Gaussian ones on a quadratic in the action, whose normal it
is.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.ppo_observations import flat_observations
from mairl.algorithms.ppo_record import PPORecord
from mairl.core.policy import Policy
from mairl.networks.feature_values import basis_on, feature_values, make_basis
from mairl.networks.policy_divergence import Distribution, distribution, divergence, entropy
from mairl.ops.least_squares import least_squares

UNITS = 8
"""Random hidden units of the basis, beside 1 and the observation."""

RIDGE = 1e-2
"""Of regressions on actions, as a share of the mean square."""

TOLERANCE = 1e-4
"""Directions of a reward that the data tell this much worse than the best are taken as not told."""


@dataclasses.dataclass(frozen=True)
class SampledImprovement:
    """A fit.

    Attributes:
        weights: `[agent, feature]`, u.
        relative_residual: `[agent]`, after the potentials have taken their part.
    """

    weights: Float[np.ndarray, "agent feature"]
    relative_residual: Float[np.ndarray, " agent"]


def improvement_reward(
    record: PPORecord, features: Float[np.ndarray, "step time env agent feature"], discount: float
) -> SampledImprovement:
    """u of each agent from all recorded steps of learning.

    Args:
        features: what rewards are linear in, of the recorded play: the game's, or others.
    """
    target = np.asarray(_targets(record, discount), np.float64)
    obs, next_obs = flat_observations(record)
    mask, ended = np.asarray(record.rollout.mask), np.asarray(record.rollout.terminated)
    steps, agents, count = features.shape[0], features.shape[3], features.shape[4]
    weights, residuals = np.zeros((agents, count)), np.zeros(agents)
    for i in range(agents):
        basis = make_basis(obs[..., i, :].reshape(-1, obs.shape[-1]), UNITS, i)
        parts = []
        for t in range(steps):
            here = mask[t, ..., i]
            now, then = (basis_on(basis, x[t, ..., i, :][here]) for x in (obs, next_obs))
            shaped = now - discount * then * (1.0 - ended[t, ..., i][here])[:, None]
            table = np.concatenate([features[t, ..., i, :][here], target[t, ..., i][here][:, None]], axis=1)
            # What this snapshot's potential can make is taken out: the rest is for the reward.
            parts.append(table - shaped @ np.linalg.lstsq(shaped, table, rcond=None)[0])
        table = np.concatenate(parts)
        solved = least_squares(table[:, :-1], table[:, -1], tolerance=TOLERANCE)
        weights[i], residuals[i] = solved.solution, solved.relative_residual
    return SampledImprovement(weights, residuals)


def predict_improvement(
    record: PPORecord, rewards: Float[np.ndarray, "step time env agent"], discount: float
) -> Distribution:
    """What soft improvement makes of each recorded snapshot, at the observations of its play.

    Args:
        rewards: of the recorded play, over the temperature.
    """
    obs, next_obs = flat_observations(record)
    mask, ended = np.asarray(record.rollout.mask), np.asarray(record.rollout.terminated)
    follows, now_as = _play(record)
    spread = np.asarray(entropy(follows))
    acted = np.asarray(record.rollout.actions)
    steps, _, _, agents = rewards.shape
    found: list[list[tuple[np.ndarray, ...]]] = []
    for t in range(steps):
        found.append([])
        for i in range(agents):
            basis = make_basis(obs[..., i, :].reshape(-1, obs.shape[-1]), UNITS, i)
            here = mask[t, ..., i]
            alive = 1.0 - ended[t, ..., i][here]
            # The entropy of what is done later counts; that of this step is the improved policy's own.
            gained = (rewards[t, ..., i] + discount * (1.0 - ended[t, ..., i]) * spread[t, ..., i])[here]
            seen, then = obs[t, ..., i, :][here], next_obs[t, ..., i, :][here]
            table = feature_values(basis, seen, then, 1.0 - alive, gained[:, None], discount)
            value = gained + discount * alive * (basis_on(basis, then) @ table)[:, 0]
            everywhere = basis_on(basis, obs[t, ..., i, :].reshape(-1, obs.shape[-1]))
            if now_as.log_probs is not None:
                count = now_as.log_probs.shape[-1]
                found[-1].append(_categorical(basis_on(basis, seen), acted[t, ..., i][here], value, everywhere, count))
            else:
                mean, log_std = (np.asarray(x)[t, ..., i, :] for x in (now_as.mean, now_as.log_std))
                off = (acted[t, ..., i, :] - mean)[here]
                found[-1].append(_normal(basis_on(basis, seen), off, value, everywhere, mean, log_std))
    stacked = [
        jnp.asarray(np.stack([np.stack([parts[k] for parts in row], axis=1) for row in found]), jnp.float32)
        for k in range(len(found[0][0]))
    ]
    stacked = [x.reshape(*rewards.shape, -1) for x in stacked]
    if now_as.log_probs is not None:
        return Distribution(log_probs=stacked[0])
    return Distribution(mean=stacked[0], log_std=stacked[1])


def _categorical(basis, acted, value, everywhere, count: int) -> tuple[np.ndarray, ...]:
    """log π' `[sample, action]` of softmax(Q), Q a linear function of the basis for each action."""
    chosen = np.eye(count)[acted]
    columns = (basis[:, :, None] * chosen[:, None, :]).reshape(len(basis), -1)
    table = _ridge(columns, value).reshape(-1, count)
    logits = everywhere @ table
    logits = logits - logits.max(axis=1, keepdims=True)
    return (logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True)),)


def _normal(basis, off, value, everywhere, mean, log_std) -> tuple[np.ndarray, ...]:
    """Mean and log deviation `[sample, size]` of exp(Q), Q ≈ c(o) + g(o)·x + ½ h·x², x the way from the old mean.

    Where Q has no maximum, or one that is wider than the old policy, the old deviation stays.
    """
    size = off.shape[1]
    linear = (basis[:, :, None] * off[:, None, :]).reshape(len(basis), -1)
    solution = _ridge(np.concatenate([basis, linear, 0.5 * off**2], axis=1), value)
    width = basis.shape[1]
    slope = everywhere @ solution[width:-size].reshape(width, size)
    old = np.exp(-2 * log_std.reshape(-1, size))
    precision = np.maximum(-solution[-size:], old)
    return mean.reshape(-1, size) + slope / precision, -0.5 * np.log(precision)


def _ridge(columns: np.ndarray, value: np.ndarray) -> np.ndarray:
    square = columns.T @ columns
    return np.linalg.solve(square + RIDGE * np.trace(square) / len(square) * np.eye(len(square)), columns.T @ value)


@eqx.filter_jit
def _targets(record: PPORecord, discount: float) -> Float[Array, "step time env agent"]:
    """log π'(a | o) + γ KL(π ‖ π')(o') along the recorded play; 0 where an agent is absent or the future is worth 0."""
    steps = record.rollout
    arrays, static = eqx.partition((record.before.policy, record.after), eqx.is_array)

    def one(policies, steps):
        before, after = eqx.combine(policies, static)
        chosen = jax.vmap(jax.vmap(after.log_prob))(steps.obs, steps.actions, steps.action_mask)
        ahead = (distribution(p, steps.next_obs, steps.next_action_mask, 2) for p in (before, after))
        return jnp.where(steps.mask, chosen, 0.0) + discount * jnp.where(steps.terminated, 0.0, divergence(*ahead))

    return jax.vmap(one)(arrays, steps)


@eqx.filter_jit
def _play(record: PPORecord) -> tuple[Distribution, Distribution]:
    """The recorded policies after and before each step of their play."""
    arrays, static = eqx.partition(record.before.policy, eqx.is_array)

    def one(policy, steps):
        whole: Policy = eqx.combine(policy, static)
        after = distribution(whole, steps.next_obs, steps.next_action_mask, 2)
        return after, distribution(whole, steps.obs, steps.action_mask, 2)

    return jax.vmap(one)(arrays, record.rollout)
