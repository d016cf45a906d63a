"""The rewards that explain a learning history best, for one family of learners.

    minimise over u, λ   Σ_{t,i} ‖θ_i^{t+1} - θ_i^t - F_i(θ^t; u, λ)‖²

`alternate`: for families that are bilinear in the rewards, each agent's reward in turn, the rest held fixed: every
half-step is a linear least-squares problem, solved exactly. `gauss_newton`: any family, through the derivatives of its
step; where a full step does not help, it is halved.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.algorithms.update_model import LookAhead, UpdateModel, pairs_of
from mairl.core.errors import Unsupported
from mairl.ops.least_squares import least_squares

SOLVED = 1e-28
"""Relative residuals below this are rounding."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A minimum.

    Attributes:
        weights: `[agent, feature]`, u.
        look_ahead: λ, one number or `[agent, other]`.
        relative_residual: of the fitted transitions.
        iterations: sweeps, or Gauss-Newton steps.
    """

    weights: Float[np.ndarray, "agent feature"]
    look_ahead: LookAhead
    relative_residual: float
    iterations: int


def alternate(
    model: UpdateModel,
    target: Float[np.ndarray, " row"],
    start: Float[np.ndarray, "agent feature"],
    look_ahead: LookAhead,
    *,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
) -> Fit:
    """Alternating least squares at a fixed λ, for a bilinear model.

    Args:
        target: the observed changes of the logits, rows as in `UpdateModel`.
        tolerance: stops where a sweep takes less than this share off the residual.
    """
    weights = np.array(start, np.float64)
    agents, features = weights.shape
    size, before, after = float(target @ target), np.inf, np.inf
    most = _unexplained(model, target, weights, look_ahead)
    sweeps = 0
    while sweeps < max_iterations:
        for i in range(agents):
            columns = slice(i * features, (i + 1) * features)
            design = model.jacobian(weights, look_ahead)[:, columns]
            rest = target - model.changes(weights, look_ahead) + design @ weights[i]
            if not (np.all(np.isfinite(design)) and np.all(np.isfinite(rest))):
                _check(np.nan, most, look_ahead)
            weights[i] = least_squares(design, rest).solution
        sweeps += 1
        after = float(np.sum((target - model.changes(weights, look_ahead)) ** 2)) / size
        _check(after, most, look_ahead)
        if after < SOLVED or after > (1 - tolerance) * before:
            break
        before = after
    return Fit(weights, look_ahead, after, sweeps)


def gauss_newton(
    model: UpdateModel,
    target: Float[np.ndarray, " row"],
    start: Float[np.ndarray, "agent feature"],
    look_ahead: LookAhead,
    *,
    free_look_ahead: bool,
    max_iterations: int = 50,
    tolerance: float = 1e-6,
    enough: float = SOLVED,
) -> Fit:
    """Gauss-Newton with step halving, in the rewards alone or in λ as well.

    Args:
        tolerance: stops where a step takes less than this share off the residual.
        enough: stops where the relative residual is not above this.

    Raises:
        Unsupported: the model's steps are not finite, or explain less than agents that want nothing would.
    """
    weights = np.array(start, np.float64)
    size, given = float(target @ target), weights.size

    def residual(weights, look_ahead):
        rest = target - model.changes(weights, look_ahead)
        return rest, float(rest @ rest) / size

    rest, before = residual(weights, look_ahead)
    most = _unexplained(model, target, weights, look_ahead)
    if not np.isfinite(before):
        _check(before, most, look_ahead)
    steps = 0
    while steps < max_iterations and before > enough:
        slopes = model.jacobian(weights, look_ahead)
        if not np.all(np.isfinite(slopes)):
            _check(np.nan, most, look_ahead)
        move = least_squares(slopes if free_look_ahead else slopes[:, :given], rest).solution
        for halvings in range(20):
            step = 0.5**halvings * move
            tried = weights + step[:given].reshape(weights.shape), _moved(look_ahead, step[given:])
            tried_rest, after = residual(*tried)
            if after < before:
                break
        else:
            break
        steps += 1
        gained = before - after
        (weights, look_ahead), rest, before = tried, tried_rest, after
        if gained <= tolerance * (gained + before):
            break
    _check(before, most, look_ahead)
    return Fit(weights, look_ahead, before, steps)


def _moved(look_ahead: LookAhead, step: Float[np.ndarray, " unknown"]) -> LookAhead:
    """λ after a step in its unknowns: none if it is held fixed."""
    if not len(step):
        return look_ahead
    if not np.ndim(look_ahead):
        return float(look_ahead + step[0])
    moved = np.array(look_ahead, np.float64)
    for (i, j), change in zip(pairs_of(len(moved)), step):
        moved[i, j] += change
    return moved


def _unexplained(model: UpdateModel, target, weights, look_ahead: LookAhead) -> float:
    """The relative residual of a learner that wants nothing: 1 for learners by gradients, which then do not move."""
    rest = target - model.changes(np.zeros_like(weights), look_ahead)
    return float(rest @ rest) / float(target @ target)


def _check(residual: float, most: float, look_ahead: LookAhead) -> None:
    if not residual <= most * (1 + 1e-9):
        raise Unsupported(
            f"the fit has diverged at look-ahead {np.max(look_ahead):.3g}: relative residual {residual:.3g}, where "
            f"agents that want nothing leave {most:.3g}; start from a smaller look-ahead, or assume another family of "
            "learners"
        )
