"""I-LOLA for PPO learners: the rewards under which PPO would have made the updates that were seen.

    argmin over u, s   Σ_t ‖θ_i^{t+1} - θ_i^t - s_i F_i(θ^t; u_i)‖²,   F: the replayed update

by damped Gauss-Newton through the replay. With a known critic the unknowns u are the weights ω. They have a scale
(values and rewards meet in the advantage), and s is 1. Without, u are ω and the coefficients of a critic for each
stretch of updates without a gap. Advantages are normalised then and only u's direction can be told: ‖ω‖ = 1 in units of
each feature's deviation, and s says how much further the agents went than the replay.

Dozens of clipped steps of Adam make F rough: it is differentiable, but its derivative says little about F a little
further on. Slopes are therefore secants, as wide as what is left to explain asks for, and narrower as the search comes
near. Where updates are short and smooth, derivatives do as well.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_observations import observation_bases
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, as_weights, gram, products, stretches
from mairl.core.errors import Unsupported
from mairl.networks.feature_values import Basis
from mairl.ops.least_squares import null_space, project_out


@dataclasses.dataclass(frozen=True)
class PPOReward:
    """What is found in updates of PPO.

    Attributes:
        weights: `[agent, feature]`, ω; of length 1 in deviations of the features unless the critic is known.
        critics: `[step, agent, coefficient]` of the basis where the critic was not known, in the rewards' units; else
            none.
        step_scale: `[agent]`, s.
        relative_residual: `[agent]`, Σ‖Δ - s F‖² / Σ‖Δ‖².
        iterations: Gauss-Newton steps.
        evaluations: replays of all updates that the search took; one with derivatives counts 1 + unknowns, secants two
            for each unknown.
    """

    weights: Float[np.ndarray, "agent feature"]
    critics: Float[np.ndarray, "step agent coefficient"]
    step_scale: Float[np.ndarray, " agent"]
    relative_residual: Float[np.ndarray, " agent"]
    iterations: int
    evaluations: int

    def unknowns(self, steps: Int[np.ndarray, " step"]) -> Float[np.ndarray, "step agent unknown"]:
        """What updates are replayed with, each with the critic of one of those that were fitted."""
        return with_critics(self.weights, self.critics[steps])


Slopes = Literal["secants", "derivatives"]

SCALES = 10.0 ** np.arange(-3, 3.5, 0.5)
"""Lengths in which a first guess is tried where rewards have a scale: in deviations of the features as PPO scales
rewards."""

DAMPINGS = 10.0 ** np.arange(-2, 3)
"""Every iteration tries so many times the last one's damping, and keeps the best."""

WIDTH = 0.3
"""Secants span as much of the observed changes as this share of the residual's root."""


