"""Where rails share lanes, and where vehicles on different rails would touch."""

from __future__ import annotations

import dataclasses

import numpy as np

from mairl.scenarios.generate.roads import Rail, arc_length

CLEAR = 2.95
"""Metres between two centrelines from which on vehicles never touch: no vehicle reaches further than half of it from
its centreline, overhang in curves included (`traffic.fits`); parallel lanes are further apart."""

GRID = 0.5
"""Metres between the entries of the rails' tables."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """The rails as arrays, for vehicles in numbers.

    Attributes:
        first, last: stations at which each rail begins and ends `[rail]`.
        xy, heading, scale, limit: at `first + GRID * k` `[rail, k]`; scale is metres driven per metre of station.
        shift: station on rail a of what is at station x of rail b is `x + shift[a, b]`; NaN where they share nothing.
        conflict: vehicles on rails a and b may touch `[a, b]`.
        shared: they also share lanes `[a, b]`: those behind follow those ahead.
        begin, done: station on rail a where the part that touches rail b begins and ends `[a, b]`.
    """

    first: np.ndarray
    last: np.ndarray
    xy: np.ndarray
    heading: np.ndarray
    scale: np.ndarray
    limit: np.ndarray
    shift: np.ndarray
    conflict: np.ndarray
    shared: np.ndarray
    begin: np.ndarray
    done: np.ndarray

    def at(self, table: np.ndarray, rail: np.ndarray, station: np.ndarray) -> np.ndarray:
        """Values of `table` at stations of rails, linear between the grid's points."""
        x = np.maximum((station - self.first[rail]) / GRID, 0.0)
        low = np.minimum(x.astype(np.int64), table.shape[1] - 2)
        part = np.minimum(x - low, 1.0)
        part = part.reshape(part.shape + (1,) * (table.ndim - 2))
        return table[rail, low] * (1.0 - part) + table[rail, low + 1] * part


def tables(rails: list[Rail], lateral: float, brake: float) -> Tables:
    """Tables of rails.

    Args:
        lateral: sideways acceleration that limits the speed in curves, m/s².
        brake: deceleration with which drivers slow down towards a lower limit, m/s².
    """
    count = len(rails)
    first = np.array([rail.curve.station[0] for rail in rails])
    last = np.array([rail.curve.station[-1] for rail in rails])
    size = int(np.ceil((last - first).max() / GRID)) + 2
    station = first[:, None] + GRID * np.arange(size)
    xy = np.zeros((count, size, 2))
    heading, limit, scale = (np.zeros((count, size)) for _ in range(3))
    for k, rail in enumerate(rails):
        s = rail.curve.station
        xy[k] = np.stack([np.interp(station[k], s, rail.curve.xy[:, i]) for i in (0, 1)], 1)
        heading[k] = np.interp(station[k], s, rail.curve.heading)
        limit[k] = np.interp(station[k], s, rail.limit)
        scale[k] = np.interp(station[k], s, np.gradient(arc_length(rail.curve.xy), s))
    curvature = np.abs(np.gradient(heading, axis=1)) / (GRID * scale)
    limit = np.minimum(limit, np.sqrt(lateral / np.maximum(curvature, 1e-6))) / scale
    for k in range(size - 2, -1, -1):
        limit[:, k] = np.minimum(limit[:, k], np.sqrt(limit[:, k + 1] * limit[:, k + 1] + 2 * brake * GRID))
    shape = (count, count)
    shift, begin, done = np.full(shape, np.nan), np.full(shape, np.inf), np.full(shape, -np.inf)
    conflict, shared = np.zeros(shape, bool), np.zeros(shape, bool)
    # Arms are too far apart to touch, but for what is next to the junction.
    parts = []
    for k, rail in enumerate(rails):
        use = (station[k] >= rail.starts[min(1, len(rail.starts) - 1)] - 15.0) & (station[k] <= rail.starts[-1] + 15.0)
        use &= station[k] <= last[k]
        parts.append((station[k][use][::2], xy[k][use][::2]))
    for a in range(count):
        shift[a, a], begin[a, a], done[a, a], shared[a, a] = 0.0, -np.inf, np.inf, True
        for b in range(a):
            common = [lane for lane in rails[a].lanes if lane in rails[b].lanes]
            if rails[a].group < 0 or rails[b].group < 0:
                continue  # Rails of a highway meet by lane changes alone.
            aside, along = (parts[a][1][:, None, i] - parts[b][1][None, :, i] for i in (0, 1))
            near = aside * aside + along * along < CLEAR * CLEAR
            if not near.any():
                continue
            conflict[a, b] = conflict[b, a] = True
            for i, j, axis in ((a, b, 1), (b, a, 0)):
                found = parts[i][0][near.any(axis)]
                begin[i, j] = -np.inf if rails[a].lanes[0] == rails[b].lanes[0] else found[0] - 1.0
                done[i, j] = np.inf if rails[a].lanes[-1] == rails[b].lanes[-1] else found[-1] + 1.0
            if common:
                starts = [rail.starts[rail.lanes.index(common[0])] for rail in (rails[a], rails[b])]
                shift[a, b], shift[b, a] = starts[0] - starts[1], starts[1] - starts[0]
                shared[a, b] = shared[b, a] = True
    return Tables(first, last, xy, heading, scale, limit, shift, conflict, shared, begin, done)
