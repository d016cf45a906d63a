"""What lies around a place, at a cost that does not depend on the size of the map.

The plane is cut into square cells. Each cell near a road, or on one as wide as a square, has a row of a table: its
nearest road edges, and its nearest other segments, as far as there is room. A vehicle reads the row of the cell that
it is in, once per step, for what it observes and for whether it is off the road. Rows are feature-major, so that one
read is a few contiguous runs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import ndimage

from mairl.core.arrays import on_device
from mairl.core.errors import InvalidData
from mairl.driving.segments import SegmentKind, Segments

FEATURES = ("x", "y", "half_length", "ux", "uy", "kind", "z")
"""Of a segment in a table: middle, half its length, direction, `SegmentKind`, height. Where there is none, the kind is
-1 and the height infinite."""

MOST_CELLS = 4_000_000
"""Of one map, with or without a row: 10 km by 10 km of the usual cells. One stray lane 60 km away would take gigabytes
to index what lies between."""


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """How a map is indexed.

    Attributes:
        cell: side of a cell, metres.
        near: cells farther than this from every segment have no row, metres, unless road edges around them say that
            they are on the road.
        edges, others: segments in a row.
        reach: segments farther than this from a cell are not in its row, metres.
    """

    cell: float = 5.0
    near: float = 10.0
    edges: int = 64
    others: int = 136
    reach: float = 50.0


class RoadGrid(eqx.Module):
    """Indexed maps. All maps' rows stand in one table, so that a large map costs the small ones nothing.

    Attributes:
        origin: of each map the corner of cell (0, 0), metres.
        row: each cell's row; 0 is the empty row of places far from roads.
        edges, others: `FEATURES` of each row's segments, nearest first.
        cell: side of a cell, metres.
    """

    origin: Float[Array, "map 2"]
    row: Int[Array, "map y x"]
    edges: Float[Array, "row feature edge"]
    others: Float[Array, "row feature other"]
    cell: float = eqx.field(static=True)

    def rows_at(self, x: Float[Array, "*p"], y: Float[Array, "*p"], of: Int[Array, ""] | int = 0) -> Int[Array, "*p"]:
        """The rows for places in map `of`; places outside of its grid are far from roads."""
        ix = jnp.floor((x - self.origin[of, 0]) / self.cell).astype(jnp.int32)
        iy = jnp.floor((y - self.origin[of, 1]) / self.cell).astype(jnp.int32)
        _, height, width = self.row.shape
        inside = (ix >= 0) & (iy >= 0) & (ix < width) & (iy < height)
        return jnp.where(inside, self.row[of, jnp.clip(iy, 0, height - 1), jnp.clip(ix, 0, width - 1)], 0)


def joined(grids: Sequence[RoadGrid]) -> RoadGrid:
    """Several maps as one grid, in their order; all made with the same `GridConfig`.

    Raises:
        InvalidData: the maps together are so high and so wide that each would have more than `MOST_CELLS`.
    """
    shape = np.max([grid.row.shape[1:] for grid in grids], axis=0)
    _refuse_huge(int(shape[0]), int(shape[1]), grids[0].cell, "the maps together span")
    rows, first = [], 0
    for grid in grids:
        row = np.asarray(grid.row)
        # Every map's own empty row 0 is left out but for the first's.
        moved = np.where(row > 0, row + first, 0)
        rows.append(np.pad(moved, [(0, 0), *((0, int(n - m)) for n, m in zip(shape, row.shape[1:], strict=True))]))
        first += len(grid.edges) - 1

    def table(name: str) -> Array:
        parts = [np.asarray(getattr(grid, name)) for grid in grids]
        return on_device(np.concatenate([parts[0][:1], *(part[1:] for part in parts)]))

    origin = np.concatenate([np.asarray(grid.origin) for grid in grids])
    return RoadGrid(on_device(origin), on_device(np.concatenate(rows)), table("edges"), table("others"), grids[0].cell)


def road_grid(segments: Segments, config: GridConfig = GridConfig()) -> RoadGrid:
    """Indexes one map, on the host.

    Raises:
        InvalidData: it spans more than `MOST_CELLS`.
    """
    start, end = segments.start[:, :2].astype(np.float64), segments.end[:, :2].astype(np.float64)
    if len(segments):
        low = np.minimum(start, end).min(0) - config.near - config.cell
        high = np.maximum(start, end).max(0) + config.near + config.cell
    else:
        low, high = np.zeros(2), np.full(2, config.cell)
    width, height = (max(1, math.ceil(side / config.cell)) for side in high - low)
    _refuse_huge(height, width, config.cell, "a map spans")
    taken = _near(start, end, low, (height, width), config)
    is_edge = np.isin(segments.kind, (SegmentKind.EDGE, SegmentKind.DIVIDER))
    taken |= _squares(taken, segments, is_edge, low, config)
    iy, ix = np.nonzero(taken)
    row = np.zeros((height, width), np.int32)
    row[iy, ix] = np.arange(1, len(iy) + 1)
    centre = low + (np.stack([ix, iy], 1) + 0.5) * config.cell
    features = _features(segments)
    tables = []
    for which, slots in ((is_edge, config.edges), (~is_edge, config.others)):
        chosen = nearest(centre, start[which], end[which], slots, config)
        table = np.zeros((len(iy) + 1, len(FEATURES), slots), np.float32)
        table[:, FEATURES.index("kind")] = -1
        table[:, FEATURES.index("z")] = np.inf
        full = np.concatenate([features[which], table[0, :, :1].T])
        table[1:] = np.moveaxis(full[chosen], 1, 2)
        tables.append(on_device(table))
    return RoadGrid(on_device(low[None], jnp.float32), on_device(row[None]), tables[0], tables[1], config.cell)


def _refuse_huge(height: int, width: int, cell: float, what: str) -> None:
    cells = int(height) * int(width)
    if cells > MOST_CELLS:
        raise InvalidData(
            f"{what} {width * cell / 1e3:.1f} by {height * cell / 1e3:.1f} km, that is {cells:,} cells of {cell:g} m, "
            f"at most {MOST_CELLS:,} can be indexed: leave out roads that lie far from all tracks, or take larger cells"
        )


def _features(segments: Segments) -> np.ndarray:
    way = (segments.end - segments.start).astype(np.float64)
    length = np.hypot(way[:, 0], way[:, 1])
    unit = way[:, :2] / np.maximum(length, 1e-9)[:, None]
    middle = (segments.start.astype(np.float64) + segments.end) / 2
    columns = [*middle[:, :2].T, length / 2, *unit.T, segments.kind.astype(np.float64), middle[:, 2]]
    return np.stack(columns, 1).astype(np.float32)


def _near(start, end, low, shape: tuple[int, int], config: GridConfig) -> np.ndarray:
    """Cells `[y, x]` whose square is within `near` of a segment: those around points dense along the segments."""
    length = np.hypot(*(end - start).T)
    count = np.ceil(length / (config.cell / 2)).astype(int) + 1
    of = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    share = step / np.maximum(count[of] - 1, 1)
    points = start[of] + share[:, None] * (end - start)[of]
    cells = np.unique(np.floor((points - low) / config.cell).astype(int), axis=0)
    taken = np.zeros(shape, bool)
    reach = math.ceil(config.near / config.cell)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            y, x = cells[:, 1] + dy, cells[:, 0] + dx
            inside = (y >= 0) & (x >= 0) & (y < shape[0]) & (x < shape[1])
            taken[y[inside], x[inside]] = True
    return taken


def _squares(taken: np.ndarray, segments: Segments, is_edge: np.ndarray, low, config: GridConfig) -> np.ndarray:
    """Cells `[y, x]` of wide places on the road: far from every segment, enclosed by cells that are not, and on the
    left of the nearest edge. What reaches the map's border is not known to be road."""
    place: np.ndarray = ndimage.label(~taken)[0]  # pyright: ignore
    found = np.zeros_like(taken)
    if not is_edge.any():
        return found
    open_ended = np.unique(np.concatenate([place[0], place[-1], place[:, 0], place[:, -1]]))
    x, y, half, ux, uy, kind, _ = _features(segments)[is_edge].T.astype(np.float64)
    for k, (at_y, at_x) in enumerate(ndimage.find_objects(place), 1):
        if k in open_ended:
            continue
        # No edge runs through it: its cells are all on the same side.
        cell = np.argwhere(place[at_y, at_x] == k)[0] + [at_y.start, at_x.start]
        px, py = (low + (cell[::-1] + 0.5) * config.cell - np.stack([x, y], 1)).T
        t = np.clip(px * ux + py * uy, -half, half)
        distance = np.hypot(px - t * ux, py - t * uy)
        left = np.where(kind == SegmentKind.DIVIDER, 1.0, py * ux - px * uy)[distance < distance.min() + 1e-6]
        # At a corner the side is that of the edge whose line is farther away, as in `geometry.nearest_side`.
        if left.max() >= -left.min():
            found[at_y, at_x] |= place[at_y, at_x] == k
    return found


