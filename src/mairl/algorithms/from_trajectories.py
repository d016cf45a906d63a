"""I-LOLA where policies are not seen, only what they do: three ways, from rough and quick to efficient.

θ̂_t are cloned policies (`mairl.algorithms.cloning`), w_t the information on each of their entries, N(s) π(a | s).

    per-step      minimise Σ_t ‖θ̂_{t+1} - θ̂_t - F(θ̂_t; u, λ)‖²_w: differences of noisy policies, as LOGEL does
    telescoped    minimise Σ_t ‖θ̂_t - θ_0 - Σ_{s<t} F(θ̂_s; u, λ)‖²_w over u, λ and θ_0: each policy's noise enters
                  once, not in two differences
    likelihood    maximise Σ_t Σ_{s,a} n_t(s, a) log π_{θ_t}(a | s) over u, λ and θ_0, with θ_{t+1} = θ_t + F(θ_t; u, λ)
                  the policies of agents that learn as assumed: all of the noise is the sampling of actions

The last transitions are kept: the family that gives their actions the highest likelihood is chosen. Naive learners are
the case λ = 0 of those that look ahead, which by chance predict as well or a little better: naive ones are told unless
another family is likelier by more than one standard error of the difference, over the actions (Breiman, Friedman,
Olshen & Stone, Classification and Regression Trees, 1984, section 3.4.3).

Both sums of squares have other minima, as those of policies that are seen have (`mairl.algorithms.family_search`): they
are begun from several rewards and λ, and the likelihood from the best that they end in.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float

from mairl.algorithms.cloning import PRIOR, action_counts, cloned
from mairl.algorithms.family_fit import Fit, alternate, gauss_newton
from mairl.algorithms.family_search import EXACT, LOOK_AHEADS, STARTS, WORK, starts_around
from mairl.algorithms.i_lola import GRID, check_choices, recovered
from mairl.algorithms.logel import check_moved
from mairl.algorithms.recovered import Recovered
from mairl.algorithms.trajectory_likelihood import most_likely
from mairl.algorithms.update_model import BILINEAR, UpdateModel, update_model
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.learning_history import LearningHistory
from mairl.ops.host_softmax import log_softmax
from mairl.ops.learners import ANTICIPATING
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame

Method = Literal["per-step", "telescoped", "likelihood"]
LogProbs = Float[np.ndarray, "step agent state action"]

FEW = 8
"""Further starts of families that are no polynomials: each of their steps costs derivatives through the learner."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """A model whose rows are combined over the steps and weighted.

    Attributes:
        model: rows (step, agent, state, action).
        shape: of these rows.
        weights: of the combined rows, `[step, agent, state, action]`.
        telescoped: sums over steps instead of single steps, less what a free start explains.
    """

    model: UpdateModel
    shape: tuple[int, ...]
    weights: Float[np.ndarray, "step agent state action"]
    telescoped: bool

    def changes(self, weights, look_ahead):
        """See `UpdateModel`."""
        return self.combined(self.model.changes(weights, look_ahead)[:, None])[:, 0]

    def jacobian(self, weights, look_ahead):
        """See `UpdateModel`."""
        return self.combined(self.model.jacobian(weights, look_ahead))

    def combined(self, rows: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "combined column"]:
        """Changes of single steps as the rows that are fitted."""
        steps = rows.reshape(*self.shape, -1)
        if self.telescoped:
            steps = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
            share = self.weights / np.maximum(self.weights.sum(axis=0), 1e-300)
            steps = steps - np.sum(share[..., None] * steps, axis=0)
        return (np.sqrt(self.weights)[..., None] * steps).reshape(-1, steps.shape[-1])


def i_lola_from_trajectories(
    game: LinearGame,
    history: LearningHistory,
    *,
    method: Method = "likelihood",
    families: tuple[str, ...] = BILINEAR,
    look_aheads: tuple[float, ...] = GRID,
    validation: int = 2,
    prior: float = PRIOR,
) -> Recovered:
    """The rewards, λ and the family of learners that explain recordings of learning agents best.

    Args:
        history: with recordings; its policies, if it has any, are not read.
        method: see the module.
        families, look_aheads, validation: as in `i_lola`.
        prior: of `cloned`.

    Raises:
        InvalidData: no recordings, or too few of them.
        Unsupported: no family or an unknown one, a λ that is negative or not finite, or no fit that converges.
    """
    counts = action_counts(history, game.num_states, game.num_actions)
    return from_counts(
        game, counts, method=method, families=families, look_aheads=look_aheads, validation=validation, prior=prior
    )


def from_counts(
    game: LinearGame,
    counts: Float[np.ndarray, "step agent state action"],
    *,
    method: Method = "likelihood",
    families: tuple[str, ...] = BILINEAR,
    look_aheads: tuple[float, ...] = GRID,
    validation: int = 2,
    prior: float = PRIOR,
) -> Recovered:
    """`i_lola_from_trajectories`, from how often each action was taken in each state."""
    check_choices(families, look_aheads)
    transitions = len(counts) - 1
    if validation < 0 or transitions - validation < 1 or (validation == 0 and len(families) > 1):
        raise InvalidData(
            f"{transitions} transitions, {validation} of them for validation: at least one is needed to fit, and one "
            "to choose among families; record more snapshots, or set validation"
        )
    fitted = counts[: transitions - validation + 1]
    logits = cloned(fitted, prior)
    check_moved(np.diff(logits, axis=0))
    unseen = counts[len(fitted) :]
    found: list[tuple[Recovered, LogProbs]] = []
    failures = []
    for family in families:
        try:
            found.append(_family(game, fitted, logits, unseen, family, method, look_aheads))
        except Unsupported as error:
            failures.append(f"{family}: {error}")
    if not found:
        raise Unsupported(f"no family fits: {'; '.join(failures)}")
    best = simplest(found, unseen)
    return dataclasses.replace(best, notes=best.notes + tuple(f"not fitted, {failure}" for failure in failures))


def simplest(
    found: list[tuple[Recovered, LogProbs]], unseen: Float[np.ndarray, "step agent state action"]
) -> Recovered:
    """The likeliest family, or `naive` where that is likelier by no more than one standard error."""
    best, likeliest = min(found, key=lambda pair: pair[0].held_out or 0.0)
    for plain, log_probs in found:
        if plain.family == "naive" and best.family in ANTICIPATING:
            gain, error = advantage(likeliest, log_probs, unseen)
            if gain <= error:
                note = (
                    f"{best.family} predicts later play better by {gain:.1g} nats an action, standard error {error:.1g}"
                )
                return dataclasses.replace(plain, notes=(*plain.notes, f"{note}: the simpler family is told"))
    return best


def advantage(ours: LogProbs, theirs: LogProbs, counts: Float[np.ndarray, "step agent state action"]):
    """How much likelier actions are under one prediction than under another, nats an action, and its standard error."""
    apart, total = ours - theirs, counts.sum()
    mean = np.sum(counts * apart) / total
    return float(mean), float(np.sqrt(np.sum(counts * (apart - mean) ** 2)) / total)


def _family(game, counts, logits, unseen, family: str, method: Method, look_aheads) -> tuple[Recovered, LogProbs]:
    rows, target = fitted_rows(game, counts, logits, family, telescoped=method != "per-step")
    start = np.zeros((game.num_agents, game.num_features))
    tries: list[Fit] = []
    for look_ahead in sorted(look_aheads) if family in ANTICIPATING else (0.0,):
        # From the solution at the λ before this one: rewards change little between neighbours.
        start = tries[-1].weights if tries else start
        if family in BILINEAR:
            tries.append(alternate(rows, target, start, look_ahead))
        else:
            tries.append(gauss_newton(rows, target, start, look_ahead, free_look_ahead=False, max_iterations=4))
    best = min(tries, key=lambda fit: fit.relative_residual)
    free = family in ANTICIPATING and len(look_aheads) > 1
    if free:
        best = gauss_newton(rows, target, best.weights, best.look_ahead, free_look_ahead=True)
    if family in ANTICIPATING:
        best = _from_more_starts(rows, target, best, family, look_aheads)
    first = logits[-1]
    if method == "likelihood":
        best, path = most_likely(game, counts, family, best, logits[0], free_look_ahead=free)
        first = path[-1]
    expected = predicted(game, family, best, first, len(unseen))
    held_out = -float(np.sum(unseen * expected)) / float(unseen.sum()) if len(unseen) else None
    return recovered(game, rows, best, family, held_out), expected


def _from_more_starts(rows: Rows, target, first: Fit, family: str, look_aheads: tuple[float, ...]) -> Fit:
    """The best of a fit and of those from other rewards, of sizes around its own, and other λ. Without more than noise
    to tell them apart, λ below 0 explain as well as others: they are left out."""
    free = len(look_aheads) > 1
    starts = min(STARTS if family in BILINEAR else FEW, int(WORK / (len(target) * (first.weights.size + 1) ** 2)))
    best = first
    for weights, look_ahead in starts_around(first.weights, LOOK_AHEADS if free else look_aheads, starts):
        if best.relative_residual < EXACT:
            break
        try:
            tried = gauss_newton(rows, target, weights, look_ahead, free_look_ahead=free)
        except Unsupported:
            continue
        if tried.relative_residual < best.relative_residual and np.all(np.asarray(tried.look_ahead) >= 0):
            best = tried
    return best


def fitted_rows(game: LinearGame, counts, logits, family: str, *, telescoped: bool):
    """The model of a family at cloned policies and what it is fitted to, both weighted by what is known.

    The information on a logit is N π; the change between two is known as well as the lesser of both.
    """
    known = counts.sum(axis=-1, keepdims=True) * np.exp(log_softmax(logits))
    if not telescoped:
        known = 1 / (1 / np.maximum(known[1:], 1e-300) + 1 / np.maximum(known[:-1], 1e-300))
    changes = np.diff(logits, axis=0)
    rows = Rows(update_model(game, logits[:-1], family), changes.shape, known, telescoped)
    return rows, rows.combined(changes.reshape(-1, 1))[:, 0]


def predicted(game: LinearGame, family: str, fit: Fit, logits, steps: int) -> LogProbs:
    """Log probabilities of actions under the policies that follow from `logits`."""
    found = np.empty((steps, *np.shape(logits)))
    for step in range(steps):
        logits = next_logits(family, game, logits, fit.weights, fit.look_ahead)
        found[step] = log_softmax(logits)
    return found
