"""The rewards of PPO learners without derivatives: replayed updates, compared with those that were seen, by CMA-ES.

The objective is that of `ppo_inverse`. An agent's update depends on its own reward only, so that every agent has a
search of its own, and one replay serves a point of each. What is random in an update, its minibatches, is the same for
all points.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_inverse import PPOReward, deviations, on_sphere, residuals
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, products
from mairl.networks.feature_values import FeatureValues
from mairl.ops.cma_es import Minimum, searching


def invert_ppo_cmaes(
    ppo: PPO,
    record: PPORecord,
    known: Known,
    values: FeatureValues | None = None,
    *,
    evaluations: int = 240,
    population: int = 12,
    seed: int = 0,
) -> PPOReward:
    """The rewards that explain recorded updates best.

    Args:
        evaluations, population: of each agent's CMA-ES, which starts without a guess: from 0, with deviation 1 in
            deviations of the features.
    """
    scale = deviations(record)
    agents, features = record.features.shape[-2:]
    free = known != "play"
    searches = [
        searching(
            np.zeros(features), spread=1.0, population=population, evaluations=evaluations, seed=seed * agents + i
        )
        for i in range(agents)
    ]
    points = np.stack([next(search) for search in searches], axis=1) / scale
    found: list[Minimum] = []
    asked = 0
    while len(found) < agents:
        inner = np.asarray(_products_of_all(ppo, record, jnp.asarray(points, jnp.float32), known, values))
        asked += population
        values_of = np.stack([residuals(each, free)[1] for each in inner])
        found = []
        for i, search in enumerate(searches):
            try:
                points[:, i] = search.send(values_of[:, i]) / scale
            except StopIteration as ended:
                found.append(ended.value)
    weights = np.stack([each.point for each in found]) / scale
    weights = weights if free else on_sphere(weights, scale)
    last = products(ppo, record, jnp.asarray(weights, jnp.float32), known, values)
    return PPOReward(weights, *residuals(last, free), asked // population, asked + 1)


@eqx.filter_jit
def _products_of_all(ppo, record, points: Float[Array, "point agent feature"], known: Known, values):
    return jax.lax.map(lambda weights: products(ppo, record, weights, known, values), points)
