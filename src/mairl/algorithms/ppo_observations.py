"""What recorded PPO learners saw, and what their critics may be linear in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mairl.algorithms.ppo_record import PPORecord
from mairl.networks.build import flatten
from mairl.networks.feature_values import Basis, make_basis


def observation_bases(record: PPORecord, units: int) -> Basis:
    """b of each agent's observations, centred and scaled as they are in the record; leaves `[agent, ...]`.

    Args:
        units: hidden ones; 0: only 1 and the observation.
    """
    obs = flat_observations(record)[0]
    bases = [make_basis(obs[..., i, :].reshape(-1, obs.shape[-1]), units, i) for i in range(obs.shape[3])]
    return jax.tree.map(lambda *x: jnp.stack(x), *bases)


def flat_observations(record: PPORecord) -> tuple[np.ndarray, np.ndarray]:
    """Observations before and after each step, `[step, time, env, agent, size]`."""
    return np.asarray(_flat(record.rollout.obs)), np.asarray(_flat(record.rollout.next_obs))


_flat = jax.jit(jax.vmap(jax.vmap(jax.vmap(jax.vmap(flatten)))))
