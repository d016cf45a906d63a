"""Road edges of lanelets: the parts of their bounds beyond which there is no lanelet.

Lanelets overlap where they fork, merge and cross, so a bound that nobody shares may still lie on the road. What counts
is geometry: a piece of a bound is a road edge if the ground a little outside it is in no lanelet.
"""

from __future__ import annotations

import dataclasses

import numpy as np

PIECE = 0.5
"""Metres: bounds are judged in pieces of at most this length."""

OUTSIDE = (0.1, 0.5)
"""Metres outside a bound where another lanelet is looked for: the near one finds lanelets that taper to nothing, the
far one those behind a gap that is only the map's inaccuracy."""

SHORTEST = 2.0
"""Metres: shorter edges are chinks between lanelets that do not quite meet; no kerb is as short."""

MOST_PIECES = 2_000_000
"""Pieces of a map, some 500 km of road; larger maps are refused."""

_CELLS = 1 << 21
"""Places times ring points that are looked at in one go."""


@dataclasses.dataclass(frozen=True)
class Areas:
    """The areas of lanelets.

    Attributes:
        rings: metres `[point, 2]` each, the first point not repeated.
        low, high: corners of their bounding boxes, metres `[area, 2]`.
    """

    rings: list[np.ndarray]
    low: np.ndarray
    high: np.ndarray


def areas(rings: list[np.ndarray]) -> Areas:
    """Areas from their rings."""
    low, high = (np.array([corner(ring, axis=0) for ring in rings]).reshape(-1, 2) for corner in (np.min, np.max))
    return Areas(rings, low, high)


def inside(places: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Which of the places `[place, 2]` a ring encloses: a ray to the right of them meets it an odd number of times."""
    a, b = ring, np.roll(ring, -1, 0)
    rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
    slope = (b[:, 0] - a[:, 0]) / rise
    found = np.zeros(len(places), bool)
    block = max(1, _CELLS // len(ring))
    for start in range(0, len(places), block):
        x, y = places[start : start + block, :1], places[start : start + block, 1:]
        meets = ((a[:, 1] > y) != (b[:, 1] > y)) & (x < a[:, 0] + (y - a[:, 1]) * slope)
        found[start : start + block] = meets.sum(1) % 2 == 1
    return found


def edges(bound: np.ndarray, is_left: bool, road: Areas) -> list[np.ndarray]:
    """The parts of a bound that are road edges.

    Args:
        bound: metres `[point, 2]` or `[point, 3]`, in driving direction.
        is_left: it is its lanelet's left bound: the road is to the right of it.
        road: the areas of all lanelets that are road, the bound's own too.

    Returns:
        Lines of such points, each with the road on its left hand.
    """
    fine, corner = _cut(bound)
    if len(fine) < 2:
        return []
    flat = fine[:, :2]
    step = np.diff(flat, axis=0)
    across = np.stack([-step[:, 1], step[:, 0]], 1) * (1.0 if is_left else -1.0)
    across /= np.linalg.norm(step, axis=1, keepdims=True)
    middle = (flat[1:] + flat[:-1]) / 2
    free = np.ones(len(middle), bool)
    reach = max(OUTSIDE)
    for k in np.flatnonzero(((road.low <= flat.max(0) + reach) & (road.high >= flat.min(0) - reach)).all(1)):
        for distance in OUTSIDE:
            place = middle + distance * across
            near = np.flatnonzero(free & ((place >= road.low[k]) & (place <= road.high[k])).all(1))
            if len(near):
                free[near] = ~inside(place[near], road.rings[k])
    found = []
    for start, stop in _runs(free):
        kept = corner[start : stop + 1].copy()
        kept[[0, -1]] = True
        line = fine[start : stop + 1][kept]
        if np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1).sum() >= SHORTEST:
            found.append(line[::-1] if is_left else line)
    return found


def pieces(bound: np.ndarray) -> int:
    """Into how many pieces `edges` would cut a bound, at most `MOST_PIECES`."""
    length = np.linalg.norm(np.diff(bound[:, :2], axis=0), axis=1)
    return int(np.minimum(np.ceil(length / PIECE).sum(), MOST_PIECES))


def _cut(bound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bound with points at most a piece apart, none repeated, and which of them it had before."""
    keep = np.concatenate([[True], (np.diff(bound[:, :2], axis=0) != 0).any(1)])
    bound = bound[keep]
    counts = np.maximum(1, np.ceil(np.linalg.norm(np.diff(bound[:, :2], axis=0), axis=1) / PIECE)).astype(int)
    first = np.concatenate([[0], np.cumsum(counts)])
    at = np.interp(np.arange(first[-1] + 1), first, np.arange(len(bound)))
    fine = np.stack([np.interp(at, np.arange(len(bound)), bound[:, k]) for k in range(bound.shape[1])], 1)
    corner = np.zeros(len(fine), bool)
    corner[first] = True
    return fine, corner


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Starts and ends (one behind the last) of the runs of True."""
    change = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in change.reshape(-1, 2)]
