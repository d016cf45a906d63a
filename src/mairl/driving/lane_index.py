"""Lanes as a graph of short pieces, found from any place at a cost that does not depend on the size of the map.

Centrelines are cut into pieces of about 10 m, the nodes of RTR's lane graph (Zhang et al. 2023, B.5), with what is
known of each and four relations between them. Each row of the map's index (`road_grid`) knows the pieces nearest to its
cell and which of these hang together. Piece 0 is nothing: it lies infinitely high.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8

from mairl.core.arrays import on_device
from mairl.core.errors import InvalidGame
from mairl.driving.road_grid import GridConfig, RoadGrid, nearest
from mairl.scenarios.lane_graph import FARTHEST
from mairl.scenarios.schema import Lanes, RoadMap

POINTS = 5
"""Of a piece, at even distances along the centreline, its ends among them. Between them it counts as straight: at 10 m
a piece, a turn of 10 m radius is met to 8 cm."""

FACTS = ("length", "curvature", "width", "width_known", "limit", "limit_known", "left", "right")
"""Of a piece: metres along it, 1/m (left positive), metres and whether they are known, m/s and whether that is known,
the `LineType` on both sides."""

FORKS = 4
"""Successors, and predecessors, that a piece has room for."""

LINKS = ("successor",) * FORKS + ("predecessor",) * FORKS + ("left", "right")
"""Of a piece: the relations that it has room for."""

SHORTEST = 0.01
"""Metres: lanes shorter than this have no pieces."""


@dataclasses.dataclass(frozen=True)
class LaneConfig:
    """How lanes are cut and found.

    Attributes:
        piece: the longest piece, metres; all of a lane are equally long.
        near: pieces in a row of the index, at most 127.
        limit: speed limit where a map says none, m/s; 0: it stays unknown.
    """

    piece: float = 10.0
    near: int = 32
    limit: float = 0.0

    def __post_init__(self) -> None:
        if not self.piece > 0:
            raise InvalidGame(f"pieces of lanes are {self.piece} m long, expected more than 0")
        if not 0 < self.near < 128:
            raise InvalidGame(f"near is {self.near}, expected 1 to 127 pieces of lanes in a row of the index")
        if not self.limit >= 0:
            raise InvalidGame(f"the speed limit is {self.limit} m/s, expected 0 (unknown) or more")


class LaneIndex(eqx.Module):
    """Pieces of lanes of several maps. Rows are those of the maps' `RoadGrid`.

    Attributes:
        starts: map k's pieces are `starts[k]` up to `starts[k + 1]`.
        points: x, y, z of `POINTS` points of each piece, in driving direction, metres.
        facts: `FACTS`.
        links: by `LINKS`, the pieces that each one leads to; 0: there is none.
        near: the pieces of each row, nearest first; 0 where there are no more.
        local: by `LINKS`, where in its row each of these pieces' links stand; -1: there is none, or not in the row.
        has_limits: some piece's speed limit is known.
    """

    starts: Int[Array, " map+1"]
    points: Float[Array, "piece 3 point"]
    facts: Float[Array, "piece fact"]
    links: Int[Array, "piece link"]
    near: Int[Array, "row near"]
    local: Int8[Array, "row link near"]
    has_limits: bool = eqx.field(static=True)

    @property
    def num_bytes(self) -> int:
        """On the device."""
        return sum(x.nbytes for x in (self.starts, self.points, self.facts, self.links, self.near, self.local))


def lane_index(road: RoadMap, grid: RoadGrid, config: LaneConfig = LaneConfig()) -> LaneIndex:
    """Cuts one map's lanes and indexes them, on the host.

    Args:
        grid: of this map alone.
    """
    lane, points, facts, links = cut(road.lanes, config)
    # Piece 0.
    nothing = np.zeros((1, 3, POINTS))
    nothing[:, 2] = np.inf
    points = np.concatenate([nothing, points])
    facts = np.pad(facts, ((1, 0), (0, 0)))
    iy, ix = np.nonzero(np.asarray(grid.row[0]))
    centre = np.asarray(grid.origin[0], np.float64) + (np.stack([ix, iy], 1) + 0.5) * grid.cell
    found = nearest(centre, points[1:, :2, 0], points[1:, :2, -1], config.near, GridConfig(cell=grid.cell))
    near = np.zeros((len(iy) + 1, config.near), np.int32)
    near[1:] = np.where(found < len(lane), found + 1, 0)
    return LaneIndex(
        on_device(np.array([1, len(points)]), jnp.int32),
        on_device(points, jnp.float32),
        on_device(facts, jnp.float32),
        on_device(links, jnp.int32),
        on_device(near),
        on_device(_local(near, links)),
        bool(facts[:, FACTS.index("limit_known")].any()),
    )


def joined_lanes(parts: Sequence[LaneIndex]) -> LaneIndex:
    """Several maps' lanes as one index, in their order; rows as in `road_grid.joined`."""
    counts = np.array([len(part.points) - 1 for part in parts])
    first = np.concatenate([[0], np.cumsum(counts)])

    def table(name: str, moved: bool = False) -> Array:
        """Every part's rows but their own row 0, which only the first keeps; piece numbers as they are now."""
        tables = [np.asarray(getattr(part, name)) for part in parts]
        if moved:
            tables = [np.where(t > 0, t + n, 0).astype(t.dtype) for t, n in zip(tables, first[:-1], strict=True)]
        return on_device(np.concatenate([tables[0][:1], *(t[1:] for t in tables)]))

    return LaneIndex(
        jnp.asarray(1 + first, jnp.int32),
        table("points"),
        table("facts"),
        table("links", moved=True),
        table("near", moved=True),
        table("local"),
        any(part.has_limits for part in parts),
    )


