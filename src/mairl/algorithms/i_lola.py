"""I-LOLA: rewards of learners that anticipate each other's learning, from how their policies change.

    argmin over ω, α, λ of Σ_{t,i} ‖θ_i^{t+1} - θ_i^t - α_i F_i(θ^t; ω, λ)‖²

for a family F of learners (`mairl.ops.learners`). With constant steps u_i = α_i ω_i and λ = η / α are what can be told.

    for each family, for each λ of a grid: fit u to the training transitions, by alternating least squares where F is
        bilinear in the rewards, by Gauss-Newton through F where not, from I-LOGEL's u;
    keep what predicts the validation transitions best; let λ go free from there (Gauss-Newton), keep it if it helps.

λ says what kind of learner it is: 0 for naive ones.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.algorithms.family_fit import Fit, alternate, gauss_newton
from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.logel import check_moved
from mairl.algorithms.recovered import Recovered, open_directions
from mairl.algorithms.update_model import BILINEAR, UpdateModel, update_model
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.learning_history import LearningHistory
from mairl.ops.learners import ANTICIPATING, LEARNERS
from mairl.ops.least_squares import null_space
from mairl.ops.linear_game import LinearGame

GRID = (0.0, 0.25, 1.0, 4.0, 16.0, 64.0)
"""Values of λ that are tried, before it goes free from the best."""

EQUAL = 1e-24
"""Relative errors below this are rounding: of several fits that reach it the first is taken, the least λ."""

COARSE = 4
"""Gauss-Newton steps at each of them: enough to tell good ones from bad ones."""


def i_lola(
    game: LinearGame,
    history: LearningHistory,
    *,
    families: tuple[str, ...] = ("naive", "lola-taylor"),
    look_aheads: tuple[float, ...] = GRID,
    validation: int = 2,
) -> Recovered:
    """The rewards, λ and the family of learners that explain a history best.

    Args:
        families: names in `mairl.ops.learners.LEARNERS`; several are compared by the validation transitions.
        look_aheads: λ ≥ 0 that are tried. One value only: λ is known, and stays.
        validation: how many of the last transitions choose λ and the family. They are not fitted.

    Raises:
        InvalidData: fewer than one transition is left to be fitted.
        Unsupported: an unknown family, a negative λ, policies that do not change, or no fit that converges.
    """
    if unknown := sorted(set(families) - set(LEARNERS)):
        raise Unsupported(f"unknown learner {', '.join(unknown)}; there are {', '.join(LEARNERS)}")
    if not look_aheads or min(look_aheads) < 0:
        raise Unsupported(f"look-aheads must be 0 or more, got {look_aheads}")
    transitions = history.num_snapshots - 1
    if validation < 1 or transitions - validation < 1:
        raise InvalidData(
            f"{transitions} transitions, {validation} of them for validation: at least one is needed to fit and one to "
            "choose; observe more steps, or set validation"
        )
    fitted = history.snapshots(slice(0, transitions - validation + 1))
    check_moved(np.diff(fitted.logits(), axis=0))
    naive = i_logel(game, fitted)
    found, failures = [], []
    for family in families:
        try:
            found.append(_fit_family(game, history, family, look_aheads, validation, naive.weights))
        except Unsupported as error:
            failures.append(f"{family}: {error}")
    if not found:
        raise Unsupported(f"no family fits: {'; '.join(failures)}")
    best = min(found, key=lambda r: max(r.held_out or 0.0, EQUAL))
    notes = best.notes + tuple(f"not fitted, {failure}" for failure in failures)
    return dataclasses.replace(best, notes=notes)


def _fit_family(game, history, family, look_aheads, validation, start) -> Recovered:
    logits = history.logits()
    cut = len(logits) - 1 - validation
    changes = np.diff(logits, axis=0)
    seen, target = update_model(game, logits[:cut], family), changes[:cut].ravel()
    unseen, wanted = update_model(game, logits[cut:-1], family), changes[cut:].ravel()

    def missed(fit: Fit) -> float:
        rest = wanted - unseen.changes(fit.weights, fit.look_ahead)
        return float(rest @ rest) / max(float(wanted @ wanted), 1e-300)

    tries, failures = [], []
    for look_ahead in sorted(look_aheads) if family in ANTICIPATING else (0.0,):
        # From the solution at the λ before this one: rewards change little between neighbours.
        start = tries[-1].weights if tries else start
        try:
            most = 50 if len(look_aheads) == 1 else COARSE
            tries.append(_fit(seen, target, start, look_ahead, family, False, most))
        except Unsupported as error:
            failures.append(str(error))
    if not tries:
        raise Unsupported(failures[-1])
    best = min(tries, key=lambda fit: max(missed(fit), EQUAL))
    if family in ANTICIPATING and len(look_aheads) > 1 and missed(best) > EQUAL:
        polished = _fit(seen, target, best.weights, best.look_ahead, family, True, 50)
        best = polished if missed(polished) < missed(best) else best
    return recovered(game, seen, best, family, missed(best))


def _fit(seen: UpdateModel, target, start, look_ahead: float, family: str, free: bool, most: int) -> Fit:
    if family in BILINEAR and not free:
        return alternate(seen, target, start, look_ahead)
    return gauss_newton(seen, target, start, look_ahead, free_look_ahead=free, max_iterations=most)


def recovered(game: LinearGame, seen: UpdateModel, fit: Fit, family: str, held_out: float | None) -> Recovered:
    """A fit with what it leaves open: of each agent's reward, the directions that move nobody's policy."""
    slopes = seen.jacobian(fit.weights, fit.look_ahead)
    spaces = free_directions(slopes, game.num_agents, game.num_features)
    weights = np.stack([w - space @ (space.T @ w) for w, space in zip(fit.weights, spaces)])
    notes = open_directions(spaces)
    if fit.look_ahead < 0:
        notes += (f"look-ahead {fit.look_ahead:.3g} is negative: this family does not describe these learners",)
    return Recovered(
        family=family,
        weights=weights,
        look_ahead=fit.look_ahead if family in ANTICIPATING else None,
        relative_residual=fit.relative_residual,
        held_out=held_out,
        rank=tuple(game.num_features - basis.shape[1] for basis in spaces),
        null_space=tuple(spaces),
        iterations=fit.iterations,
        notes=notes,
    )


def free_directions(
    slopes: Float[np.ndarray, "row unknown"], agents: int, features: int
) -> list[Float[np.ndarray, "feature free"]]:
    """For each agent a basis of the rewards that move nobody's policy, from the stacked derivatives of all updates."""
    return [null_space(slopes[:, i * features : (i + 1) * features]) for i in range(agents)]
