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
    """An edge with lanes on both sides: it must not be crossed, and neither side of it is off the road."""


DIVIDED = 15.0
"""Metres within which an edge has lanes on both sides where it is a divider. Medians may be one line, or two a metre
apart with a shoulder of ten metres on one side: which lanes are theirs cannot be told from distances."""


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


def lanes_beside(start: np.ndarray, end: np.ndarray, road: RoadMap) -> tuple[np.ndarray, np.ndarray]:
    """How far from the middle of each piece `[piece, 2 or more]` the nearest lane's centreline is, to its left and to
    its right; metres, infinite where there is none."""
    lane_start, lane_end, _ = pieces(road.lanes.centre, 0.05)
    left, right = np.full(len(start), np.inf), np.full(len(start), np.inf)
    if not len(start) or not len(lane_start):
        return left, right
    middle, way = (start + end)[:, :2] / 2, (end - start)[:, :2]
    a, along = lane_start[:, :2], (lane_end - lane_start)[:, :2]
    square = np.maximum((along**2).sum(1), 1e-12)
    for block in range(0, len(middle), 512):
        at = slice(block, block + 512)
        off = middle[at, None] - a
        t = np.clip((off * along).sum(-1) / square, 0, 1)
        gap = t[..., None] * along - off
        distance = (gap**2).sum(-1)
        side = way[at, None, 0] * gap[..., 1] - way[at, None, 1] * gap[..., 0]
        left[at] = np.sqrt(np.where(side > 0, distance, np.inf).min(1))
        right[at] = np.sqrt(np.where(side < 0, distance, np.inf).min(1))
    return left, right


def turned_inwards(road: RoadMap, reach: float = 15.0) -> Polylines:
    """The road edges, each in the direction that has the lanes on its left.

    Formats differ, or do not say, in which direction edges run. Each piece of an edge votes, by its length, for the
    side on which the nearest lane lies, if one is within `reach` metres; edges far from all lanes stay as they are.
    """
    edges = road.edges
    start, end, line = pieces(edges, 0.05)
    if not len(start):
        return edges
    left, right = lanes_beside(start, end, road)
    nearer = np.where(left < right, 1.0, -1.0) * (np.minimum(left, right) < reach) * (left != right)
    against = np.bincount(line, nearer * np.hypot(*(end - start)[:, :2].T), len(edges)) < 0
    order = [np.arange(edges.starts[k], edges.starts[k + 1])[:: -1 if against[k] else 1] for k in range(len(edges))]
    return dataclasses.replace(edges, points=edges.points[np.concatenate(order)])


def segments(road: RoadMap, tolerance: float = 0.05) -> Segments:
    """A map as segments.

    Args:
        tolerance: how far a thinned line may lie from the original, metres.
    """
    signs = road.stop_signs.position
    edge_start, edge_end, _ = pieces(turned_inwards(road), tolerance)
    divides = np.maximum(*lanes_beside(edge_start, edge_end, road)) < DIVIDED
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
