"""A map as straight segments: polylines thinned to what matters, edges turned so that their left is drivable."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from jaxtyping import Float32, Int8

from mairl.scenarios.schema import Polylines, RoadMap


class SegmentKind(enum.IntEnum):
    """What a segment is part of."""

    EDGE = 0
    """Drivable on its left."""
    LANE = 1
    LINE = 2
    CROSSWALK = 3
    SPEED_BUMP = 4
    DRIVEWAY = 5
    STOP_SIGN = 6
    DIVIDER = 7
    """An edge between lanes, with nothing else between: it must not be crossed, and neither side of it is off the
    road."""


DIVIDED = 15.0
"""Metres within which an edge has lanes in sight on both sides where it is a divider. A median of one line is one; of
two lines, however near, each hides the other's lanes, and what lies between them is no road."""

LEVEL = 2.5
"""Metres: what is higher or lower than this belongs to another road."""

DOUBLE = 0.2
"""Metres: lines nearer than this to each other are one, drawn twice."""


@dataclasses.dataclass(frozen=True)
class Segments:
    """Straight pieces of a map, metres.

    Attributes:
        start, end: x, y, z. Edges have the drivable surface on their left, lanes run in driving direction; a stop sign
            is a segment of no length.
        kind: a `SegmentKind`.
    """

    start: Float32[np.ndarray, "segment 3"]
    end: Float32[np.ndarray, "segment 3"]
    kind: Int8[np.ndarray, " segment"]

    def __len__(self) -> int:
        return len(self.kind)


def thinned(points: np.ndarray, starts: np.ndarray, tolerance: float) -> np.ndarray:
    """Which points of polylines to keep, so that no dropped point is farther than `tolerance` (metres, seen from above)
    from the piece that replaces it (Douglas and Peucker 1973; all lines at once).

    Args:
        points: `[point, 2 or more]`, lines one behind the other.
        starts: line k is `points[starts[k]:starts[k + 1]]`.
    """
    keep = np.zeros(len(points), bool)
    first, last = starts[:-1].astype(np.int64), starts[1:].astype(np.int64) - 1
    keep[first], keep[last] = True, True
    flat = np.asarray(points, np.float64)[:, :2]
    while True:
        inner = last - first - 1
        open_ = inner > 0
        first, last, inner = first[open_], last[open_], inner[open_]
        if not len(first):
            return keep
        piece = np.repeat(np.arange(len(first)), inner)
        begin = np.concatenate([[0], np.cumsum(inner)[:-1]])
        index = np.arange(len(piece)) - begin[piece] + first[piece] + 1
        a, way = flat[first], flat[last] - flat[first]
        square = np.maximum((way**2).sum(1), 1e-12)
        off = flat[index] - a[piece]
        t = np.clip((off * way[piece]).sum(1) / square[piece], 0, 1)
        distance = ((off - t[:, None] * way[piece]) ** 2).sum(1)
        farthest = np.maximum.reduceat(distance, begin)
        # The first point of each piece that is farthest away.
        at = index[np.flatnonzero(distance == farthest[piece])]
        owner = piece[np.flatnonzero(distance == farthest[piece])]
        _, unique = np.unique(owner, return_index=True)
        middle = at[unique]
        split = farthest > tolerance**2
        keep[middle[split]] = True
        first, last = (
            np.concatenate([first[split], middle[split]]),
            np.concatenate([middle[split], last[split]]),
        )


def pieces(lines: Polylines, tolerance: float, closed: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends `[segment, 3]` of thinned polylines, and which line each is of; polygons are closed."""
    points, starts = lines.points, lines.starts
    if closed and len(lines):
        order = np.concatenate([np.r_[starts[k] : starts[k + 1], starts[k]] for k in range(len(lines))])
        points = points[order]
        starts = starts + np.arange(len(starts), dtype=starts.dtype)
    keep = thinned(points, starts, tolerance) if len(lines) else np.zeros(0, bool)
    line = np.repeat(np.arange(len(lines)), np.diff(starts))[keep]
    kept = points[keep]
    joined = np.flatnonzero(line[1:] == line[:-1])
    return kept[joined], kept[joined + 1], line[joined]


def edges_inwards(road: RoadMap, tolerance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends `[segment, 3]` of the road edges, thinned, each in the direction that has the road on its left;
    and which ones are dividers.

    Formats differ, or do not say, in which direction edges run. Each piece of an edge votes, by its length, for the
    side on which it sees a lane, if it sees one on one side only; edges without such pieces stay as they are.
    """
    start, end, line = pieces(road.edges, tolerance)
    left, right = lanes_in_sight(start, end, (start, end), road)
    length = np.hypot(*(end - start)[:, :2].T)
    against = np.bincount(line, (left * 1.0 - right) * length, len(road.edges)) < 0
    flipped = against[line][:, None]
    tip, beyond = loose_ends(start, end, line, road)
    return (
        np.concatenate([np.where(flipped, end, start), tip]),
        np.concatenate([np.where(flipped, start, end), beyond]),
        np.concatenate([left & right, np.ones(len(tip), bool)]),
    )


def loose_ends(start: np.ndarray, end: np.ndarray, line: np.ndarray, road: RoadMap) -> tuple[np.ndarray, np.ndarray]:
    """Pieces `[segment, 3]`, a few centimetres long, that continue edges which end on the road, as medians do at a
    junction: no other edge goes on, and obliquely ahead there are lanes on both sides, with no edge before them. What
    is beyond such an end is on neither side of the edge."""
    first, last = np.flatnonzero(np.diff(line, prepend=-1)), np.flatnonzero(np.diff(line, append=-1))
    tip = np.concatenate([start[first], end[last]])
    way = np.concatenate([(start - end)[first], (end - start)[last]]) * [1, 1, 0]
    way /= np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-9)[:, None]
    beyond = tip + DOUBLE * way
    touched = np.zeros(len(tip), bool)
    for k in range(0, len(tip), 64):
        gap = _way_to(beyond[k : k + 64, None], start, end)
        touched[k : k + 64] = np.hypot(gap[..., 0], gap[..., 1]).min(1) < 0.9 * DOUBLE
    tip, beyond, way = tip[~touched], beyond[~touched], way[~touched]
    lane_start, lane_end, _ = pieces(road.lanes.centre, 0.05)
    sees = np.zeros((2, len(tip)), bool)
    for k, side in enumerate((1, -1)):
        for angle in side * np.radians([30, 60, 90]):
            c, s = np.cos(angle), np.sin(angle)
            ray = DIVIDED * way @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
            sees[k] |= _met(beyond, ray, lane_start, lane_end) < _met(beyond, ray, start, end)
    loose = sees.all(0)
    return tip[loose], (tip + 0.02 * way)[loose]


