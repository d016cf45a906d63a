"""I-LOLA for PPO learners: the rewards under which PPO would have made the updates that were seen.

    argmin over u, s   Σ_t ‖θ_i^{t+1} - θ_i^t - s_i F_i(θ^t; u_i)‖²,   F: the replayed update

by Gauss-Newton through the replay, with a Levenberg damping that falls while steps help. With a known critic the
unknowns u are the weights ω. They have a scale (values and rewards meet in the advantage), and s is 1. Without, u are ω
and the coefficients of a critic for each stretch of updates without a gap. Advantages are normalised then and only u's
direction can be told: ‖ω‖ = 1 in units of each feature's deviation, and s says how much further the agents went than
the replay.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_observations import observation_bases
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, as_weights, gram, products, stretches
from mairl.core.errors import Unsupported
from mairl.networks.feature_values import Basis


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
        evaluations: replays of all updates that the search took; one with derivatives counts 1 + unknowns.
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


def invert_ppo(
    ppo: PPO,
    record: PPORecord,
    start: Float[np.ndarray, "agent feature"],
    known: Known,
    *,
    only_learner: bool = False,
    max_iterations: int = 8,
    tolerance: float = 1e-3,
) -> PPOReward:
    """The rewards that explain recorded updates best, from a first guess such as the gradients' (`ppo_gradients`).

    Args:
        only_learner: the rewards stay as they are; what else is unknown, the critic's coefficients and s, is fitted.
        tolerance: stops where no agent's residual falls by more than this share.

    Raises:
        Unsupported: features that do not vary, or updates that no reward explains.
    """
    basis = supposed_basis(record, known)
    stretch = stretches(ppo, record)
    width, count = coefficients(basis), int(stretch[-1]) + 1
    agents, features = np.shape(start)
    spread = deviations(record)
    scale = np.append(spread, np.ones(count * width))
    found = np.concatenate([np.asarray(start, np.float64), np.zeros((agents, count * width))], axis=1)
    sought = np.arange(features if only_learner else 0, features + count * width)
    free = known != "play"

    def normalised(unknowns):
        return unknowns if free else on_sphere(unknowns, spread)

    def critics(unknowns):
        return np.moveaxis(unknowns[:, features:].reshape(agents, count, width), 1, 0)[stretch]

    def of_steps(unknowns):
        return as_weights(with_critics(unknowns[:, :features], critics(unknowns)))

    def tried(unknowns):
        return residuals(products(ppo, record, of_steps(unknowns), known, basis), free)

    found = normalised(found)
    damping = np.full(agents, 1e-3)
    kept = tried(found)
    evaluations, steps = 1, 0
    while steps < max_iterations and len(sought):
        each = np.asarray(gram(ppo, record, of_steps(found), known, basis), np.float64)
        inner = _joined(each, stretch, features)
        evaluations += 1 + features + width
        steps += 1
        gained = np.zeros(agents)
        for _ in range(5):
            ahead = normalised(
                np.stack([_step(inner[i], found[i], scale, sought, damping[i], free) for i in range(agents)])
            )
            after = tried(ahead)
            evaluations += 1
            better = after[1] < kept[1]
            gained = np.where(better, kept[1] - after[1], gained)
            found = np.where(better[:, None], ahead, found)
            kept = tuple(np.where(better, new, old) for new, old in zip(after, kept))
            damping = np.clip(np.where(better, damping / 10, damping * 10), 1e-9, 1e3)
            if better.any():
                break
        if np.all(gained <= tolerance * kept[1]):
            break
    if not np.all(np.isfinite(kept[1])):
        raise Unsupported(f"the replayed updates are not finite (residuals {kept[1]}): begin from another guess")
    return PPOReward(found[:, :features], critics(found), kept[0], kept[1], steps, evaluations)


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
    return scale, (moved - 2 * scale * both + scale**2 * pushed) / moved


def _step(inner, unknowns, scale, sought, damping: float, free: bool) -> Float[np.ndarray, " unknown"]:
    """Where a damped Gauss-Newton step leads one agent: Δ ≈ s F + s ∂F/∂u (u' - u), s free unless `free`. Unknowns
    that are not `sought` stay."""
    count, last = len(sought), len(unknowns)
    scale = scale[sought]
    slopes = inner[np.ix_(sought, sought)] / np.outer(scale, scale)
    push, move = inner[sought, last] / scale, inner[sought, last + 1] / scale
    mass = float(np.trace(slopes)) / count
    damped = slopes + damping * max(mass, 1e-300) * np.eye(count)
    ahead = np.array(unknowns)
    if free:
        ahead[sought] += np.linalg.solve(damped, move - push) / scale
        return ahead
    # With s out of the way: of F and Δ the parts that ∂F/∂u could make are matched, s by what is left.
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = damped
    system[:count, count] = system[count, :count] = push
    system[count, count] = inner[last, last]
    found = np.linalg.lstsq(system, np.append(move, inner[last, last + 1]), rcond=None)[0]
    stretch = found[-1]
    ahead[sought] += found[:-1] / (stretch if stretch > 0 else 1.0) / scale
    return ahead
