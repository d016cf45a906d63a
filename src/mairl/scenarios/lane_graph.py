"""How lanes hang together, from their centrelines alone, for sources that do not say.

A lane leads into another where its end meets the other's start and both point the same way. Two lanes are neighbours
where they run side by side in the same direction at lane distance over a good share of their length. Everything is
looked up in a grid of sorted cells, and pairs are looked at in blocks, so that memory does not grow with the square of
the number of lanes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios.schema import Polylines

MEETS = 0.5
"""Metres between an end and a start that meet. In the sources seen they share a point to a micrometre; at 1 m, lanes
that pass one another's ends begin to be taken for successors."""

BENDS = np.pi / 3
"""Radians between the directions of an end and a start that meet. Lanes of few points turn by up to 50 degrees there;
with 30 degrees one true pair in fifty is lost, with 60 none, and a lane that comes the other way is at 180."""

CLEARANCE = 2.5
"""Metres of height: lanes farther apart than this lie on different levels."""

STEP = 4.0
"""Metres between the places at which lanes are compared side by side."""

NEAREST, FARTHEST = 2.0, 6.0
"""Metres between the centrelines of neighbours."""

PARALLEL = np.pi / 9
"""Radians between the directions of neighbours."""

SHARE = 0.7
"""Of the shorter lane's length that runs beside the other: lanes that fork or merge run together for less."""

MOST_PLACES = 256
"""Places compared on one lane; a longer one has them farther apart."""

BLOCK = 1 << 19
"""Pairs looked at together."""

MOST_PAIRS = 1 << 26
"""Pairs looked at in all; a real scene has about a hundred thousand."""

WORLD = 1e9
"""Metres: beyond it there are no roads."""


@dataclasses.dataclass(frozen=True)
class LaneGraph:
    """Pairs of lane indices, `[pair, 2]`, sorted.

    Attributes:
        successors: (from, to).
        left_neighbours: (lane, its left neighbour).
        right_neighbours: (lane, its right neighbour).
    """

    successors: np.ndarray
    left_neighbours: np.ndarray
    right_neighbours: np.ndarray


def lane_graph(centre: Polylines) -> LaneGraph:
    """Successors and neighbours of lanes.

    Args:
        centre: centrelines in driving direction, metres, in any frame.

    Raises:
        InvalidData: points that are not finite or beyond 1e9 m, or so many lanes in one place that no road has them.
    """
    if not len(centre):
        none = np.zeros((0, 2), np.int32)
        return LaneGraph(none, none, none)
    points = np.asarray(centre.points, np.float64)
    if not (np.abs(points) < WORLD).all():
        raise InvalidData(f"lanes have points that are not finite or beyond {WORLD:.0e} m")
    points = points - points.min(0)
    if not centre.z_known:
        points[:, 2] = 0.0
    first, last = centre.starts[:-1].astype(np.int64), centre.starts[1:].astype(np.int64) - 1
    directions = _directions(points, first, last)
    successors = _successors(points, directions, first, last)
    left, right = _neighbours(points, first, last)
    return LaneGraph(successors, left, right)


def _directions(points: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """`[lane, 2, 2]` unit vectors at the start and at the end; zero where a lane has no length.

    Taken over up to three segments, so that the rounding of a short one does not turn them.
    """
    starts = points[np.minimum(first + 3, last), :2] - points[first, :2]
    ends = points[last, :2] - points[np.maximum(last - 3, first), :2]
    both = np.stack([starts, ends], 1)
    return both / np.maximum(np.hypot(both[..., 0], both[..., 1]), 1e-9)[..., None]


def _successors(points: np.ndarray, directions: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    found = []
    for i, j in _near(points[last, :2], points[first, :2], MEETS):
        gap = points[first[j]] - points[last[i]]
        turn = (directions[i, 1] * directions[j, 0]).sum(1)
        meets = (np.hypot(gap[:, 0], gap[:, 1]) <= MEETS) & (np.abs(gap[:, 2]) <= CLEARANCE) & (turn >= np.cos(BENDS))
        found.append(np.stack([i[meets], j[meets]], 1))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
    return _sorted(pairs[pairs[:, 0] != pairs[:, 1]])


def _neighbours(points: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place, towards, lane, length = _places(points, first, last)
    parts = []
    for i, j in _near(place[:, :2], place[:, :2], FARTHEST):
        apart = place[j] - place[i]
        ahead = towards[i]
        along = (apart[:, :2] * ahead).sum(1)
        across = ahead[:, 0] * apart[:, 1] - ahead[:, 1] * apart[:, 0]
        beside = (
            (lane[i] != lane[j])
            & (np.abs(along) <= np.maximum(length[lane[i]], length[lane[j]]) / 2 + 1e-6)
            & (np.abs(across) >= NEAREST)
            & (np.abs(across) <= FARTHEST)
            & (np.abs(apart[:, 2]) <= CLEARANCE)
            & ((ahead * towards[j]).sum(1) >= np.cos(PARALLEL))
        )
        i, j, across = i[beside], j[beside], across[beside]
        parts.append(np.stack([i, lane[j], across > 0, np.abs(across) * 1000], 1).astype(np.int64))
    rows = np.concatenate(parts) if parts else np.zeros((0, 4), np.int64)
    # At each place and side, only the next lane counts: the one behind it is its neighbour's neighbour.
    rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0]))]
    side = rows[:, 0] * 2 + rows[:, 2]
    begins = np.flatnonzero(np.diff(side, prepend=-1))
    nearest = np.repeat(rows[begins, 3], np.diff(begins, append=len(rows)))
    rows = rows[rows[:, 3] <= nearest + 1000]
    seen = np.unique(rows[:, :3], axis=0)
    pairs, beside = np.unique(np.stack([lane[seen[:, 0]], seen[:, 1], seen[:, 2]], 1), axis=0, return_counts=True)
    places = np.bincount(lane, minlength=len(first))
    total = places * length
    ran, shorter = beside * length[pairs[:, 0]], np.minimum(total[pairs[:, 0]], total[pairs[:, 1]])
    pairs = pairs[ran >= SHARE * shorter]
    return _sorted(pairs[pairs[:, 2] == 1, :2]), _sorted(pairs[pairs[:, 2] == 0, :2])


