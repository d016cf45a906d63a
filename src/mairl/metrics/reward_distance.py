"""How far a recovered reward is from the true one, up to what demonstrations cannot tell.

A reward is recovered at best up to a positive scale, a constant and potential shaping. Measures here allow for the
first two; EPIC and STARC also for shaping.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

TINY = 1e-12
"""A reward whose variance is below this share of its mean square counts as constant."""


def is_constant(x: Float[np.ndarray, " n"]) -> bool:
    """Whether the values differ by no more than rounding."""
    return len(x) == 0 or bool(np.var(x) <= TINY * np.mean(np.square(x)))


def affine_fit(found: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> dict[str, float | None]:
    """The least-squares fit truth ≈ a · found + b with a ≥ 0: its mean squared error, its share of the truth's
    variance, and a. A constant `found` fits with a = 0."""
    var_x, var_y = float(np.var(found)), float(np.var(truth))
    covariance = float(np.mean((found - found.mean()) * (truth - truth.mean())))
    slope = 0.0 if is_constant(found) else max(0.0, covariance / var_x)
    residual = truth - truth.mean() - slope * (found - found.mean())
    mse = float(np.mean(residual**2))
    return {"mse": mse, "unexplained": None if is_constant(truth) else mse / var_y, "slope": slope}


def pearson(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """Correlation; None if either is constant."""
    if is_constant(a) or is_constant(b):
        return None
    a, b = a - a.mean(), b - b.mean()
    return float(np.mean(a * b) / np.sqrt(np.mean(a**2) * np.mean(b**2)))


def ranks(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 0, ties sharing their mean rank."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return (first + (counts - 1) / 2)[inverse]


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """Rank correlation; None if either is constant."""
    return pearson(ranks(np.asarray(a)), ranks(np.asarray(b)))


def pearson_distance(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """√((1 - ρ) / 2), in [0, 1] (Gleave et al. 2021, Definition 4.5); None if either is constant."""
    rho = pearson(a, b)
    return None if rho is None else float(np.sqrt(max(0.0, (1 - rho) / 2)))


def epic_canonical(
    reward: Float[np.ndarray, "state action next"],
    state_weight: Float[np.ndarray, " state"],
    action_weight: Float[np.ndarray, " action"],
    discount: float,
) -> Float[np.ndarray, "state action next"]:
    """The canonically shaped reward of EPIC (Gleave et al. 2021, Definition 4.1), exactly, on a finite table:

    C(R)(s, a, s') = R(s, a, s') + E[γ R(s', A, S') - R(s, A, S') - γ R(S, A, S')]

    with S, S' ~ state_weight and A ~ action_weight.
    """
    mean = np.einsum("a,t,sat->s", action_weight, state_weight, reward)
    return reward + discount * mean[None, None, :] - mean[:, None, None] - discount * float(state_weight @ mean)


def epic_distance(first, second, state_weight, action_weight, discount: float) -> float | None:
    """EPIC distance of two rewards `[state, action, next]` under independent coverage; None if either is constant."""
    weight = np.einsum("s,a,t->sat", state_weight, action_weight, state_weight)
    a = epic_canonical(first, state_weight, action_weight, discount)
    b = epic_canonical(second, state_weight, action_weight, discount)
    for form, reward in ((a, first), (b, second)):  # what is left of pure shaping is rounding
        if np.sum(weight * form**2) <= TINY * np.sum(weight * np.square(reward)):
            return None
    a, b = a - np.sum(weight * a), b - np.sum(weight * b)
    scale = float(np.sqrt(np.sum(weight * a**2) * np.sum(weight * b**2)))
    return float(np.sqrt(max(0.0, (1 - float(np.sum(weight * a * b)) / scale) / 2)))


def starc_distance(
    first: Float[np.ndarray, "state action"],
    second: Float[np.ndarray, "state action"],
    flow: Float[np.ndarray, "state action next"],
    policy: Float[np.ndarray, "state action"],
    discount: float,
) -> float | None:
    """STARC distance (Skalse et al. 2024) of two rewards of a finite decision process, in [0, 1].

    Canonical form: value-adjusted levelling, c(R)(s, a) = R(s, a) + γ E[V(s')] - V(s), with V the value of `policy`
    (their Definition 4); norm: Euclidean; distance: half the distance of the normalised forms. None if either is 0.

    Args:
        flow: transition probabilities.
        policy: any policy that takes every action; uniform is customary.
    """

    def canonical(reward):
        pay = np.sum(policy * reward, axis=1)
        move = np.einsum("sa,sat->st", policy, flow)
        value = np.linalg.solve(np.eye(len(pay)) - discount * move, pay)
        form = reward + discount * flow @ value - value[:, None]
        size = np.linalg.norm(form)
        return None if size**2 <= TINY * np.sum(np.square(reward)) else form / size

    a, b = canonical(np.asarray(first, np.float64)), canonical(np.asarray(second, np.float64))
    return None if a is None or b is None else float(np.linalg.norm(a - b) / 2)


def compare(
    found: Float[np.ndarray, "step agent"], truth: Float[np.ndarray, "step agent"], mask
) -> list[dict[str, Any]]:
    """All sampled measures for each agent, over the steps in which it took part.

    A recovered or true reward that is constant on them is named: its correlations are None.
    """
    result = []
    for i in range(truth.shape[1]):
        x, y = np.asarray(found[mask[:, i], i], np.float64), np.asarray(truth[mask[:, i], i], np.float64)
        if len(x) == 0:
            x, y = np.zeros(1), np.zeros(1)
        fit = affine_fit(x, y)
        result.append(
            {
                "affine_mse": fit["mse"],
                "unexplained": fit["unexplained"],
                "slope": fit["slope"],
                "pearson": pearson(x, y),
                "spearman": spearman(x, y),
                "pearson_distance": pearson_distance(x, y),
                "found_constant": is_constant(x),
                "truth_constant": is_constant(y),
            }
        )
    return result
