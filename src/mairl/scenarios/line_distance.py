"""Exact distances in the plane from many places to a few of many polylines."""

from __future__ import annotations

import numpy as np

from mairl.scenarios.schema import Polylines

BLOCK = 1_000_000
"""Pairs of a place and a corner at once: bounds the memory, whatever the sizes."""


class LineDistances:
    """Polylines made ready for distances.

    The nearest point of a line is a corner, or the foot of a perpendicular that falls between two corners. The square
    of the distance to a corner (less the place's own square), where a foot falls and how far away it is are all linear
    in x, y and 1: three products of matrices give them for all pairs of a place and a corner.
    """

    def __init__(self, lines: Polylines):
        """`lines` may still be float64 in the world frame; z is left aside."""
        flat = np.asarray(lines.points, np.float64)[:, :2]
        self._starts = lines.starts
        self._origin = flat.mean(0) if len(flat) else np.zeros(2)  # Squares of world coordinates would cost digits.
        corners = flat - self._origin
        step = np.diff(corners, axis=0, append=corners[-1:])
        step[lines.starts[1:] - 1] = 0.0  # No segment leads from one line to the next.
        square = (step**2).sum(1)
        dot = (corners * step).sum(1)
        moves = square > 0
        square[~moves] = 1.0
        normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.sqrt(square)[:, None]
        self._to_corner = np.vstack([-2 * corners.T, (corners**2).sum(1)])
        # 0 in the middle of a segment, ±½ at its ends.
        self._along = np.vstack([step.T / square, np.where(moves, -dot / square - 0.5, 1e9)])
        self._across = np.vstack([normal.T, -(corners * normal).sum(1)])

    def size(self, k: int) -> int:
        """Points of line k."""
        return int(self._starts[k + 1] - self._starts[k])

    def to(self, k: int, places: np.ndarray) -> np.ndarray:
        """Metres from each of some places `[n, 2]` to line k, `[n]`, float64."""
        own = slice(self._starts[k], self._starts[k + 1])
        to_corner, along, across = self._to_corner[:, own], self._along[:, own], self._across[:, own]
        nearest = np.empty(len(places))
        block = max(1, BLOCK // self.size(k))
        for i in range(0, len(places), block):
            place = np.ones((len(places[i : i + block]), 3))
            place[:, :2] = places[i : i + block] - self._origin
            corner = (place @ to_corner).min(1) + (place[:, :2] ** 2).sum(1)
            share, foot = np.abs(place @ along), np.abs(place @ across)
            np.copyto(foot, np.inf, where=share > 0.5)
            nearest[i : i + block] = np.minimum(np.sqrt(np.maximum(corner, 0.0)), foot.min(1))
        return nearest
