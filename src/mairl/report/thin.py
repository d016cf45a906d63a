"""Lines with fewer points that look the same."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int

CHUNK = 512
"""Points: longer lines are thinned piece by piece, so that the time grows with their length and not its square."""


def thinned(points: Float[np.ndarray, "n 2"], tolerance: float) -> Int[np.ndarray, " kept"]:
    """Which points to keep so that each of the line lies within `tolerance` metres of the line through those kept.

    The ends are always kept. Ramer 1972, doi:10.1016/S0146-664X(72)80017-0; Douglas and Peucker 1973.

    Returns:
        Indices, ascending.
    """
    points = np.asarray(points, np.float64)
    last = len(points) - 1
    if last < 2:
        return np.arange(len(points))
    ends = [*range(0, last, CHUNK), last]
    keep = np.zeros(len(points), bool)
    keep[ends] = True
    pieces = list(itertools.pairwise(ends))
    while pieces:
        first, end = pieces.pop()
        if end - first < 2:
            continue
        distance = from_segment(points[first + 1 : end], points[first], points[end])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            pieces += [(first, middle), (middle, end)]
    return np.flatnonzero(keep)


def from_segment(
    points: Float[np.ndarray, "n 2"], start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, " n"]:
    """Distances to a segment, which may have no length."""
    along = end - start
    square = float(along @ along)
    part = np.clip((points - start) @ along / square, 0.0, 1.0) if square > 0 else np.zeros(len(points))
    return np.hypot(*(points - start - part[:, None] * along).T)
