"""Where rails share lanes, and where vehicles on different rails would touch."""

from __future__ import annotations

import dataclasses

import numpy as np

from mairl.scenarios.generate.roads import Rail, arc_length

CLEAR = 2.95
"""Metres between two centrelines from which on vehicles never touch: no vehicle reaches further than half of it from
its centreline, overhang in curves included (`traffic.fits`); parallel lanes are further apart."""

PLACES = 2

GRID = 0.5
"""Metres between the entries of the rails' tables."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """The rails as arrays, for vehicles in numbers.

    Attributes:
        first, last: stations at which each rail begins and ends `[rail]`.
        xy, heading, scale, limit: at `first + GRID * k` `[rail, k]`; scale is metres driven per metre of station.
        shift: station on rail a of what is at station x of rail b is `x + shift[place, a, b]`; NaN where they share
            nothing. Two rails touch at up to `PLACES` places: around a roundabout each may come behind the other.
        conflict: vehicles on rails a and b may touch there `[place, a, b]`.
        shared: they also share lanes `[place, a, b]`: those behind follow those ahead.
        begin, done: station on rail a where the part that touches rail b begins and ends `[place, a, b]`; infinite
            where the two begin or end with the same lane.
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
    limit = np.minimum(limit, np.sqrt(lateral / np.maximum(curvature, 1e-6)))
    for k in range(size - 2, -1, -1):
        limit[:, k] = np.minimum(limit[:, k], np.sqrt(limit[:, k + 1] * limit[:, k + 1] + 2 * brake * GRID))
    # Arms are too far apart to touch, but for what is next to the junction.
    parts = []
    for k, rail in enumerate(rails):
        use = (station[k] >= rail.starts[min(1, len(rail.starts) - 1)] - 15.0) & (station[k] <= rail.starts[-1] + 15.0)
        use &= station[k] <= last[k]
        parts.append((station[k][use][::2], xy[k][use][::2]))
    shape = (PLACES, count, count)
    found = Tables(
        first, last, xy, heading, scale, limit,
        shift=np.full(shape, np.nan),
        conflict=np.zeros(shape, bool),
        shared=np.zeros(shape, bool),
        begin=np.full(shape, np.inf),
        done=np.full(shape, -np.inf),
    )  # fmt: skip
    for a in range(count):
        found.shift[0, a, a], found.begin[0, a, a], found.done[0, a, a] = 0.0, -np.inf, np.inf
        found.shared[0, a, a] = True
        for b in range(a):
            if rails[a].group >= 0 and rails[b].group >= 0:  # Rails of a highway meet by lane changes alone.
                _meet(found, rails, parts, a, b)
    return found


def _meet(found: Tables, rails: list[Rail], parts: list, a: int, b: int) -> None:
    """Fills in where rails a and b touch."""
    aside, along = (parts[a][1][:, None, i] - parts[b][1][None, :, i] for i in (0, 1))
    near = aside * aside + along * along < CLEAR * CLEAR
    rows = np.nonzero(near.any(1))[0]
    if not len(rows):
        return
    runs = np.split(rows, np.nonzero(np.diff(rows) > 2)[0] + 1)
    runs = [*runs[: PLACES - 1], np.concatenate(runs[PLACES - 1 :])] if len(runs) > PLACES else runs
    for place, run in enumerate(runs):
        columns = np.nonzero(near[run].any(0))[0]
        spans = {a: parts[a][0][run[[0, -1]]], b: parts[b][0][columns[[0, -1]]]}
        common = [lane for lane in rails[a].lanes if all(_passes(rails[k], lane, *spans[k]) for k in (a, b))]
        for i, j in ((a, b), (b, a)):
            found.conflict[place, i, j] = True
            begins = common and common[0] == rails[a].lanes[0] == rails[b].lanes[0]
            ends = common and common[-1] == rails[a].lanes[-1] == rails[b].lanes[-1]
            found.begin[place, i, j] = -np.inf if begins else spans[i][0] - 1.0
            found.done[place, i, j] = np.inf if ends else spans[i][1] + 1.0
            if common:
                starts = [rails[k].starts[rails[k].lanes.index(common[0])] for k in (i, j)]
                found.shift[place, i, j], found.shared[place, i, j] = starts[0] - starts[1], True


def _passes(rail: Rail, lane: int, low: float, high: float) -> bool:
    """Whether a rail drives more than a metre of a lane between two of its stations."""
    if lane not in rail.lanes:
        return False
    k = rail.lanes.index(lane)
    end = rail.starts[k + 1] if k + 1 < len(rail.starts) else np.inf
    return min(end, high) - max(rail.starts[k], low) > 1.0
