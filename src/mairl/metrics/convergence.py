"""When a run has converged."""

from __future__ import annotations

from collections.abc import Sequence


def episodes_to_converge(
    returns: Sequence[float | None], episodes: Sequence[float], share: float = 0.95, window: int = 3, final: int = 5
) -> float | None:
    """Episodes of play at the first of `window` consecutive evaluations that reach `share` of the run's final mean.

    Args:
        returns: of each evaluation, in order; None (not measured) never counts as reached.
        episodes: played until each evaluation.
        share: for a negative final mean the bound lies as far below it: final - (1 - share) |final|.
        final: evaluations whose mean is the run's final mean.

    Returns:
        Episodes, or None if no such evaluation exists.
    """
    measured = [r for r in returns if r is not None]
    if len(returns) < window or not measured:
        return None
    last = measured[-final:]
    mean = sum(last) / len(last)
    bound = mean - (1 - share) * abs(mean)
    reached = [r is not None and r >= bound for r in returns]
    for i in range(len(returns) - window + 1):
        if all(reached[i : i + window]):
            return float(episodes[i])
    return None
