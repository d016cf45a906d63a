"""Curves, lanes and rails: what every kind of road is put together from.

Trigonometry differs in the last bit from machine to machine. Curves are therefore rounded to a micrometre (headings to
a nanoradian) where they are made; all that comes after them uses only operations that IEEE 754 fixes.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from mairl.scenarios import build
from mairl.scenarios.schema import EdgeType, LaneType, LineType, RoadMap, StopSigns

SPACING = 1.0
"""Metres between the points of a curve."""

SHORTEST = 5e-4
"""Metres: shorter pieces are left out; their ends' rounding would give them any direction."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line in the plane with its direction.

    Attributes:
        xy: points `[n, 2]`, metres.
        heading: of the tangent at each point, radians, unwrapped.
        station: increasing position `[n]` along the road, metres: arc length, or that of the reference line which
            this curve runs beside.
    """

    xy: np.ndarray
    heading: np.ndarray
    station: np.ndarray

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def normal(self) -> np.ndarray:
        """Unit vectors `[n, 2]` to the left."""
        return np.stack([-np.sin(self.heading), np.cos(self.heading)], 1)

    def between(self, first: float, last: float) -> Curve:
        """The part with stations in `[first, last]`."""
        keep = (self.station >= first - 1e-6) & (self.station <= last + 1e-6)
        return Curve(self.xy[keep], self.heading[keep], self.station[keep])

    def reversed(self) -> Curve:
        """The same line driven the other way; stations start at 0 again."""
        return Curve(self.xy[::-1], self.heading[::-1] + np.pi, self.station[-1] - self.station[::-1])

    def measured(self) -> Curve:
        """The same line with its own arc length as station."""
        return Curve(self.xy, self.heading, arc_length(self.xy))


def arc_length(xy: np.ndarray) -> np.ndarray:
    """Length of the chords up to each point `[n]`, metres."""
    step = np.diff(xy, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.sqrt(step[:, 0] * step[:, 0] + step[:, 1] * step[:, 1]))])


def _curve(xy, heading, station) -> Curve:
    return Curve(np.round(xy, 6), np.round(heading, 9), np.round(station, 6))


def bend(start, heading: float, pieces) -> Curve:
    """Straight lines and arcs end to end, without a kink.

    Args:
        start: first point, metres.
        heading: at the first point, radians.
        pieces: (length in metres, curvature in 1/m, positive to the left) of each.
    """
    at, angle, done = np.asarray(start, np.float64), float(heading), 0.0
    xy, headings, stations = [at[None]], [np.array([angle])], [np.zeros(1)]
    for length, curvature in pieces:
        if length < SHORTEST:
            continue
        s = np.linspace(0.0, length, max(2, int(np.ceil(length / SPACING - 1e-9)) + 1))[1:]
        turned = angle + curvature * s
        if abs(curvature) < 1e-9:
            move = s[:, None] * np.array([np.cos(angle), np.sin(angle)])
        else:
            move = np.stack([np.sin(turned) - np.sin(angle), np.cos(angle) - np.cos(turned)], 1) / curvature
        xy.append(at + move)
        headings.append(turned)
        stations.append(done + s)
        at, angle, done = xy[-1][-1], float(turned[-1]), done + length
    return _curve(np.concatenate(xy), np.concatenate(headings), np.concatenate(stations))


def bezier(start, heading: float, end, end_heading: float) -> Curve:
    """A cubic Bézier curve from pose to pose, with handles of 0.4 times the distance; stations are arc length."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    far = float(np.sqrt(((end - start) ** 2).sum()))
    towards = [np.array([np.cos(h), np.sin(h)]) for h in (heading, end_heading)]
    handles = np.stack([start, start + 0.4 * far * towards[0], end - 0.4 * far * towards[1], end])
    t = np.linspace(0.0, 1.0, max(3, int(np.ceil(far / SPACING)) + 1))[:, None]
    xy = (1 - t) ** 3 * handles[0] + 3 * t * (1 - t) ** 2 * handles[1] + 3 * t**2 * (1 - t) * handles[2] + t**3 * end
    legs = np.diff(handles, axis=0)
    slope = (1 - t) ** 2 * legs[0] + 2 * t * (1 - t) * legs[1] + t**2 * legs[2]
    return _curve(xy, np.unwrap(np.arctan2(slope[:, 1], slope[:, 0])), arc_length(xy))


