"""Reward distances that do not see potential shaping, from sampled steps.

A potential Φ changes R(s, a, s') to R + γ Φ(s') - Φ(s) and no best response (Ng et al. 1999). Two canonical forms
undo it: EPIC's, by what uniform play would be paid at s and s', and the smallest one: R less the best-fitting shaping,
with Φ from features of what the agent sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mairl.metrics.reward_distance import is_constant, pearson, pearson_distance
from mairl.metrics.reward_sample import Values


def epic_sampled(found: Values, truth: Values, discount: float) -> float | None:
    """EPIC distance in [0, 1] (Gleave et al. 2021, Definitions 4.1 and 4.5) over sampled steps of one agent.

    C(R)(s, a, s') = R(s, a, s') + γ E[R(s', A, S')] - E[R(s, A, S')] - a constant, A uniform, S' from the sample.

    Args:
        found, truth: leaves `[n]`.
    """

    def canonical(v: Values):
        return np.asarray(v.paid, np.float64) + discount * np.asarray(v.next_mean) - np.asarray(v.mean)

    return pearson_distance(canonical(found), canonical(truth))


def least_shaped(
    reward: Float[np.ndarray, " n"],
    difference: Float[np.ndarray, "n feature"],
    episode,
    ridge: float = 1e-3,
) -> Float[np.ndarray, " n"]:
    """`reward` less a constant and the shaping that explains most of it: the residual of a ridge regression on
    γ φ(s') - φ(s), each half of the episodes with the potential fitted on the other half, so that a rich φ cannot
    explain noise."""
    residual = np.zeros(len(reward))
    even = np.asarray(episode) % 2 == 0
    for train, test in ((even, ~even), (~even, even)):
        if not train.any() or not test.any():
            train = test = np.ones(len(reward), bool)
        x, y = np.asarray(difference[train], np.float64), np.asarray(reward[train], np.float64)
        centre, level = x.mean(0), y.mean()
        x = x - centre
        gram = x.T @ x / len(x)
        gram[np.diag_indices_from(gram)] += ridge * max(float(np.trace(gram)) / len(gram), 1e-12)
        weight = np.linalg.solve(gram, x.T @ (y - level) / len(x))
        residual[test] = reward[test] - level - (difference[test] - centre) @ weight
    return residual


def shaping_free(
    found: Values,
    truth: Values,
    features: Float[np.ndarray, "n feature"],
    next_features: Float[np.ndarray, "n feature"],
    terminated: Bool[np.ndarray, " n"],
    episode,
    discount: float,
) -> dict[str, Any]:
    """EPIC, and Pearson correlation and STARC distance of the least shaped forms, of one agent's sampled steps.

    Returns:
        "epic"; "unshaped_pearson"; "starc", half the distance of the normalised least-shaped forms (Skalse et al. 2024,
        with the minimal canonical form and the L2 norm over the sample); "identifiable", the share of the true reward's
        variance that shaping cannot explain: where it is small, correlations of single payments say little.
    """
    difference = discount * np.where(terminated[:, None], 0.0, next_features) - features
    x = least_shaped(np.asarray(found.paid, np.float64), difference, episode)
    y = least_shaped(np.asarray(truth.paid, np.float64), difference, episode)
    starc = None
    if not is_constant(np.asarray(found.paid)) and not is_constant(np.asarray(truth.paid)):
        starc = float(np.linalg.norm(x / np.linalg.norm(x) - y / np.linalg.norm(y)) / 2)
    spread = float(np.var(truth.paid))
    return {
        "epic": epic_sampled(found, truth, discount),
        "unshaped_pearson": pearson(x, y) if starc is not None else None,
        "starc": starc,
        "identifiable": min(1.0, float(np.var(y)) / spread) if spread > 0 else None,
    }