def _places(points: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, ...]:
    """Places at even distances along the lanes.

    Returns:
        Their positions `[place, 3]`, unit directions `[place, 2]`, lanes `[place]`, and the distance between the
        places of each lane `[lane]`.
    """
    steps = np.diff(points, axis=0, prepend=points[:1])
    far = np.hypot(steps[:, 0], steps[:, 1])
    far[first] = 0.0
    travelled = np.cumsum(far)
    length = travelled[last] - travelled[first]
    count = np.clip(np.ceil(length / STEP), 1, MOST_PLACES).astype(np.int64)
    lane = np.repeat(np.arange(len(first)), count)
    nth = np.arange(len(lane)) - np.repeat(np.cumsum(count) - count, count)
    at = travelled[first][lane] + (nth + 0.5) / count[lane] * length[lane]
    # The segment's end; inside the lane, whatever rounding says.
    after = np.clip(np.searchsorted(travelled, at), np.minimum(first + 1, last)[lane], last[lane])
    before = np.maximum(after - 1, first[lane])
    part = np.clip((at - travelled[before]) / np.maximum(travelled[after] - travelled[before], 1e-9), 0.0, 1.0)
    place = points[before] + part[:, None] * (points[after] - points[before])
    # Over one point more on each side: rounding turns a single short segment.
    ahead = points[np.minimum(after + 1, last[lane]), :2] - points[np.maximum(before - 1, first[lane]), :2]
    towards = ahead / np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9)[:, None]
    return place, towards, lane, length / count


def _near(a: np.ndarray, b: np.ndarray, distance: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index pairs (i of `a`, j of `b`), in blocks, with all that are within `distance` and some that are not."""
    cells_a, cells_b = (np.floor(p / distance).astype(np.int64) + 1 for p in (a, b))
    width = int(max(cells_a[:, 1].max(), cells_b[:, 1].max())) + 2
    key_a, key_b = cells_a[:, 0] * width + cells_a[:, 1], cells_b[:, 0] * width + cells_b[:, 1]
    order = np.argsort(key_b, kind="stable")
    sorted_b = key_b[order]
    # Three cells above one another have keys that follow one another: three runs instead of nine cells.
    columns = np.array([-width, 0, width])
    low = np.searchsorted(sorted_b, key_a[:, None] + columns - 1, "left")
    high = np.searchsorted(sorted_b, key_a[:, None] + columns + 1, "right")
    many = (high - low).reshape(-1)
    total = np.cumsum(many)
    if len(total) and total[-1] > MOST_PAIRS:
        raise InvalidData(
            f"its {len(a)} places on lanes lie so close that {total[-1]} pairs would be looked at, expected at most "
            f"{MOST_PAIRS}: are lanes repeated?"
        )
    owner, low = np.repeat(np.arange(len(a)), 3), low.reshape(-1)
    at = 0
    while at < len(many):
        done = total[at - 1] if at else 0
        stop = max(at + 1, int(np.searchsorted(total, done + BLOCK, "right")))
        sizes = many[at:stop]
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield np.repeat(owner[at:stop], sizes), order[np.repeat(low[at:stop], sizes) + inside]
        at = stop


def _sorted(pairs: np.ndarray) -> np.ndarray:
    return np.unique(pairs, axis=0).astype(np.int32).reshape(-1, 2)