def fillet(start, heading: float, end, end_heading: float, radius: float | None = None) -> Curve:
    """Straight, arc, straight from pose to pose; a Bézier curve where the two directions are nearly parallel.

    Args:
        radius: of the arc, metres; default: the largest that fits.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    turn = float(build.wrapped(np.array(end_heading - heading)))
    u, v = (np.array([np.cos(h), np.sin(h)]) for h in (heading, end_heading))
    if abs(np.sin(turn)) < 0.05:
        return bezier(start, heading, end, end_heading)
    gap = end - start
    before = (gap[0] * v[1] - gap[1] * v[0]) / (u[0] * v[1] - u[1] * v[0])  # to where the two straight lines meet
    after = (u[0] * gap[1] - u[1] * gap[0]) / (u[0] * v[1] - u[1] * v[0])
    half = float(abs(np.tan(turn / 2)))
    tangent = min(before, after) if radius is None else radius * half
    pieces = [(before - tangent, 0.0), (tangent / half * abs(turn), np.sign(turn) * half / tangent)]
    pieces.append((after - tangent, 0.0))
    return bend(start, heading, pieces)


def joined(*curves: Curve) -> Curve:
    """Curves that meet end to start, as one; each one's stations go on where those before it end."""
    xy, heading, station = [curves[0].xy], [curves[0].heading], [curves[0].station]
    for curve in curves[1:]:
        turns = np.round((heading[-1][-1] - curve.heading[0]) / (2 * np.pi)) * 2 * np.pi
        xy.append(curve.xy[1:])
        heading.append(curve.heading[1:] + turns)
        station.append(station[-1][-1] + curve.station[1:] - curve.station[0])
    return _curve(np.concatenate(xy), np.concatenate(heading), np.concatenate(station))


def beside(curve: Curve, distance) -> Curve:
    """The parallel at a distance to the left, metres (negative: right), a number or one for each point.

    Stations stay those of `curve`.
    """
    distance = np.broadcast_to(np.asarray(distance, np.float64), len(curve))
    heading = curve.heading
    if np.ptp(distance) > 0:
        along = 1.0 - distance * np.gradient(heading, curve.station)
        heading = heading + np.arctan2(np.gradient(distance, curve.station), along)
    return _curve(curve.xy + distance[:, None] * curve.normal, heading, curve.station)


def eased(u: np.ndarray) -> np.ndarray:
    """From 0 to 1 for `u` from 0 to 1, with first and second derivatives zero at both ends: 6u⁵ − 15u⁴ + 10u³."""
    u = np.minimum(np.maximum(u, 0.0), 1.0)
    return u * u * u * (10.0 + u * (6.0 * u - 15.0))


def eased_slope(u: np.ndarray) -> np.ndarray:
    """The derivative of `eased`."""
    u = np.minimum(np.maximum(u, 0.0), 1.0)
    return 30.0 * u * u * (1.0 - u) * (1.0 - u)


@dataclasses.dataclass(frozen=True)
class Rail:
    """Lanes end to end, which a vehicle drives along from its first to its last point.

    Attributes:
        lanes: indices of the lanes.
        starts: station at which each of them begins.
        curve: their centrelines as one.
        limit: speed limit at each point of the curve, metres a second.
        entry: new vehicles appear at its start.
        control: what holds at `stop`: "" nothing, "signal", "stop" (sign), "priority" or "yield".
        stop: station of the stop line; infinite without one.
        group: which approach's light or order of arrival applies.
        rank: among crossing rails, lower numbers go first.
        left, right: (rail beside it at the same stations, first and last station where a change may happen).
        ends: the lane ends there: its vehicles must change, to the left or right rail, whichever there is.
        exit: only vehicles that want to leave the road change to it.
    """

    lanes: tuple[int, ...]
    starts: tuple[float, ...]
    curve: Curve
    limit: np.ndarray
    entry: bool = True
    control: str = ""
    stop: float = np.inf
    group: int = -1
    rank: int = 0
    left: tuple[int, float, float] | None = None
    right: tuple[int, float, float] | None = None
    ends: bool = False
    exit: bool = False


