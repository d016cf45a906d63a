"""I-LOLA for PPO learners: the rewards under which PPO would have made the updates that were seen.

    argmin over ω, s   Σ_t ‖θ_i^{t+1} - θ_i^t - s_i F_i(θ^t; ω_i)‖²,   F: the replayed update

by Gauss-Newton through the replay, with a Levenberg damping that falls while steps help. With a known critic ω has a
scale (values and rewards meet in the advantage) and s is 1; without, advantages are normalised and only ω's direction
can be told: ‖ω‖ = 1 in units of each feature's deviation, and s says how much further the agents went than the replay.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, as_weights, gram, products
from mairl.core.errors import Unsupported
from mairl.networks.feature_values import FeatureValues


@dataclasses.dataclass(frozen=True)
class PPOReward:
    """What is found in updates of PPO.

    Attributes:
        weights: `[agent, feature]`, ω; of length 1 in deviations of the features unless the critic is known.
        step_scale: `[agent]`, s.
        relative_residual: `[agent]`, Σ‖Δ - s F‖² / Σ‖Δ‖².
        iterations: Gauss-Newton steps.
        evaluations: replays of all updates that the search took; one with derivatives counts 1 + features.
    """

    weights: Float[np.ndarray, "agent feature"]
    step_scale: Float[np.ndarray, " agent"]
    relative_residual: Float[np.ndarray, " agent"]
    iterations: int
    evaluations: int


def invert_ppo(
    ppo: PPO,
    record: PPORecord,
    start: Float[np.ndarray, "agent feature"],
    known: Known,
    values: FeatureValues | None = None,
    *,
    max_iterations: int = 12,
    tolerance: float = 1e-4,
) -> PPOReward:
    """The rewards that explain recorded updates best, from a first guess such as the effective gradients'.

    Args:
        tolerance: stops where no agent's residual falls by more than this share.

    Raises:
        Unsupported: features that do not vary, or updates that no reward explains.
    """
    scale = deviations(record)
    weights = np.array(start, np.float64)
    free = known != "play"
    if not free:
        weights = on_sphere(weights, scale)
    agents, features = weights.shape
    damping = np.full(agents, 1e-3)
    kept = residuals(products(ppo, record, as_weights(weights), known, values), free)
    evaluations, steps = 1, 0
    while steps < max_iterations:
        inner = np.asarray(gram(ppo, record, as_weights(weights), known, values), np.float64)
        evaluations += 1 + features
        steps += 1
        gained = np.zeros(agents)
        for _ in range(5):
            tried = np.stack([_step(inner[i], weights[i], scale, damping[i], free) for i in range(agents)])
            if not free:
                tried = on_sphere(tried, scale)
            after = residuals(products(ppo, record, as_weights(tried), known, values), free)
            evaluations += 1
            better = after[1] < kept[1]
            gained = np.where(better, kept[1] - after[1], gained)
            weights = np.where(better[:, None], tried, weights)
            kept = tuple(np.where(better, new, old) for new, old in zip(after, kept))
            damping = np.clip(np.where(better, damping / 10, damping * 10), 1e-9, 1e3)
            if better.any():
                break
        if np.all(gained <= tolerance * kept[1]):
            break
    if not np.all(np.isfinite(kept[1])):
        raise Unsupported(f"the replayed updates are not finite (residuals {kept[1]}): begin from another guess")
    return PPOReward(weights, kept[0], kept[1], steps, evaluations)


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


def on_sphere(weights, scale) -> Float[np.ndarray, "agent feature"]:
    """Each agent's weights with length 1 in deviations of the features."""
    size = np.linalg.norm(weights * scale, axis=-1, keepdims=True)
    if np.any(size == 0):
        raise Unsupported("an agent's first guess is 0: it has no direction to begin from")
    return weights / size


def fit_scale(
    ppo: PPO, record: PPORecord, weights: Float[np.ndarray, "agent feature"], known: Known, values
) -> Float[np.ndarray, " agent"]:
    """s for given rewards: 1 where everything was recorded."""
    return residuals(products(ppo, record, as_weights(weights), known, values), known != "play")[0]


def residuals(inner, free: bool) -> tuple[np.ndarray, np.ndarray]:
    """s and the relative residual of each agent, from the products of F and Δ."""
    inner = np.asarray(inner, np.float64)
    pushed, both, moved = inner[:, 0, 0], inner[:, 0, 1], inner[:, 1, 1]
    scale = np.ones(len(inner)) if free else np.maximum(both, 1e-9 * moved) / np.maximum(pushed, 1e-300)
    return scale, (moved - 2 * scale * both + scale**2 * pushed) / moved


def _step(inner, weights, scale, damping: float, free: bool) -> Float[np.ndarray, " feature"]:
    """Where a damped Gauss-Newton step leads one agent: Δ ≈ s F + s ∂F/∂ω (ω' - ω), s free unless `free`."""
    features = len(weights)
    slopes = inner[:features, :features] / np.outer(scale, scale)
    push, move = inner[:features, features] / scale, inner[:features, features + 1] / scale
    mass = float(np.trace(slopes)) / features
    damped = slopes + damping * max(mass, 1e-300) * np.eye(features)
    if free:
        return weights + np.linalg.solve(damped, move - push) / scale
    # With s out of the way: of F and Δ the parts that ∂F/∂ω could make are matched, s by what is left.
    system = np.zeros((features + 1, features + 1))
    system[:features, :features] = damped
    system[:features, features] = system[features, :features] = push
    system[features, features] = inner[features, features]
    found = np.linalg.lstsq(system, np.append(move, inner[features, features + 1]), rcond=None)[0]
    stretch = found[-1]
    return weights + (found[:-1] / stretch / scale if stretch > 0 else found[:-1] / scale)