def invert_ppo(
    ppo: PPO,
    record: PPORecord,
    start: Float[np.ndarray, "agent feature"],
    known: Known,
    *,
    only_learner: bool = False,
    slopes: Slopes = "secants",
    max_iterations: int = 10,
    tolerance: float = 1e-3,
) -> PPOReward:
    """The rewards that explain recorded updates best, from a first guess such as the gradients' (`ppo_gradients`).

    Args:
        start: unless `only_learner` only the direction matters, and of it what the play tells (`untold`).
        only_learner: the rewards stay as they are; what else is unknown, the critic's coefficients and s, is fitted.
        slopes: see the module's docstring.
        tolerance: stops where no agent's residual has fallen by more than this share twice running.

    Raises:
        Unsupported: features that do not vary, or updates that no reward explains.
    """
    basis = supposed_basis(record, known)
    stretch = stretches(ppo, record)
    width, count = coefficients(basis), int(stretch[-1]) + 1
    agents, features = np.shape(start)
    spread = deviations(record)
    sought = np.arange(features if only_learner else 0, features + count * width)
    free = known != "play"

    def of_steps(unknowns):
        critics = np.moveaxis(unknowns[:, features:].reshape(agents, count, width), 1, 0)[stretch]
        return with_critics(unknowns[:, :features], critics)

    def best_of(guesses, values):
        """Each agent's own best guess, with its number."""
        best = np.argmin([np.nan_to_num(residual, nan=np.inf) for _, residual in values], axis=0)
        own = np.arange(agents)
        return np.stack(guesses)[best, own], tuple(np.stack(x)[best, own] for x in zip(*values)), best

    def tried(unknowns):
        return residuals(products(ppo, record, as_weights(of_steps(unknowns)), known, basis), free)

    told = np.asarray(start, np.float64) if only_learner else as_told(record, np.asarray(start, np.float64))
    guesses = [np.concatenate([told, np.zeros((agents, count * width))], axis=1)]
    if not (free and only_learner):
        guesses = [on_sphere(guesses[0], spread)]
        if free:
            guesses = [guesses[0] * scale / ppo.reward_scale for scale in SCALES]
    found, kept, _ = best_of(guesses, [tried(g) for g in guesses])
    evaluations, steps = len(guesses), 0
    reach = np.full_like(found, 0.1)
    reach[:, :features] = 0.02 * np.linalg.norm(found[:, :features] * spread, axis=1, keepdims=True) / spread
    damping, idle = np.full(agents, 1e-2), np.zeros(agents, int)
    while steps < max_iterations and len(sought) and np.any(idle < 2):
        widths = as_weights(of_steps(reach)) if slopes == "secants" else None
        each = np.asarray(gram(ppo, record, as_weights(of_steps(found)), known, basis, widths), np.float64)
        inner = _joined(each, stretch, features)
        guesses, values = [found], [kept]
        for factor in DAMPINGS:
            ahead = [_step(inner[i], found[i], sought, factor * damping[i], free) for i in range(agents)]
            guesses.append(np.stack(ahead) if free else on_sphere(np.stack(ahead), spread))
            values.append(tried(guesses[-1]))
        found, now, best = best_of(guesses, values)
        idle = np.where(kept[1] - now[1] > tolerance * kept[1], 0, idle + 1)
        kept = now
        damping = np.clip(damping * np.where(best > 0, DAMPINGS[best - 1], DAMPINGS[-1]), 1e-8, 1e6)
        reach = reach * np.clip(WIDTH * np.sqrt(kept[1])[:, None] / _spans(each, reach, stretch, features), 0.2, 5.0)
        evaluations += 1 + (features + width) * (2 if slopes == "secants" else 1) + len(DAMPINGS)
        steps += 1
    if not np.all(np.isfinite(kept[1])):
        raise Unsupported(f"the replayed updates are not finite (residuals {kept[1]}): begin from another guess")
    critics = of_steps(found)[..., features:]
    return PPOReward(found[:, :features], critics, kept[0], kept[1], steps, evaluations)


def with_critics(
    weights: Float[np.ndarray, "agent feature"], critics: Float[np.ndarray, "step agent coefficient"]
) -> Float[np.ndarray, "step agent unknown"]:
    """What updates are replayed with: the same weights in all."""
    return np.concatenate([np.broadcast_to(weights, (len(critics), *weights.shape)), critics], axis=-1)


def _joined(
    inner: Float[np.ndarray, "step agent column column"], stretch: Int[np.ndarray, " step"], features: int
) -> Float[np.ndarray, "agent whole whole"]:
    """Products summed over updates, with columns of their own for the critic of each stretch."""
    width = inner.shape[-1] - features - 2
    size = features + (int(stretch[-1]) + 1) * width + 2
    whole = np.zeros((inner.shape[1], size, size))
    for each, number in zip(inner, stretch):
        own = features + number * width + np.arange(width)
        columns = np.concatenate([np.arange(features), own, [size - 2, size - 1]])
        whole[:, columns[:, None], columns] += each
    return whole


def supposed_basis(record: PPORecord, known: Known) -> Basis | None:
    """What critics that are not known are supposed to be linear in: 1 and the observation."""
    return observation_bases(record, 0) if known == "play" else None


def coefficients(basis: Basis | None) -> int:
    """How many a critic has."""
    return 0 if basis is None else 1 + basis.centre.shape[-1] + basis.bias.shape[-1]


def deviations(record: PPORecord) -> Float[np.ndarray, " feature"]:
    """The standard deviation of each feature over all play, where agents took part."""
    features = np.asarray(record.features, np.float64)[np.asarray(record.rollout.mask)]
    spread = features.std(axis=0)
    if np.any(spread < 1e-9):
        flat = np.flatnonzero(spread < 1e-9).tolist()
        raise Unsupported(
            f"features {flat} do not vary in the recorded play: nothing tells what they are worth; leave them out, or "
            "record updates in which they do"
        )
    return spread