def nearest(centre, start, end, slots: int, config: GridConfig, block: int = 256) -> np.ndarray:
    """For each cell the segments nearest to its middle, nearest first; the number of segments where there are fewer.

    A block of neighbouring cells looks only at the segments that can be in reach of any of them.
    """
    count = len(start)
    found = np.full((len(centre), slots), count)
    middle, half = (start + end) / 2, np.hypot(*(end - start).T) / 2
    limit = config.reach + config.cell * math.sqrt(0.5)
    # Cells in strips, so that a block is compact.
    order = np.lexsort((centre[:, 1], np.floor(centre[:, 0] / 40.0)))
    for first in range(0, len(order), block):
        cells = order[first : first + block]
        spot = centre[cells]
        at, radius = spot.mean(0), np.hypot(*(spot - spot.mean(0)).T).max()
        close = np.flatnonzero(np.hypot(*(middle - at).T) - half < limit + radius)
        if not len(close):
            continue
        a, way = start[close].astype(np.float32), (end - start)[close].astype(np.float32)
        square = np.maximum((way**2).sum(1), 1e-12)
        off = spot.astype(np.float32)[:, None] - a
        t = np.clip((off * way).sum(-1) / square, 0, 1)
        distance = ((off - t[..., None] * way) ** 2).sum(-1)
        distance[distance > limit**2] = np.inf
        take = min(slots, len(close))
        best = np.argpartition(distance, take - 1, axis=1)[:, :take] if take < len(close) else np.argsort(distance, 1)
        sizes = np.take_along_axis(distance, best, 1)
        rank = np.argsort(sizes, axis=1, kind="stable")
        best, sizes = np.take_along_axis(best, rank, 1), np.take_along_axis(sizes, rank, 1)
        found[cells, :take] = np.where(np.isfinite(sizes), close[best], count)
    return found
