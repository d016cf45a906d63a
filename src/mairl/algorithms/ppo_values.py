"""The values of reward features that an observer of PPO learners fits to their play."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mairl.algorithms.ppo_record import PPORecord
from mairl.networks.build import flatten
from mairl.networks.feature_values import Basis, FeatureValues, feature_values, make_basis

UNITS = 8
"""Few: the noise of values costs more than what more of them could express."""

RECENT = 8
"""Rollouts that values are fitted to: this update's and those before it. Policies change little between them."""


def observed_values(record: PPORecord, discount: float, *, seed: int = 0) -> FeatureValues:
    """Each agent's values of each feature before each update, arrays `[step, agent, ...]`."""
    obs, next_obs = flat_observations(record)
    features = np.asarray(record.features)
    mask, terminated = np.asarray(record.rollout.mask), np.asarray(record.rollout.terminated)
    steps, agents = features.shape[0], features.shape[3]
    bases = [make_basis(obs[..., i, :].reshape(-1, obs.shape[-1]), UNITS, seed + i) for i in range(agents)]
    table = np.zeros((steps, agents, 1 + obs.shape[-1] + UNITS, features.shape[-1]), np.float32)
    for t in range(steps):
        near = slice(max(0, t - RECENT + 1), t + 1)
        for i in range(agents):
            here = mask[near, ..., i]
            table[t, i] = feature_values(
                bases[i],
                obs[near, ..., i, :][here],
                next_obs[near, ..., i, :][here],
                terminated[near, ..., i][here],
                features[near, ..., i, :][here],
                discount,
            )
    basis: Basis = jax.tree.map(lambda *x: jnp.stack([jnp.stack(x)] * steps), *bases)
    return FeatureValues(basis, jnp.asarray(table))


def flat_observations(record: PPORecord) -> tuple[np.ndarray, np.ndarray]:
    """Observations before and after each step, `[step, time, env, agent, size]`."""
    see = jax.jit(jax.vmap(jax.vmap(jax.vmap(jax.vmap(flatten)))))
    return np.asarray(see(record.rollout.obs)), np.asarray(see(record.rollout.next_obs))