def cut(lanes: Lanes, config: LaneConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One map's pieces, lane by lane: the lane of each, its points `[piece, 3, POINTS]` and its `FACTS`, without piece
    0; and with it, `LINKS`."""
    lane, points, facts = _cut(lanes, config)
    return lane, points, facts, _links(lanes, lane, points, facts)


def _cut(lanes: Lanes, config: LaneConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces: the lane of each, its points `[piece, 3, POINTS]`, its facts `[piece, FACTS]`; lane by lane."""
    limit = np.where(lanes.speed_limit_known, lanes.speed_limit, config.limit)
    limit_known = lanes.speed_limit_known | (config.limit > 0)
    owner, points, facts = [], [], []
    for k in range(len(lanes)):
        line = lanes.centre.line(k).astype(np.float64)
        step = np.hypot(*np.diff(line[:, :2], axis=0).T)
        # Points on top of each other would have no place of their own.
        line, step = line[np.r_[True, step > 0]], step[step > 0]
        travelled = np.concatenate([[0.0], np.cumsum(step)])
        if len(line) < 2 or travelled[-1] < SHORTEST:
            continue
        count = int(np.ceil(travelled[-1] / config.piece - 1e-6))
        at = np.linspace(0.0, travelled[-1], count * (POINTS - 1) + 1)
        cut = np.stack([np.interp(at, travelled, column) for column in line.T])
        which = np.arange(count)[:, None] * (POINTS - 1) + np.arange(POINTS)
        cut = np.moveaxis(cut[:, which], 0, 1)
        width = np.zeros(count)
        if lanes.width_known[k]:
            known = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(lanes.centre.line(k)[:, :2], axis=0).T))])
            wide = lanes.width[lanes.centre.starts[k] : lanes.centre.starts[k + 1]]
            width = np.interp(at[which[:, POINTS // 2]], known, wide)
        length = travelled[-1] / count
        one = np.ones(count)
        owner.append(np.full(count, k))
        points.append(cut)
        columns = [length * one, _turn(cut) / (length * (POINTS - 2) / (POINTS - 1)), width]
        columns += [one * value for value in (lanes.width_known[k], limit[k], limit_known[k])]
        columns += [one * lanes.left_boundary[k], one * lanes.right_boundary[k]]
        facts.append(np.stack(columns, 1))
    if not owner:
        return np.zeros(0, int), np.zeros((0, 3, POINTS)), np.zeros((0, len(FACTS)))
    return np.concatenate(owner), np.concatenate(points), np.concatenate(facts)


def _turn(points: np.ndarray) -> np.ndarray:
    """Radians by which pieces turn from their first straight part to their last."""
    way = np.diff(points[:, :2], axis=2)
    angle = np.arctan2(way[:, 1], way[:, 0])
    turns = (np.diff(angle, axis=1) + np.pi) % (2 * np.pi) - np.pi
    return turns.sum(1)


def _links(lanes: Lanes, lane: np.ndarray, points: np.ndarray, facts: np.ndarray) -> np.ndarray:
    """`LINKS` of each piece, piece 0 among them."""
    begin = np.searchsorted(lane, np.arange(len(lanes)))
    end = np.searchsorted(lane, np.arange(len(lanes)), "right")
    inside = np.flatnonzero(lane[1:] == lane[:-1])
    pairs = [np.stack([inside, inside + 1], 1)]
    real = (end > begin)[lanes.successors].all(1)
    follows = lanes.successors[real]
    pairs.append(np.stack([end[follows[:, 0]] - 1, begin[follows[:, 1]]], 1))
    on = np.unique(np.concatenate(pairs), axis=0)
    links = np.zeros((len(lane) + 1, len(LINKS)), np.int32)
    for name, (a, b) in (("successor", on.T), ("predecessor", on[np.lexsort((on[:, 0], on[:, 1]))].T[::-1])):
        nth = np.arange(len(a)) - np.searchsorted(a, a)
        room = nth < FORKS
        links[a[room] + 1, LINKS.index(name) + nth[room]] = b[room] + 1
    for name, beside in (("left", lanes.left_neighbours), ("right", lanes.right_neighbours)):
        a, b = _beside(beside, begin, end, points, facts)
        links[a + 1, LINKS.index(name)] = b + 1
    return links


def _beside(
    neighbours: np.ndarray, begin: np.ndarray, end: np.ndarray, points: np.ndarray, facts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pieces, and for each the one beside it among those of its lane's neighbours: the nearest, if at least half of the
    shorter one of the two runs beside the other."""
    middle = points[:, :2, POINTS // 2]
    half = facts[:, FACTS.index("length")] / 2
    way = points[:, :2, -1] - points[:, :2, 0]
    way = way / np.maximum(np.hypot(*way.T), 1e-9)[:, None]
    least = np.full(len(points), np.inf)
    found = np.zeros(len(points), int)
    for a, b in neighbours.tolist():
        own, other = np.arange(int(begin[a]), int(end[a])), np.arange(int(begin[b]), int(end[b]))
        if not len(own) or not len(other):
            continue
        apart = middle[other] - middle[own][:, None]
        along = np.abs((apart * way[own][:, None]).sum(-1))
        across = np.abs(way[own][:, None, 0] * apart[..., 1] - way[own][:, None, 1] * apart[..., 0])
        far = np.hypot(along, across)
        fits = (along <= np.maximum(half[other], half[own][:, None]) + 1e-6) & (across <= FARTHEST)
        far = np.where(fits, far, np.inf)
        best = far.argmin(1)
        far = far[np.arange(len(own)), best]
        nearer = far < least[own]
        least[own[nearer]], found[own[nearer]] = far[nearer], other[best[nearer]]
    has = np.flatnonzero(np.isfinite(least))
    return has, found[has]


def _local(near: np.ndarray, links: np.ndarray, block: int = 1024) -> np.ndarray:
    """Where in each row the links of its pieces stand, `[row, LINKS, near]`; -1: nowhere."""
    rows, slots = near.shape
    local = np.full((rows, links.shape[1], slots), -1, np.int8)
    for first in range(0, rows, block):
        part = near[first : first + block]
        place = np.full((len(part), len(links)), -1, np.int8)
        np.put_along_axis(place, part, np.arange(slots, dtype=np.int8)[None], axis=1)
        place[:, 0] = -1
        target = np.moveaxis(links[part], 1, 2)
        local[first : first + block] = np.take_along_axis(place, target.reshape(len(part), -1), 1).reshape(target.shape)
    return local
