"""The best fit of one family of learners to a history, by its own means: no other family is looked at.

    from_grid          for each λ of a grid: fit u, by alternating least squares where F is bilinear in the rewards, by
                       Gauss-Newton through F where not; let λ go free from what predicts the held-out transitions best
    from_more_starts   Gauss-Newton in u and the λ of every pair, from `LOOK_AHEADS` and random rewards, until one start
                       leaves rounding

The first is quick and mostly enough. The sum of squares has other minima, though, in small games many of them: what is
left at the best of a few starts says nothing unless it is rounding.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.algorithms.family_fit import Fit, alternate, gauss_newton
from mairl.algorithms.recovered import Recovered
from mairl.algorithms.update_model import BILINEAR, Bilinear, LookAhead, UpdateModel, pairs_of, update_model
from mairl.core.errors import Unsupported
from mairl.ops.learners import ANTICIPATING
from mairl.ops.linear_game import LinearGame

EQUAL = 1e-24
"""Relative errors below this are rounding: of several fits that reach it the first is taken, the least λ."""

EXACT = 1e-20
"""Relative residuals below this need no other explanation."""

COARSE = 4
"""Gauss-Newton steps at each λ of the grid: enough to tell good ones from bad ones."""

LOOK_AHEADS = (0.0, 1.0, 16.0, 256.0)
"""λ from which further starts go free."""

STARTS = 32
"""Further starts, with all λ: eight random rewards. In the iterated dilemma the worst history needs all of them."""

WORK = 1e8
"""Multiplications, roughly, that a Gauss-Newton step of all further starts may take: large models get fewer starts."""


SETTLED = 1e-16
"""Squared changes below this share of all that were fitted are rounding of agents that have converged: errors are not
measured by them."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What a family says of a history, cut into transitions that are fitted and others that choose.

    Attributes:
        family: a name in `mairl.ops.learners.LEARNERS`.
        seen, target: the model of the fitted transitions, and the changes of the logits in them.
        small, small_target: the same least squares in fewer rows, where there are any.
        unseen, wanted: of the others.
    """

    family: str
    seen: UpdateModel
    target: Float[np.ndarray, " row"]
    small: UpdateModel
    small_target: Float[np.ndarray, " combined"]
    unseen: UpdateModel
    wanted: Float[np.ndarray, " row"]

    @classmethod
    def of(
        cls, game: LinearGame, logits: Float[np.ndarray, "snapshot agent state action"], family: str, validation: int
    ) -> Search:
        """Of all transitions the last `validation` are not fitted."""
        cut = len(logits) - 1 - validation
        changes = np.diff(logits, axis=0)
        seen, target = update_model(game, logits[:cut], family), changes[:cut].ravel()
        small, small_target = seen.compressed(target) if isinstance(seen, Bilinear) else (seen, target)
        unseen = update_model(game, logits[cut:-1], family)
        return cls(family, seen, target, small, small_target, unseen, changes[cut:].ravel())

    def missed(self, fit: Fit) -> float:
        """Relative squared error in the transitions that were not fitted."""
        rest = self.wanted - self.unseen.changes(fit.weights, fit.look_ahead)
        return share(rest, self.wanted, self.target)

    def on_all_rows(self, fit: Fit) -> Fit:
        """With the residual of the changes themselves."""
        rest = self.target - self.seen.changes(fit.weights, fit.look_ahead)
        return dataclasses.replace(fit, relative_residual=float(rest @ rest) / float(self.target @ self.target))

    def explained(self, fit: Fit) -> bool:
        """Nothing but rounding is left, and what was not fitted agrees. (Changes there may be tiny.)"""
        return fit.relative_residual < EXACT and self.missed(fit) < 1e-8


def share(rest: np.ndarray, wanted: np.ndarray, fitted: np.ndarray) -> float:
    """Σ rest² as a share of the changes, or of `SETTLED` of the fitted ones where there are next to none."""
    return float(np.sum(rest**2)) / max(float(np.sum(wanted**2)), SETTLED * float(np.sum(fitted**2)))


def step_work(game: LinearGame, steps: int, family: str) -> float:
    """Multiplications of one Gauss-Newton step, roughly."""
    rows = steps * game.num_agents * game.num_states * game.num_actions
    unknowns = game.num_agents * game.num_features + game.num_agents * (game.num_agents - 1)
    if family in BILINEAR:
        rows = min(rows, game.num_agents * game.num_features * (1 + (game.num_agents - 1) * game.num_features))
        return rows * unknowns**2
    # Each column is a derivative through the solution of a linear system of the states.
    return rows * unknowns * (unknowns + 20 * game.num_states)


def from_grid(search: Search, look_aheads: tuple[float, ...], start: Float[np.ndarray, "agent feature"]) -> Fit:
    """The best fit near given rewards, with λ from a grid; of several λ it goes free from the best.

    Raises:
        Unsupported: no fit converges.
    """
    model, target, family = search.small, search.small_target, search.family
    anticipating, several = family in ANTICIPATING, len(look_aheads) > 1
    tries, failures = [], []
    for look_ahead in sorted(look_aheads) if anticipating else (0.0,):
        # From the solution at the λ before this one: rewards change little between neighbours.
        start = tries[-1].weights if tries else start
        try:
            if family in BILINEAR:
                tries.append(alternate(model, target, start, look_ahead))
            else:
                most = COARSE if several else 50
                tries.append(gauss_newton(model, target, start, look_ahead, free_look_ahead=False, max_iterations=most))
        except Unsupported as error:
            failures.append(str(error))
    if not tries:
        raise Unsupported(failures[-1])
    best = min(tries, key=lambda fit: max(search.missed(fit), EQUAL))
    if anticipating and several and search.missed(best) > EQUAL:
        polished = gauss_newton(model, target, best.weights, best.look_ahead, free_look_ahead=True)
        best = polished if search.missed(polished) < search.missed(best) else best
    return best


def from_more_starts(search: Search, first: Fit, naive: Recovered, look_aheads: tuple[float, ...], starts: int) -> Fit:
    """A better fit than `first`, or `first` itself, from other rewards and λ.

    Args:
        naive: I-LOGEL's rewards, the first to begin from; random ones are of their size.
        look_aheads: one value: λ is known, and stays. Otherwise each pair has its own, as long as that explains more.
        starts: at most.
    """
    if search.family not in ANTICIPATING:
        return first
    free, agents = len(look_aheads) > 1, len(naive.weights)
    best: Fit | None = None

    def go(weights, look_ahead: LookAhead) -> None:
        nonlocal best
        ahead = np.broadcast_to(look_ahead, (agents, agents)) if free else look_ahead
        try:
            tried = gauss_newton(search.small, search.small_target, weights, ahead, free_look_ahead=free)
        except Unsupported:
            return
        if best is None or tried.relative_residual < best.relative_residual:
            best = tried

    go(first.weights, first.look_ahead)
    for weights, look_ahead in starts_around(naive.weights, LOOK_AHEADS if free else look_aheads, starts):
        if best is not None and best.relative_residual < EXACT:
            break
        go(weights, look_ahead)
    if best is None:
        return first
    if best.relative_residual > EXACT:
        # On the way rewards may have grown where they leave no trace, so far that rounding hides the rest.
        go(naive.identified(best.weights), best.look_ahead)
    singles = [first, *([_with_one_look_ahead(search, best)] if free else [best])]
    single = min(singles, key=lambda fit: max(search.missed(fit), EQUAL))
    if not free:
        return single
    # More unknowns always leave less: they have to leave much less, and to predict better.
    much = single.relative_residual > max(EXACT, 2 * best.relative_residual)
    return best if much and search.missed(best) < search.missed(single) else single


def starts_around(start, look_aheads, most: int) -> list[tuple[np.ndarray, float]]:
    """Rewards and λ to begin from: the given rewards with each λ, then random ones of sizes around theirs."""
    rng, found = np.random.default_rng(0), []
    size = np.abs(start).max()
    weights = start
    while len(found) < most and size > 0:
        found += [(weights, float(look_ahead)) for look_ahead in look_aheads]
        weights = rng.normal(size=start.shape) * size * 10 ** rng.uniform(-2, 0.5)
    return found[:most]


def _with_one_look_ahead(search: Search, fit: Fit) -> Fit:
    """The fit with the same λ for all pairs that is nearest."""
    mean = mean_look_ahead(fit.look_ahead)
    try:
        return gauss_newton(search.small, search.small_target, fit.weights, mean, free_look_ahead=True)
    except Unsupported:
        return fit


def mean_look_ahead(look_ahead: LookAhead) -> float:
    """λ as one number: the mean over pairs."""
    if not np.ndim(look_ahead):
        return float(look_ahead)
    pairs = np.asarray(look_ahead)
    return float(np.mean([pairs[pair] for pair in pairs_of(len(pairs))]))
