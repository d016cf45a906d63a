"""The rewards of PPO learners without derivatives: replayed updates, compared with those that were seen, by CMA-ES.

The objective is that of `ppo_inverse`. An agent's update depends on its own reward only, so that every agent has a
search of its own, and one replay serves a point of each. What is random in an update, its minibatches, is the same for
all points.
"""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_inverse import PPOReward, coefficients, deviations, on_sphere, residuals, supposed_basis
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, as_weights, products
from mairl.ops.cma_es import Minimum, searching


def invert_ppo_cmaes(
    ppo: PPO,
    record: PPORecord,
    known: Known,
    *,
    evaluations: int = 240,
    population: int = 12,
    seed: int = 0,
) -> PPOReward:
    """The rewards that explain recorded updates best.

    Args:
        evaluations, population: of each agent's CMA-ES, which starts without a guess: from 0, with deviation 1 in
            deviations of the features. A critic that is not known is supposed to say the same of every observation
            in every update: more unknowns would cost a search without derivatives too much.
    """
    scale = deviations(record)
    agents, features = record.features.shape[-2:]
    free = known != "play"
    basis = supposed_basis(record, known)
    longest = 1 / max(1 - ppo.discount, 1 / ppo.num_steps)
    unit = 1 / scale if free else np.append(1 / scale, longest)

    def unknowns(points):
        rest = np.zeros((*points.shape[:-1], coefficients(basis) + features - len(unit)))
        return np.concatenate([points * unit, rest], axis=-1)

    def in_all(points):
        return as_weights(
            np.broadcast_to(points[..., None, :, :], (*points.shape[:-2], record.num_steps, *points.shape[-2:]))
        )

    searches = [
        searching(
            np.zeros(len(unit)), spread=1.0, population=population, evaluations=evaluations, seed=seed * agents + i
        )
        for i in range(agents)
    ]
    points = np.stack([next(search) for search in searches], axis=1)
    found: list[Minimum] = []
    asked = 0
    while len(found) < agents:
        inner = np.asarray(_products_of_all(ppo, record, in_all(unknowns(points)), known, basis))
        asked += population
        values_of = np.stack([residuals(each, free)[1] for each in inner])
        found = []
        for i, search in enumerate(searches):
            try:
                points[:, i] = search.send(values_of[:, i])
            except StopIteration as ended:
                found.append(ended.value)
    best = unknowns(np.stack([each.point for each in found]))
    best = best if free else on_sphere(best, scale)
    last = products(ppo, record, in_all(best), known, basis)
    critics = np.broadcast_to(best[:, features:], (record.num_steps, agents, coefficients(basis)))
    return PPOReward(best[:, :features], critics, *residuals(last, free), asked // population, asked + 1)


@eqx.filter_jit
def _products_of_all(ppo, record, points: Float[Array, "point step agent unknown"], known: Known, basis):
    return jax.lax.map(lambda unknowns: products(ppo, record, unknowns, known, basis), points)