def lanes_in_sight(
    start: np.ndarray, end: np.ndarray, edges: tuple[np.ndarray, np.ndarray], road: RoadMap
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the lane nearest to the middle of each piece `[piece, 3]`, to its left and to its right, is within
    `DIVIDED` and the straight way to it meets no edge, all on their level.

    Args:
        edges: starts and ends of the pieces of all edges.
    """
    lane_start, lane_end, _ = pieces(road.lanes.centre, 0.05)
    sees = np.zeros((2, len(start)), bool)
    middle, along = (start + end) / 2, end - start
    # Pieces follow each other along the map's lines, so that a block is compact.
    for first in range(0, len(middle), 128):
        block = slice(first, first + 128)
        low, high = middle[block, :2].min(0) - DIVIDED, middle[block, :2].max(0) + DIVIDED
        lane, other = (_touching(*both, low, high) for both in ((lane_start, lane_end), edges))
        if not len(lane):
            continue
        gap = _way_to(middle[block, None], lane_start[lane], lane_end[lane])
        distance = np.hypot(gap[..., 0], gap[..., 1])
        distance[np.abs(gap[..., 2]) >= LEVEL] = np.inf
        turn = _cross(along[block, None], gap)
        for side, sign in enumerate((1, -1)):
            far = np.where(sign * turn > 0, distance, np.inf)
            nearest = far.argmin(1)[:, None]
            way = np.take_along_axis(gap, nearest[..., None], 1)[:, 0]
            near = np.take_along_axis(far, nearest, 1)[:, 0] < DIVIDED
            sees[side, block] = near & (_met(middle[block], way, edges[0][other], edges[1][other]) > 1)
    return sees[0], sees[1]


def _touching(start: np.ndarray, end: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Indices of pieces whose bounds reach into a rectangle."""
    a, b = start[:, :2], end[:, :2]
    return np.flatnonzero(((np.maximum(a, b) >= low) & (np.minimum(a, b) <= high)).all(1))


def _way_to(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """From points `[*b, 3]` to the points of pieces that are nearest to them, seen from above."""
    way, off = end - start, point - start
    square = np.maximum((way[..., :2] ** 2).sum(-1), 1e-12)
    t = np.clip((off * way)[..., :2].sum(-1) / square, 0, 1)
    return t[..., None] * way - off


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _met(point: np.ndarray, way: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """After which share of ways `[way, 3]` from points these first meet pieces of their level; infinite where they meet
    none. A way's first `DOUBLE` metres do not count: there its own piece is, and whatever line is drawn twice."""
    piece, off = end - start, start - point[:, None]
    area = _cross(way[:, None], piece)
    safe = np.where(area == 0, 1.0, area)
    t, share = _cross(off, piece) / safe, _cross(off, way[:, None]) / safe
    level = np.abs(off[..., 2] + share * piece[:, 2]) < LEVEL
    late = t * np.hypot(way[:, 0], way[:, 1])[:, None] > DOUBLE
    meets = (area != 0) & (t <= 1) & (share >= 0) & (share <= 1) & late & level
    return np.where(meets, t, np.inf).min(1, initial=np.inf)


def segments(road: RoadMap, tolerance: float = 0.05) -> Segments:
    """A map as segments.

    Args:
        tolerance: how far a thinned line may lie from the original, metres.
    """
    signs = road.stop_signs.position
    edge_start, edge_end, divides = edges_inwards(road, tolerance)
    found = [
        (SegmentKind.EDGE, edge_start[~divides], edge_end[~divides]),
        (SegmentKind.DIVIDER, edge_start[divides], edge_end[divides]),
        (SegmentKind.LANE, *pieces(road.lanes.centre, tolerance)[:2]),
        (SegmentKind.LINE, *pieces(road.lines, tolerance)[:2]),
        (SegmentKind.CROSSWALK, *pieces(road.crosswalks, tolerance, closed=True)[:2]),
        (SegmentKind.SPEED_BUMP, *pieces(road.speed_bumps, tolerance, closed=True)[:2]),
        (SegmentKind.DRIVEWAY, *pieces(road.driveways, tolerance, closed=True)[:2]),
        (SegmentKind.STOP_SIGN, signs, signs),
    ]
    return Segments(
        np.concatenate([start for _, start, _ in found]).astype(np.float32),
        np.concatenate([end for _, _, end in found]).astype(np.float32),
        np.concatenate([np.full(len(start), kind, np.int8) for kind, start, _ in found]),
    )
