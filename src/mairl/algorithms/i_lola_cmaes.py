"""I-LOLA without derivatives: the residual of the learners' updates, minimised by CMA-ES.

The objective is that of `i_lola`; a population of rewards and look-aheads is tried, each by replaying the update. It
needs no derivative of the learner, so that it also stands for learners that clip or draw mini-batches; where there is a
derivative, `i_lola` finds the same with a handful of evaluations instead of thousands.
"""

from __future__ import annotations

import numpy as np

from mairl.algorithms.family_fit import Fit
from mairl.algorithms.i_lola import LARGE, check_choices, recovered, with_doubts
from mairl.algorithms.logel import check_moved, still_agents
from mairl.algorithms.recovered import Recovered
from mairl.algorithms.update_model import update_model
from mairl.data.learning_history import LearningHistory
from mairl.ops.cma_es import cma_es
from mairl.ops.linear_game import LinearGame

LOOK_AHEAD_UNIT = 10.0
"""λ in units of this is of order 1, as the other unknowns are."""


def i_lola_cmaes(
    game: LinearGame,
    history: LearningHistory,
    *,
    family: str = "lola-taylor",
    evaluations: int = 2400,
    population: int = 16,
    seed: int = 0,
) -> Recovered:
    """The rewards and λ of one family of learners; all transitions are fitted.

    Args:
        family: a name in `mairl.ops.learners.LEARNERS`.
        evaluations, population, seed: of CMA-ES.

    Raises:
        Unsupported: an unknown family, policies that do not change, or fewer than two points in a population or none
            at all.
    """
    check_choices((family,), (0.0,))
    logits = history.logits()
    changes = np.diff(logits, axis=0)
    check_moved(changes)
    model, target = update_model(game, logits[:-1], family), changes.ravel()
    shape = (game.num_agents, game.num_features)
    size = float(target @ target)
    # One unit of every unknown: as much reward as would alone make a change of the observed size.
    slopes = np.linalg.norm(model.jacobian(np.zeros(shape), 0.0)[:, :-1], axis=0)
    units = np.append(np.sqrt(size) / np.where(slopes > 0, slopes, 1.0), LOOK_AHEAD_UNIT)

    def unknowns(point):
        return (point * units)[:-1].reshape(shape), float((point * units)[-1])

    def objective(points):
        return np.array([np.sum((target - model.changes(*unknowns(p))) ** 2) / size for p in points])

    found = cma_es(
        objective, np.zeros(len(units)), spread=0.3, population=population, evaluations=evaluations, seed=seed
    )
    weights, look_ahead = unknowns(found.point)
    fit = Fit(weights, look_ahead, found.value, found.evaluations)
    result = recovered(game, model, fit, family, None, still_agents(changes))
    # A search by samples never ends in rounding: what is left says something only where it is much.
    return with_doubts(result) if found.value > LARGE else result