def untold(record: PPORecord) -> tuple[Float[np.ndarray, "feature free"], ...]:
    """The null space of each agent's weights, in deviations of the features: rewards along it pay nothing anywhere in
    the recorded play. Orthonormal columns."""
    scale, mask = deviations(record), np.asarray(record.rollout.mask)
    felt = np.asarray(record.features, np.float64) / scale
    # Features are in single precision: what two of them differ by in rounding tells nothing.
    return tuple(null_space(felt[..., i, :][mask[..., i]], tolerance=1e-5) for i in range(felt.shape[-2]))


def as_told(record: PPORecord, weights: Float[np.ndarray, "agent feature"]) -> Float[np.ndarray, "agent feature"]:
    """The weights without their part in the null space: what the play does not tell is worth nothing."""
    scale = deviations(record)
    return np.stack([project_out(w * scale, space) for w, space in zip(weights, untold(record))]) / scale


def on_sphere(unknowns, scale) -> Float[np.ndarray, "agent unknown"]:
    """Each agent's unknowns divided so that the weights, which come first, have length 1 in deviations of the features
    (`scale`)."""
    size = np.linalg.norm(unknowns[:, : len(scale)] * scale, axis=-1, keepdims=True)
    if np.any(size == 0):
        raise Unsupported("an agent's first guess is 0: it has no direction to begin from")
    return unknowns / size


def residuals(inner, free: bool) -> tuple[np.ndarray, np.ndarray]:
    """s and the relative residual of each agent, from the products of F and Δ."""
    inner = np.asarray(inner, np.float64)
    pushed, both, moved = inner[:, 0, 0], inner[:, 0, 1], inner[:, 1, 1]
    scale = np.ones(len(inner)) if free else np.maximum(both, 1e-9 * moved) / np.maximum(pushed, 1e-300)
    # In single precision the difference can fall below 0.
    return scale, np.maximum(moved - 2 * scale * both + scale**2 * pushed, 0.0) / moved


def _spans(
    inner: Float[np.ndarray, "step agent column column"],
    reach: Float[np.ndarray, "agent unknown"],
    stretch: Int[np.ndarray, " step"],
    features: int,
) -> Float[np.ndarray, "agent unknown"]:
    """How far each secant goes, as a share of the observed changes of the updates that it is about."""
    squares = np.diagonal(inner, axis1=2, axis2=3)
    joint = squares.sum(axis=0)
    own = np.stack([squares[stretch == number].sum(axis=0) for number in range(int(stretch[-1]) + 1)], axis=1)
    share = joint[:, :features] / joint[:, -1:]
    shares = [share, (own[..., features:-2] / own[..., -1:]).reshape(len(share), -1)]
    return np.maximum(2 * reach * np.sqrt(np.concatenate(shares, axis=1)), 1e-9)


def _step(inner, unknowns, sought, damping: float, free: bool) -> Float[np.ndarray, " unknown"]:
    """Where a damped Gauss-Newton step leads one agent: Δ ≈ s F + s ∂F/∂u (u' - u), s free unless `free`. Unknowns
    that are not `sought` stay. The damping is a share of each slope's own length (Marquardt 1963)."""
    count, last = len(sought), len(unknowns)
    length = np.sqrt(np.diagonal(inner)[sought])
    length = np.where(length > 0, length, 1.0)
    damped = inner[np.ix_(sought, sought)] / np.outer(length, length) + damping * np.eye(count)
    push, move = inner[sought, last] / length, inner[sought, last + 1] / length
    ahead = np.array(unknowns)
    if free:
        ahead[sought] += np.linalg.solve(damped, move - push) / length
        return ahead
    # With s out of the way: of F and Δ the parts that ∂F/∂u could make are matched, s by what is left.
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = damped
    system[:count, count] = system[count, :count] = push
    system[count, count] = inner[last, last]
    found = np.linalg.lstsq(system, np.append(move, inner[last, last + 1]), rcond=None)[0]
    pace = found[-1]
    ahead[sought] += found[:-1] / (pace if pace > 0 else 1.0) / length
    return ahead