class Plan:
    """A road map while it is drawn, and the rails on it."""

    def __init__(self):
        self.curves: list[Curve] = []
        self.rails: list[Rail] = []
        self._lanes: list[tuple] = []
        self._successors: set[tuple[int, int]] = set()
        self._left: set[tuple[int, int]] = set()
        self._edges: list[tuple[np.ndarray, EdgeType]] = []
        self._lines: list[tuple[np.ndarray, LineType]] = []
        self._crosswalks: list[np.ndarray] = []
        self._signs: list[tuple[np.ndarray, int]] = []

    def lane(
        self,
        curve: Curve,
        width: float,
        limit: float,
        kind: LaneType,
        left: LineType = LineType.NONE,
        right: LineType = LineType.NONE,
    ) -> int:
        """Adds a lane with its width (metres), limit (m/s) and boundaries; returns its index."""
        self.curves.append(curve)
        self._lanes.append((width, limit, kind, left, right))
        return len(self.curves) - 1

    def limit(self, lane: int) -> float:
        """A lane's speed limit, metres a second."""
        return self._lanes[lane][1]

    def width(self, lane: int) -> float:
        """A lane's width, metres."""
        return self._lanes[lane][0]

    def neighbours(self, left: int, right: int) -> None:
        """Vehicles may change between these two lanes."""
        self._left.add((right, left))

    def edge(self, xy: np.ndarray, kind: EdgeType = EdgeType.BOUNDARY) -> None:
        """Adds a road edge."""
        self._edges.append((np.round(xy, 6), kind))

    def line(self, xy: np.ndarray, kind: LineType) -> None:
        """Adds a road line."""
        self._lines.append((np.round(xy, 6), kind))

    def crosswalk(self, corners: np.ndarray) -> None:
        """Adds a crosswalk by its corners."""
        self._crosswalks.append(np.round(corners, 6))

    def stop_sign(self, at: np.ndarray, lane: int) -> None:
        """Adds a stop sign that holds up a lane."""
        self._signs.append((np.round(at, 6), lane))

    def rail(self, lanes, **facts) -> int:
        """Adds the rail along these lanes, which become each other's successors; returns its index."""
        self._successors.update(itertools.pairwise(lanes))
        curve = joined(*(self.curves[k] for k in lanes))
        lengths = [self.curves[k].station[-1] - self.curves[k].station[0] for k in lanes]
        starts = curve.station[0] + np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
        which = np.clip(np.searchsorted(starts, curve.station + 1e-6, "right") - 1, 0, len(lanes) - 1)
        limit = np.array([self.limit(k) for k in lanes])[which]
        self.rails.append(Rail(tuple(lanes), tuple(starts.tolist()), curve, limit, **facts))
        return len(self.rails) - 1

    def road_map(self) -> RoadMap:
        """The map so far, float64."""
        width, limit, kind, left, right = (np.asarray(column) for column in zip(*self._lanes))
        flat = [np.pad(curve.xy, ((0, 0), (0, 1))) for curve in self.curves]
        centre = build.polylines(flat, (f"lane-{i}" for i in range(len(flat))), kind.tolist())
        lanes = build.lanes(
            centre,
            width=np.repeat(width, [len(curve) for curve in self.curves]),
            speed_limit=limit,
            left_boundary=left,
            right_boundary=right,
            successors=self._successors,
            left_neighbours=self._left,
            right_neighbours={(b, a) for a, b in self._left},
        )

        def group(name: str, lines, kinds=None):
            return build.polylines(
                [np.pad(xy, ((0, 0), (0, 1))) for xy in lines], (f"{name}-{i}" for i in range(len(lines))), kinds
            )

        signs = StopSigns(
            np.array([[*at, 0.0] for at, _ in self._signs]).reshape(-1, 3),
            tuple(f"sign-{i}" for i in range(len(self._signs))),
            build.pairs((i, lane) for i, (_, lane) in enumerate(self._signs)),
        )
        return RoadMap(
            lanes,
            group("edge", [xy for xy, _ in self._edges], [kind for _, kind in self._edges]),
            group("line", [xy for xy, _ in self._lines], [kind for _, kind in self._lines]),
            group("crosswalk", self._crosswalks),
            build.no_lines(),
            build.no_lines(),
            signs,
        )
