"""How well a recovered reward says what learning agents do next, and how good it is to learn from."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mairl.core.errors import Unsupported
from mairl.networks.policy_divergence import Distribution, divergence
from mairl.ops.host_softmax import log_softmax

CLEARLY = 0.05
"""An expert must be above random play by this share of the larger of both returns (in size)."""


def update_divergence(
    after: Float[np.ndarray, "agent state action"],
    predicted: Float[np.ndarray, "agent state action"],
    visits: Float[np.ndarray, " state"],
) -> float:
    """E_{s ~ visits} mean_i KL(π_i'(s) ‖ π̂_i'(s)) in nats, of the policies after a step and as predicted.

    Args:
        after, predicted: logits, in any normalisation.
        visits: weights of the states, scaled to a sum of 1.
    """
    real, guess = log_softmax(after), log_softmax(predicted)
    divergence = np.sum(np.exp(real) * (real - guess), axis=-1)
    # Rounding may leave a divergence of 0 a little below it.
    return max(0.0, float(divergence.mean(axis=0) @ visits / visits.sum()))


def play_divergence(real: Distribution, predicted: Distribution, mask) -> Float[np.ndarray, " step"]:
    """E mean_i KL(real_i ‖ predicted_i) of each held-out update over the states of its play, in nats.

    Args:
        real, predicted: at the observations of the play, leaves `[step, time, env, agent, ...]`.
        mask: `[step, time, env, agent]` the agent took part.
    """
    each, here = np.asarray(divergence(real, predicted), np.float64), np.asarray(mask, bool)
    mean = np.where(here, each, 0.0).sum(axis=(1, 2, 3)) / np.maximum(here.sum(axis=(1, 2, 3)), 1)
    # Rounding may leave a divergence of 0 a little below it.
    return np.maximum(mean, 0.0)


def skill(divergence, reference) -> float | None:
    """1 - ΣKL(predicted) / ΣKL(no change) over held-out steps: 1 is exact, 0 no better than to expect no change.

    None if nothing changed on them, where there is nothing to predict.
    """
    total = float(np.sum(reference))
    return 1 - float(np.sum(divergence)) / total if total > 0 else None


def normalised_return(found, expert: float, random: float):
    """(R - R_random) / (R_expert - R_random).

    Raises:
        Unsupported: the expert is hardly better than random play; the ratio would then say nothing.
    """
    gap = expert - random
    if not gap > CLEARLY * max(abs(expert), abs(random)):
        raise Unsupported(
            f"the expert's return {expert:.4g} is not well above random play's {random:.4g}: train it longer, or take "
            "a game in which it matters what is done"
        )
    return (found - random) / gap


def interquartile_mean(
    values: Float[np.ndarray, " n"], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, list[float | None]]:
    """The mean of the middle half, and a 95% percentile-bootstrap interval over independent values (seeds).

    Quarters that are no whole number of values count in part. Fewer than two values: no interval.
    """
    values = np.asarray(values, np.float64)
    middle = float(_middle(values[None])[0])
    if len(values) < 2:
        return middle, [None, None]
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(_middle(values[drawn]), [2.5, 97.5])
    return middle, [float(low), float(high)]


def _middle(rows: Float[np.ndarray, "row n"]) -> Float[np.ndarray, " row"]:
    """Interquartile means: each sorted value weighted by how much of it lies in the middle half."""
    n = rows.shape[1]
    edges = np.arange(n + 1) / n
    weights = np.diff(np.clip(edges, 0.25, 0.75))
    return np.sort(rows, axis=1) @ weights / weights.sum()
